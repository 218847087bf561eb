/** The moments of a wall time: one on each day of a zone, also where clocks jump. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { nextDaily } from '../../src/core/daily.ts';

const after = (time: string, zone: string, from: string, days = 1): string[] => {
  const [hour = 0, minute = 0] = time.split(':').map(Number);
  const found: string[] = [];
  let at = Date.parse(from);
  for (let i = 0; i < days; i++) {
    at = nextDaily({ hour, minute, zone }, at);
    found.push(new Date(at).toISOString().slice(0, 16));
  }
  return found;
};

describe('daily', () => {
  test('today where it is still to come, else tomorrow; never the same moment twice', () => {
    assert.deepEqual(after('09:00', 'UTC', '2026-11-22T08:59:59Z'), ['2026-11-22T09:00']);
    assert.deepEqual(after('09:00', 'UTC', '2026-11-22T09:00:00Z'), ['2026-11-23T09:00']);
    assert.deepEqual(after('00:00', 'Asia/Tokyo', '2026-11-22T14:00:00Z', 2), [
      '2026-11-22T15:00',
      '2026-11-23T15:00',
    ]);
    assert.deepEqual(after('23:59', 'America/New_York', '2026-11-22T04:00:00Z', 2), [
      '2026-11-22T04:59',
      '2026-11-23T04:59',
    ]);
    assert.deepEqual(after('00:30', 'Asia/Kathmandu', '2026-11-22T12:00:00Z'), ['2026-11-22T18:45']);
  });
  test('a time that is skipped: at the jump, once (Berlin, 29 March 2026, 02:00 to 03:00)', () => {
    assert.deepEqual(after('02:30', 'Europe/Berlin', '2026-03-28T00:00:00Z', 3), [
      '2026-03-28T01:30',
      '2026-03-29T01:00',
      '2026-03-30T00:30',
    ]);
  });
  test('a time that comes twice: the first, once (Berlin, 25 October 2026)', () => {
    assert.deepEqual(after('02:30', 'Europe/Berlin', '2026-10-24T00:00:00Z', 3), [
      '2026-10-24T00:30',
      '2026-10-25T00:30',
      '2026-10-26T01:30',
    ]);
    assert.deepEqual(after('02:30', 'Europe/Berlin', '2026-10-25T00:30:00Z'), ['2026-10-26T01:30']);
  });
  test('half an hour (Lord Howe), midnight that does not exist (Beirut), a day that does not exist (Samoa)', () => {
    assert.deepEqual(after('02:15', 'Australia/Lord_Howe', '2026-10-02T20:00:00Z', 2), [
      '2026-10-03T15:30',
      '2026-10-04T15:15',
    ]);
    assert.deepEqual(after('00:00', 'Asia/Beirut', '2026-03-27T23:00:00Z', 2), [
      '2026-03-28T22:00',
      '2026-03-29T21:00',
    ]);
    assert.deepEqual(after('12:00', 'Pacific/Apia', '2011-12-28T23:00:00Z', 3), [
      '2011-12-29T22:00',
      '2011-12-30T22:00',
      '2011-12-31T22:00',
    ]);
  });
  for (const zone of ['Europe/Berlin', 'America/St_Johns', 'Australia/Lord_Howe', 'Asia/Beirut', 'UTC']) {
    test(`${zone}: exactly one for each date of a year, at any of the day's times`, () => {
      const date = new Intl.DateTimeFormat('en-CA', { timeZone: zone });
      for (const [hour, minute] of [
        [0, 0],
        [2, 30],
        [23, 59],
      ] as const) {
        let at = Date.parse('2026-01-01T12:00:00Z');
        let last = date.format(at);
        const seen = new Set<string>();
        for (let day = 0; day < 370; day++) {
          at = nextDaily({ hour, minute, zone }, at);
          const today = date.format(at);
          assert.ok(!seen.has(today), today);
          if (day > 0) assert.equal(Date.parse(today) - Date.parse(last), 86_400_000, `${last} to ${today}`);
          seen.add(today);
          last = today;
        }
      }
    });
  }
});
