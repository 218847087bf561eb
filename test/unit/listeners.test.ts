/** Those who follow a run can't end it, whatever goes wrong with them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChanges, createListeners } from '../../src/output/listeners.ts';
import { createLoop, type Edges } from '../../src/supervisor/loop.ts';
import { noted, type StatusRecord } from '../../src/supervisor/record.ts';
import { createStatus, statusDocument } from '../../src/supervisor/status-document.ts';
import { initial, type Policy } from '../../src/supervisor/table.ts';
import { until } from '../support/wait.ts';

const POLICY = { restart: 'always', readyWhenGood: true, goodAfterMs: 5_000 } as Policy;

function lines() {
  const said: string[] = [];
  return { said, report: { line: (tag: string, text: string) => void said.push(`[${tag}] ${text}`) } };
}

test('a listener that throws is reported once, the others are told, and the loop goes on', () => {
  const { said, report } = lines();
  const listeners = createListeners<[]>('one that follows the run', report);
  let told = 0;
  listeners.add(() => {
    throw new Error('boom');
  });
  listeners.add(() => void told++);
  const broken: unknown[] = [];
  const edges = {
    now: () => 0,
    sweep: (_first: boolean, _abandoned: AbortSignal, done: (blocked: null) => void) => done(null),
    spawn: () => 501,
    say: () => {},
    timer: () => () => {},
    broken: (error: unknown) => void broken.push(error),
  } as unknown as Edges;
  const loop = createLoop(POLICY, edges, listeners.tell);
  loop.send({ kind: 'booted' });
  loop.send({ kind: 'polled' });
  assert.equal(loop.state.phase, 'polling');
  assert.deepEqual(broken, []);
  assert.equal(told, 4);
  assert.equal(said.length, 1);
  assert.match(said[0] ?? '', /^\[bug\] one that follows the run failed, the worker goes on: Error: boom/);
});

test('one that follows the status and throws is said, and the next change is told again', async () => {
  const { said, report } = lines();
  const changes = createChanges(report);
  let told = 0;
  changes.listen(() => {
    told += 1;
    throw new Error('boom');
  });
  changes.touch();
  await until('the first', () => told === 1);
  changes.touch();
  await until('the second', () => told === 2);
  assert.equal(said.length, 1);
});

const CONFIG = { polling: true, gateway: true, deafAfterMs: 60_000, botId: 1, cwd: '/' };
const newStatus = () => createStatus(CONFIG, [], '', lines().report);

test('a wall clock that is set ahead makes nobody unhealthy; silence is that of the present worker', (t) => {
  const status = newStatus();
  const at = { at: new Date().toISOString(), atMs: 1_000_000 };
  const step = (phase: 'starting' | 'polling', pid: number) =>
    ({ kind: 'step', state: { ...initial, phase, pid } }) as const;
  const problems = (record: StatusRecord, nowMs: number) =>
    statusDocument(record, status.sources, [], nowMs).problems.map(({ message }) => message);
  const real = Date.now();
  t.mock.method(Date, 'now', () => real + 3_600_000);
  const starting = noted(status.record, step('starting', 501), at);
  const polling = noted(noted(starting, step('polling', 501), at), { kind: 'completed', updates: 0 }, at);
  assert.deepEqual(problems(starting, 1_001_000), []);
  assert.deepEqual(problems(polling, 1_001_000), []);
  assert.match(problems(polling, 1_200_000)[0] ?? '', /^no poll has succeeded for/);
  const replaced = noted(polling, step('polling', 502), { ...at, atMs: 1_195_000 });
  assert.deepEqual(problems(replaced, 1_200_000), [], 'the time before the present worker');
  status.sources.gateway = { latencyMs: () => null, pollers: () => [], pollOpenMs: () => 20_000 };
  assert.deepEqual(problems(polling, 1_200_000), [], 'a poll that is open is no silence');
});

test('what is over is told as earlier and makes nobody unhealthy; what may go on is a problem for a minute', () => {
  const status = newStatus();
  const at = (atMs: number) => ({ at: new Date(atMs).toISOString(), atMs });
  const polling = { kind: 'step', state: { ...initial, phase: 'polling', pid: 501 } } as const;
  const completed = { kind: 'completed', updates: 0 } as const;
  const hook = (url: string) =>
    ({ kind: 'webhook-seen', webhook: { url, pendingUpdates: 4, lastError: null } }) as const;
  const setAgain = { kind: 'webhook-set', url: 'https://x' } as const;
  const named = { kind: 'named-conflict' } as const;
  const stopped = { kind: 'strays-stopped', count: 1, lastStray: 'pid 9 (bot.py)' } as const;
  const turnedDown = ['worker-sets-webhook'];
  type Events = readonly Parameters<typeof noted>[1][];
  type Case = [what: string, events: Events, now: string[], minute: string[], earlier: string[]];
  const cases: readonly Case[] = [
    ['a webhook that is set', [hook('https://x')], ['webhook-set'], ['webhook-set'], []],
    ['one that was cleared', [hook(''), setAgain], [], [], ['webhook-set']],
    ['a 409', [named], ['conflict'], [], ['conflict']],
    ['a 409 of a stray that was stopped', [named, stopped], [], [], ['conflict', 'stray']],
    ['updates taken', [{ kind: 'stolen', updates: 2 }], ['stolen'], [], ['stolen']],
    ['a deaf worker', [{ kind: 'deaf' }], ['deaf'], [], ['deaf']],
    ['a deaf worker whose successor polls', [{ kind: 'deaf' }, completed], [], [], ['deaf']],
    ['setWebhook turned down', [{ kind: 'webhook-turned-down' }], turnedDown, [], turnedDown],
    ['the real token', [{ kind: 'unsealed' }], ['not-sealed'], [], ['not-sealed']],
    ['a lost lease', [{ kind: 'lease-lost', reason: 'x' }], [], [], ['lease-lost']],
  ];
  status.sources.gateway = { latencyMs: () => null, pollers: () => [], pollOpenMs: () => 1 };
  for (const [what, events, now, minute, earlier] of cases) {
    const begin = noted(status.record, polling, at(1_000_000));
    const record = events.reduce((old, event, i) => noted(old, event, at(1_000_001 + i)), begin);
    const see = (nowMs: number) => statusDocument(record, status.sources, [], nowMs);
    const codes = (of: readonly { code: string }[]) => of.map(({ code }) => code).sort();
    const [soon, later, late] = [see(1_000_010), see(1_061_000), see(1_601_000)] as const;
    assert.deepEqual([codes(soon.problems), soon.healthy], [now, now.length === 0], what);
    const seen = [codes(later.problems), codes(later.earlier)];
    assert.deepEqual(seen, [minute, earlier], `${what}, a minute later`);
    assert.deepEqual([codes(late.problems), codes(late.earlier)], [minute, []], `${what}, ten minutes later`);
    for (const it of later.earlier) assert.ok(!Number.isNaN(Date.parse(it.at)), what);
  }
});

test('updates that wait are counted down by the polls that take them; an empty answer says that none waits', () => {
  const { record } = newStatus();
  const at = { at: '2026-01-01T00:00:00.000Z', atMs: 1 };
  const webhook = { url: '', pendingUpdates: 150, lastError: null };
  const seen = noted(record, { kind: 'webhook-seen', webhook }, at);
  const taken = noted(seen, { kind: 'completed', updates: 100 }, { ...at, at: 'later' });
  assert.deepEqual([taken.webhook?.pendingUpdates, taken.webhook?.checkedAt], [50, at.at]);
  const none = noted(taken, { kind: 'completed', updates: 0 }, { ...at, at: 'later' });
  assert.deepEqual([none.webhook?.pendingUpdates, none.webhook?.checkedAt], [0, 'later']);
});
