/** The record of a lease: what is one, and what of it survives. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatRecord, type LeaseRecord, parseRecord } from '../../src/lease/store.ts';

const FULL: LeaseRecord = {
  ...{ v: 1, holder: 'a-uuid', epoch: 1_700_000_000, seq: 7, ttl: 15_000, host: 'web-1' },
  ...{ lock: 'abc', pid: 12, since: '2026-01-02T03:04:05.000Z', wants: 'another-uuid' },
};

test('a record survives the engine, with and without what is only for people', () => {
  assert.deepEqual(parseRecord(formatRecord(FULL)), FULL);
  const bare: LeaseRecord = { v: 1, holder: '', epoch: 0, seq: 0, ttl: 1 };
  assert.deepEqual(parseRecord(formatRecord(bare)), bare);
  const vacancy: LeaseRecord = { ...bare, ttl: 15_000, vacant: 'a-uuid' };
  assert.deepEqual(parseRecord(formatRecord(vacancy)), vacancy);
  // Where somebody holds it nothing is vacant.
  assert.deepEqual(parseRecord(JSON.stringify({ ...FULL, vacant: 'a-uuid' })), FULL);
});

test('the same record is the same text, and short', () => {
  const { wants, holder, ...rest } = FULL;
  assert.equal(formatRecord({ ...rest, wants: wants!, holder }), formatRecord(FULL));
  assert.ok(formatRecord({ ...FULL, host: 'h'.repeat(5_000) }).length < 1_024);
});

test('what is no record is none, and never throws', () => {
  const changes = [
    ...[{ v: 2 }, { holder: 3 }, { holder: 'h'.repeat(500) }, { ttl: 0 }, { ttl: 1e12 }, { seq: 1.5 }],
    // Nothing could rise above the last two for long.
    ...[{ epoch: -1 }, { epoch: 2 ** 60 }, { epoch: 2 ** 53 - 1 }, { seq: 2 ** 53 - 1 }],
  ];
  for (const value of [null, 1, 'x', [], {}, ...changes.map((it) => ({ ...FULL, ...it }))])
    assert.equal(parseRecord(JSON.stringify(value)), null, JSON.stringify(value));
  for (const text of ['', '{', 'OK', '\0', `${JSON.stringify(FULL)}x`, `{"pad":"${'x'.repeat(5_000)}"}`])
    assert.equal(parseRecord(text), null);
});

test('unknown parts are ignored, and malformed ones that are only for people', () => {
  const text = JSON.stringify({ ...FULL, more: { a: 1 }, host: 5, pid: 'x', since: 'yesterday' });
  const { host, pid, since, ...rest } = FULL;
  assert.deepEqual(parseRecord(text), rest);
  for (const drawn of ['box\u001b[2J', 'two\nlines', 'two words', 'box\u202e'])
    assert.equal(parseRecord(JSON.stringify({ ...FULL, host: drawn }))?.host, undefined, drawn);
  for (const time of ['1 Jan 2026 (\u001b[2J)', '2026-13-01T00:00:00Z', '2026'])
    assert.equal(parseRecord(JSON.stringify({ ...FULL, since: time }))?.since, undefined, time);
});
