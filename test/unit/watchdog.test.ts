// What feeds a watchdog: polls, or a reason not to poll that no restart could mend.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statusLine } from '../../src/service/notify.ts';
import { createWatchdog, type Seen } from '../../src/service/watchdog.ts';
import type { Facts } from '../../src/supervisor/facts.ts';
import { seenBy } from '../../src/supervisor/facts.ts';

const base: Seen = { phase: 'polling', polls: 0, helpless: false, keeperLateMs: 0 };
const PATIENCE = 180_000;
const MINUTE = 60_000;

/** Ticks a minute apart. */
function feeds(...ticks: Partial<Seen>[]): string {
  const feed = createWatchdog(PATIENCE, 0);
  return ticks.map((it, index) => (feed({ ...base, ...it }, (index + 1) * MINUTE) ? 'x' : '.')).join('');
}

test('watchdog: fed while polls succeed, not while they only could', () => {
  assert.equal(feeds({ polls: 1 }, { polls: 2 }, { polls: 3 }), 'xxx');
  assert.equal(
    feeds({ polls: 1 }, { polls: 1 }, { polls: 1 }, { polls: 1 }, { polls: 1 }, { polls: 2 }),
    'xxx..x',
  );
});

test('watchdog: a worker that is replaced has time to poll; one that never does starves it, whatever phase it is in', () => {
  assert.equal(feeds({ polls: 5 }, { phase: 'starting', polls: 5 }, { phase: 'starting', polls: 6 }), 'xxx');
  assert.equal(
    feeds({ phase: 'starting' }, { phase: 'backoff' }, { phase: 'sweeping' }, { phase: 'starting' }),
    'xx..',
  );
});

test('watchdog: fed while the Bot API is out of reach, and then with patience again', () => {
  const out = { polls: 3, helpless: true };
  assert.equal(
    feeds({ polls: 3 }, out, out, out, out, out, { polls: 3 }, { polls: 3 }, { polls: 3 }),
    'xxxxxxxx.',
  );
});

test('watchdog: in standby by the keeper of the lease, not by patience', () => {
  const standby = { phase: 'standby' } as const;
  assert.equal(feeds(standby, standby, standby, standby, standby), 'xxxxx');
  assert.equal(feeds(standby, { ...standby, keeperLateMs: PATIENCE }), 'x.');
});

test('watchdog: where polls can’t be seen (deploy mode, past the gateway) the worker’s life counts', () => {
  assert.equal(feeds({ polls: null }, { polls: null }, { polls: null }, { polls: null }), 'xxxx');
  assert.equal(
    feeds(...Array.from({ length: 4 }, () => ({ polls: null, phase: 'backoff' as const }))),
    'xx..',
  );
});

function factsWith(some: Partial<Facts>): Facts {
  const none = {
    polling: true,
    via: 'gateway',
    polls: 7,
    apiProblem: null,
    overlap: null,
    webhookOfWorker: false,
  };
  return { ...none, pausedUntilMs: 0, lease: () => null, ...some } as unknown as Facts;
}

test('watchdog: what is seen of a run', () => {
  assert.deepEqual(seenBy('polling', factsWith({})), { ...base, polls: 7 });
  assert.equal(seenBy('polling', factsWith({ via: 'direct' })).polls, null);
  assert.equal(seenBy('polling', factsWith({ polling: false })).polls, null);
  for (const it of [
    { apiProblem: 'out of reach' },
    { overlap: {} as Facts['overlap'] },
    { webhookOfWorker: true },
    { pausedUntilMs: performance.now() + 1_000 },
  ])
    assert.equal(seenBy('polling', factsWith(it)).helpless, true, JSON.stringify(it));
  const lease = (reachable: boolean) => () =>
    ({
      decision: { what: 'take', at: new Date(Date.now() - 60_000).toISOString() },
      reachable,
    }) as ReturnType<Facts['lease']>;
  assert.ok(seenBy('standby', factsWith({ lease: lease(true) })).keeperLateMs >= 60_000);
  assert.equal(seenBy('standby', factsWith({ lease: lease(false) })).keeperLateMs, 0, 'the engine’s fault');
});

test('status line: state, worker, polls, the first problem; no token, no control characters', () => {
  const doc = {
    state: 'polling',
    worker: { pid: 7, restarts: 2 },
    polling: { polls: 42, lastPollAt: '2026-11-22T09:31:43.000Z' },
    problems: [{ code: 'x', message: `bad\nthing 123456:${'A'.repeat(35)}` }],
  } as unknown as Parameters<typeof statusLine>[0];
  const line = statusLine(doc);
  assert.match(line, /^polling; worker 7; 42 polls, last 09:31:43 UTC; restarts 2; problem: bad/);
  assert.doesNotMatch(line, /AAAA|\n/);
});
