// What feeds a watchdog: polls, or a reason not to poll that no restart could mend.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createWatchdog, openService, type Seen, statusLine } from '../../src/service/notify.ts';
import type { StatusEvent } from '../../src/supervisor/record.ts';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import { createStatus } from '../../src/supervisor/status-document.ts';
import { initial } from '../../src/supervisor/table.ts';
import { newFolder } from '../support/place.ts';
import { sampleLease, sampleStatus } from '../support/status-sample.ts';
import { staysTrue, until } from '../support/wait.ts';

const base: Seen = { phase: 'polling', polls: 0, helpless: false, keeperLateMs: 0 };
const PATIENCE = 180_000;
const MINUTE = 60_000;

/** Ticks a minute apart. */
function feeds(...ticks: Partial<Seen>[]): string {
  const feed = createWatchdog(PATIENCE, 0);
  return ticks.map((it, index) => (feed({ ...base, ...it }, (index + 1) * MINUTE) ? 'x' : '.')).join('');
}

const standby = { phase: 'standby' } as const;
const starting = { phase: 'starting' } as const;
const out = { polls: 3, helpless: true };
const fed: [string, string, Partial<Seen>[]][] = [
  ['while polls succeed', 'xxx', [{ polls: 1 }, { polls: 2 }, { polls: 3 }]],
  ['not while they only could', 'xxx..x', [1, 1, 1, 1, 1, 2].map((polls) => ({ polls }))],
  [
    'a new worker has time to poll',
    'xxx',
    [{ polls: 5 }, { ...starting, polls: 5 }, { ...starting, polls: 6 }],
  ],
  ['one that never does', 'xx..', [starting, { phase: 'backoff' }, { phase: 'sweeping' }, starting]],
  ['the Bot API out of reach, then patience again', 'xxxx..', [out, out, ...Array(4).fill({ polls: 3 })]],
  ['standby, by the keeper of the lease and not by patience', 'xxxxx', Array(5).fill(standby)],
  ['a keeper that is late', 'x.', [standby, { ...standby, keeperLateMs: PATIENCE }]],
  ['polls that can’t be seen: by the worker’s life', 'xxxx', Array(4).fill({ polls: null })],
  ['polls that can’t be seen, no worker', 'xx..', Array(4).fill({ polls: null, phase: 'backoff' })],
];
for (const [title, expected, ticks] of fed)
  test(`watchdog fed: ${title}`, () => assert.equal(feeds(...ticks), expected));

test('watchdog: what is seen of a run', () => {
  const config = { polling: true, gateway: true, deafAfterMs: 60_000, botId: 1, cwd: '/' };
  const statusOf = (more = {}) => createStatus({ ...config, ...more }, [], '', { line() {} });
  const state = { ...initial, phase: 'polling' as const };
  const seen = (...events: StatusEvent[]) => {
    const status = statusOf();
    for (const event of [{ kind: 'step', state } as const, ...events]) status.note(event);
    return status.seen();
  };
  assert.deepEqual(seen({ kind: 'completed', updates: 0 }), { ...base, polls: 1 });
  assert.equal(seen({ kind: 'past-gateway', past: { why: '', cure: '' } }).polls, null);
  assert.equal(statusOf({ polling: false }).seen().polls, null);
  for (const event of [
    { kind: 'api', problem: 'out of reach' },
    { kind: 'overlap', overlap: { sinceMs: 0, kicks: 1, isRival: false } },
    { kind: 'webhook-of-worker', url: 'https://x' },
    { kind: 'flood', retryAfterMs: 1_000 },
  ] as const)
    assert.equal(seen(event).helpless, true, JSON.stringify(event));
  const lateMs = (reachable: boolean) => {
    const status = statusOf();
    const at = new Date(Date.now() - 60_000).toISOString();
    const decision = { what: 'take', at } as const;
    status.sources.lease = { status: () => ({ ...sampleLease, decision, reachable }), problem: () => null };
    return status.seen().keeperLateMs;
  };
  assert.ok(lateMs(true) >= 60_000);
  assert.equal(lateMs(false), 0, 'the engine’s fault');
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

test('a change that comes while another one is being told is told, and so is what follows', async (t) => {
  const folder = newFolder(t);
  const [heard, path] = [join(folder, 'heard'), process.env.PATH];
  t.after(() => {
    process.env.PATH = path;
  });
  const script = `#!/bin/sh\necho "$@" >>${heard}\nsleep 0.2\n`;
  writeFileSync(join(folder, 'systemd-notify'), script, { mode: 0o755 });
  writeFileSync(heard, '');
  process.env.PATH = `${folder}:${path}`;
  let doc = sampleStatus({ state: 'starting', problems: [] });
  let tell = () => {};
  const report = { line() {}, drained: async () => {} };
  const service = openService({ NOTIFY_SOCKET: '/nowhere' }, { report, deafAfterMs: 60_000 });
  const becomes = (state: StatusDocument['state']) => {
    doc = { ...doc, state };
    tell();
  };
  const said = () => readFileSync(heard, 'utf8');
  const told = (state: string) =>
    until(`${state} to be told`, () => said().includes(`STATUS=${state}`), { everyMs: 5 });
  service?.follow({
    seen: () => ({ ...base, phase: 'polling' }),
    status: () => doc,
    listen(listener) {
      tell = listener;
      return () => {};
    },
  });
  becomes('polling');
  await told('polling');
  becomes('backoff');
  await told('backoff');
  // Its own pause is over, and there is nothing left to tell.
  await staysTrue('nothing is told twice', 1_200, () => said().split('backoff').length === 2);
  becomes('standby');
  await told('standby');
  service?.stopping({ code: 1, reason: 'crash loop' });
  await told('crash loop (exit 1)');
});
