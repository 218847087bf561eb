/**
 * The keeper's decisions in examples (src/lease/keeper.ts); the simulation breaks each rule and has to notice. Each test is a script of
 * one line a step: `ms event → what the keeper does`. A step does what stands behind its arrow and nothing else; `read`, `take`, `renew`, `ask`, `mark` and `free` are the requests it sends.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { leaseEntry } from '../../src/lease/glance.ts';
import {
  type Keeper,
  type KeeperEffect,
  type KeeperEvent,
  type KeeperPolicy,
  newKeeper,
  stepKeeper,
} from '../../src/lease/keeper.ts';
import type { LeaseRecord } from '../../src/lease/store.ts';
import { LEASE_PROFILES } from '../../src/lease/timing.ts';

const UNIX_MS = 1_700_000_000_000;
const timing = LEASE_PROFILES.default;
const POLICY: KeeperPolicy = { timing, id: 'me', host: 'here', pid: 4, lock: 'my-lock' };
const THEIRS: LeaseRecord = { v: 1, holder: 'them', epoch: 9, seq: 4, ttl: 15_000, host: 'there', pid: 77 };
const RECORDS: Readonly<Record<string, LeaseRecord | null>> = {
  theirs: THEIRS,
  'theirs-long': { ...THEIRS, ttl: 60_000 },
  free: { ...THEIRS, holder: '' },
  gone: null,
};

type Untimed<E> = E extends unknown ? Omit<E, 'atMs' | 'unixMs' | 'random'> : never;

function eventOf([word = '', name = '']: string[], keeper: Keeper): Untimed<KeeperEvent> {
  const answer = (outcome: Extract<KeeperEvent, { kind: 'answer' }>['outcome']) =>
    ({ kind: 'answer', request: keeper.request?.number ?? -1, outcome }) as const;
  const seen = () => {
    assert.ok(name in RECORDS, name);
    const rec = RECORDS[name] ?? null;
    return rec && { rev: JSON.stringify(rec), rec };
  };
  switch (word) {
    case 'seek':
      return { kind: 'seek', takeover: name === 'takeover' };
    case 'saw':
      return answer({ kind: 'seen', seen: seen() });
    case 'met':
      return answer({ kind: 'conflict', current: seen() });
    case 'written':
      return answer({ kind: 'written', rev: JSON.stringify(keeper.request!.next) });
    case 'failed':
      return answer({ kind: 'failed', why: 'away', settled: true, lasting: name === 'for-good' });
    default:
      return { kind: word as 'due' | 'hint' | 'doubt' | 'release' | 'quit' };
  }
}

function shown(effect: KeeperEffect, { request }: Keeper): string {
  switch (effect.do) {
    case 'read':
    case 'cas':
      return request!.kind;
    case 'wake':
      return '';
    default:
      return effect.do;
  }
}

function play(script: string): Keeper {
  let keeper: Keeper = newKeeper;
  for (const line of script.trim().split('\n')) {
    const [what = '', expected = ''] = line.trim().split(/\s*→\s*/);
    const [at = '', ...words] = what.split(/\s+/);
    const atMs = Number(at);
    const event = { ...eventOf(words, keeper), atMs, unixMs: UNIX_MS + atMs, random: 0.5 } as KeeperEvent;
    const [next, effects] = stepKeeper(keeper, event, POLICY);
    keeper = next;
    const done = effects.map((effect) => shown(effect, keeper)).filter(Boolean);
    assert.equal(done.join(', '), expected, line);
  }
  return keeper;
}

/** t0 = 1000, acknowledged at 1010. */
const LEADER = `
  0     seek       → read
  1000  saw free   → sees, take
  1010  written    → won`;

const SCRIPTS: Readonly<Record<string, string>> = {
  'the hint of our own write is none': `
    ${LEADER}
    1100 hint
    2000 hint  → read`,
  'an engine that turns writes down for no reason is not asked again and again': `
    0 seek      → read
    0 saw free  → sees, take
    5 met free  → unreachable`,
};

describe('the keeper', () => {
  for (const [name, script] of Object.entries(SCRIPTS)) test(name, () => void play(script));

  test('what it writes: its own record, the mark of a vanished one, a wish, the free record with its numbers', () => {
    const since = new Date(UNIX_MS + 1_000).toISOString();
    const epoch = Math.floor((UNIX_MS + 1_000) / 1_000);
    const ours = { v: 1, holder: 'me', epoch, ttl: 15_000, host: 'here', pid: 4, lock: 'my-lock', since };
    const next = (script: string) => play(script).request?.next;
    assert.deepEqual(next(`${LEADER}\n4000 due → renew`), { ...ours, seq: 6 });
    const free = next(`${LEADER}\n4000 release → free`);
    assert.deepEqual(free, { v: 1, holder: '', epoch, seq: 6, ttl: 15_000 });
    const wish = next('0 seek takeover → read\n0 saw theirs → sees, ask');
    assert.deepEqual(wish, { ...THEIRS, wants: 'me' });
    const mark = next('0 seek → read\n0 saw theirs-long → sees\n2500 due → read\n2510 saw gone → sees, mark');
    assert.deepEqual(mark, { v: 1, holder: '', epoch: 9, seq: 5, ttl: 60_000, vacant: 'me' });
  });

  test('what status shows of a standby, and of a holder, whose stop point lies before the end of its term', () => {
    const at = (ms: number) => new Date(UNIX_MS + ms).toISOString();
    const entry = (script: string, nowMs: number) =>
      leaseEntry('redis', play(script), { nowMs, unixMs: UNIX_MS + nowMs }, POLICY);
    assert.deepEqual(entry('0 seek → read\n100 saw theirs → sees', 1_100), {
      ...{ engine: 'redis', holder: 'there:77', since: null, mine: false, epoch: 9 },
      ...{ role: 'standby', expiresAt: at(15_175), decision: { what: 'take', at: at(15_175) } },
      ...{ reachable: true, unreachable: null },
    });
    const { role, mine, holder, decision, expiresAt } = entry(LEADER, 2_000);
    assert.deepEqual([role, mine, holder], ['holder', true, 'here:4']);
    assert.deepEqual([decision, expiresAt], [{ what: 'stop', at: at(9_425) }, at(1_000 + 14_925)]);
    const away = entry('0 seek → read\n10 failed → unreachable', 1_010);
    assert.deepEqual([away.reachable, away.unreachable], [false, 'away']);
  });
});
