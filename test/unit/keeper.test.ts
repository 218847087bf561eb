/** The keeper where its simulation does not look (src/lease/keeper.ts): needless requests, the text of its records, and what status shows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leaseEntry } from '../../src/lease/glance.ts';
import { type Keeper, type KeeperEvent, newKeeper, stepKeeper } from '../../src/lease/keeper.ts';
import type { LeaseRecord, Seen } from '../../src/lease/store.ts';
import { LEASE_PROFILES } from '../../src/lease/timing.ts';

const UNIX_MS = 1_700_000_000_000;
const POLICY = { timing: LEASE_PROFILES.default, id: 'me', host: 'here', pid: 4, lock: 'my-lock' };
const THEIRS: LeaseRecord = { v: 1, holder: 'them', epoch: 9, seq: 4, ttl: 60_000, host: 'there', pid: 77 };
const seen = (rec: LeaseRecord): Seen => ({ rev: JSON.stringify(rec), rec });
const FREE = seen({ ...THEIRS, holder: '' });

type Outcome = Extract<KeeperEvent, { kind: 'answer' }>['outcome'];
type Step = readonly [atMs: number, what: 'seek' | 'takeover' | 'hint' | 'due' | 'release' | Outcome];

const SEEK: Step = [0, 'seek'];
const saw = (atMs: number, found: Seen | null): Step => [atMs, { kind: 'seen', seen: found }];
const LEADS: readonly Step[] = [SEEK, saw(1_000, FREE), [1_010, { kind: 'written', rev: 'ours' }]];

/** The keeper after these steps, and what it did at the last one. */
function play(...steps: readonly Step[]): Keeper & { did: string } {
  let [keeper, did]: [Keeper, string] = [newKeeper, ''];
  for (const [atMs, what] of steps) {
    if (what === 'takeover') keeper = { ...keeper, wish: true };
    const event =
      typeof what === 'object'
        ? { kind: 'answer', request: keeper.request?.number, outcome: what }
        : /seek|takeover/.test(what)
          ? { kind: 'seek' }
          : { kind: what };
    const [next, effects] = stepKeeper(
      keeper,
      { ...event, atMs, unixMs: UNIX_MS + atMs, random: 0.5 } as KeeperEvent,
      POLICY,
    );
    keeper = next;
    did = effects.map((it) => it.do).join();
  }
  return { ...keeper, did };
}

test('no request at the hint of its own write, nor again and again where an engine turns writes down', () => {
  assert.equal(play(...LEADS, [1_100, 'hint']).did, 'wake');
  assert.match(play(...LEADS, [1_100, 'hint'], [2_000, 'hint']).did, /read/);
  assert.match(
    play(SEEK, saw(0, FREE), [5, { kind: 'conflict', current: FREE }]).did,
    /^unreachable(,wake)?$/,
  );
});

test('what it writes: its own record, the mark of a vanished one, a wish, the free record with its numbers', () => {
  const since = new Date(UNIX_MS + 1_000).toISOString();
  const epoch = Math.floor((UNIX_MS + 1_000) / 1_000);
  const ours = { v: 1, holder: 'me', epoch, ttl: 15_000, host: 'here', pid: 4, lock: 'my-lock', since };
  const next = (...steps: Step[]) => play(...steps).request?.next;
  assert.deepEqual(next(...LEADS, [4_000, 'due']), { ...ours, seq: 6 });
  assert.deepEqual(next(...LEADS, [4_000, 'release']), { v: 1, holder: '', epoch, seq: 6, ttl: 15_000 });
  assert.deepEqual(next([0, 'takeover'], saw(0, seen(THEIRS))), { ...THEIRS, wants: 'me' });
  const mark = next(SEEK, saw(0, seen(THEIRS)), [2_500, 'due'], saw(2_510, null));
  assert.deepEqual(mark, { v: 1, holder: '', epoch: 9, seq: 5, ttl: 60_000, vacant: 'me' });
});

test('what status shows of a standby, and of a holder, whose stop point lies before the end of its term', () => {
  const at = (ms: number) => new Date(UNIX_MS + ms).toISOString();
  const entry = (nowMs: number, ...steps: Step[]) =>
    leaseEntry('redis', play(...steps), { nowMs, unixMs: UNIX_MS + nowMs }, POLICY);
  assert.deepEqual(entry(1_100, SEEK, saw(100, seen({ ...THEIRS, ttl: 15_000 }))), {
    ...{ engine: 'redis', holder: 'there:77', since: null, mine: false, epoch: 9 },
    ...{ role: 'standby', expiresAt: at(15_175), decision: { what: 'take', at: at(15_175) } },
    ...{ reachable: true, unreachable: null },
  });
  const { role, mine, holder, decision, expiresAt } = entry(2_000, ...LEADS);
  assert.deepEqual([role, mine, holder], ['holder', true, 'here:4']);
  assert.deepEqual([decision, expiresAt], [{ what: 'stop', at: at(9_425) }, at(1_000 + 14_925)]);
  const away = entry(1_010, SEEK, [10, { kind: 'failed', why: 'away', settled: true, lasting: false }]);
  assert.deepEqual([away.reachable, away.unreachable], [false, 'away']);
});
