/** Stopping trees: real processes and signals first, then the order of all steps with processes and a clock of paper. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { ProcessId } from '../../src/machine/procfs.ts';
import {
  type Hands,
  type Look,
  linuxHands,
  type Signal,
  type StopOptions,
  stopTargets,
} from '../../src/strays/stop.ts';
import { alive, readProc } from '../support/proc.ts';
import { createStrayWorld, type StrayWorld } from '../support/stray-world.ts';

let world: StrayWorld;
beforeEach(() => {
  world = createStrayWorld();
});
afterEach(() => world.close());

const TIMES = { stopTimeoutMs: 400, killWaitMs: 400 };

const target = (pid: number): ProcessId => ({ pid, startId: String(readProc(pid)!.startTicks) });

test('a pid reused between the look and the signal is left alone', async () => {
  const { pid } = world.start('sleep', ['1000']);
  const sent: string[] = [];
  let asked = 0;
  const hands: Hands = {
    ...linuxHands,
    // The first look sees the stray that was listed; before the signal it has left, and the sleeper has its pid.
    look: () => (asked++ === 0 ? { startId: 'stray', state: 'S' } : linuxHands.look(pid)),
    kill: (to, signal) => {
      sent.push(`${signal} ${to}`);
      linuxHands.kill(to, signal);
    },
  };
  await stopTargets([{ pid, startId: 'stray' }], { ...TIMES, hands });
  assert.deepEqual(sent, []);
  assert.ok(alive(pid));
});

test('never pid 1, never ourselves, whatever the list says', async () => {
  const sent: number[] = [];
  const hands: Hands = { ...linuxHands, kill: (pid) => void sent.push(pid) };
  await stopTargets([target(process.pid), target(1)], { stopTimeoutMs: 5, killWaitMs: 5, hands });
  assert.deepEqual(sent, []);
});

test('what has grown meanwhile is stopped too; a tree that grows for ever is not chased for ever', async () => {
  const first = world.start('sleep', ['1000']).pid;
  const second = world.start('sleep', ['1000']).pid;
  const later = target(second);
  const result = await stopTargets([target(first)], { ...TIMES, grown: () => [later] });
  assert.equal(result.targets.map((one) => one.pid).join(), `${first},${second}`);
  assert.ok(!alive(second));

  let number = 1_000_000;
  const looks = new Map<number, Look>();
  const hands: Hands = {
    look: (pid) => looks.get(pid) ?? null,
    kill: (pid: number, _signal: Signal) => void looks.delete(pid),
    nowMs: () => performance.now(),
    pause: linuxHands.pause,
  };
  const grow = () => {
    number += 1;
    looks.set(number, { startId: 's', state: 'S' });
    return [{ pid: number, startId: 's' }];
  };
  const endless = await stopTargets(grow(), { ...TIMES, hands, grown: grow });
  assert.ok(endless.targets.length < 50);
});

interface Paper {
  startId?: string;
  state?: string;
  /** The signal that ends it; null: none does. */
  readonly dies?: Signal | null;
  /** From that signal to its end. */
  readonly inMs?: number;
  readonly denies?: boolean;
}

const A = { pid: 10, startId: 'a' };
const B = { pid: 11, startId: 'b' };
const C = { pid: 12, startId: 'c' };

/** Stops A and B, which have the start ids that they are listed with; returns what was sent, with its time. */
async function onPaper(
  papers: Record<number, Paper>,
  options: Partial<StopOptions> & { targets?: ProcessId[]; appears?: { pid: number; atMs: number } } = {},
) {
  const { targets = [A, B], appears, ...more } = options;
  const procs = new Map<number, Paper>(Object.entries(papers).map(([pid, it]) => [Number(pid), { ...it }]));
  const names = new Map([A, B, C].map(({ pid, startId }) => [pid, startId]));
  const sent: string[] = [];
  const ends: { pid: number; atMs: number }[] = [];
  let nowMs = 0;
  const looks: number[] = [];
  const hands: Hands = {
    nowMs: () => nowMs,
    look(pid) {
      const it = procs.get(pid);
      return it ? { startId: it.startId ?? names.get(pid)!, state: it.state ?? 'S' } : null;
    },
    kill(pid, signal) {
      const it = procs.get(pid)!;
      sent.push(`${nowMs} ${signal} ${pid}`);
      if (it.denies) throw Object.assign(new Error('EPERM'), { code: 'EPERM' });
      if (signal === 'SIGCONT') it.state = 'S';
      const { dies = 'SIGTERM', inMs = 5 } = it;
      if (signal === dies || (signal === 'SIGKILL' && dies !== null)) ends.push({ pid, atMs: nowMs + inMs });
    },
    async pause(ms) {
      looks.push(ms);
      nowMs += ms;
      if (appears && nowMs >= appears.atMs) procs.set(appears.pid, {});
      for (const it of ends) if (it.atMs <= nowMs) procs.delete(it.pid);
    },
  };
  const result = await stopTargets(targets, { stopTimeoutMs: 1_000, killWaitMs: 500, hands, ...more });
  const pids = (all: readonly ProcessId[]) => all.map(({ pid }) => pid);
  return { sent, looks, procs, survivors: pids(result.survivors), denied: pids(result.denied), nowMs };
}

test('SIGTERM from the top, once; then SIGKILL when the time is over; then giving up', async () => {
  const it = await onPaper({ 10: { dies: null }, 11: { dies: 'SIGKILL' } });
  assert.deepEqual(it.sent, ['0 SIGTERM 10', '0 SIGTERM 11', '1000 SIGKILL 10', '1000 SIGKILL 11']);
  assert.deepEqual([it.survivors, it.nowMs], [[10], 1_500]);
});

test('looks are 1 ms apart at first, 50 ms in the end; when all have left it is over', async () => {
  const it = await onPaper({ 10: { inMs: 5 }, 11: { inMs: 300 } });
  assert.deepEqual(it.looks.slice(0, 8), [1, 2, 4, 8, 16, 32, 50, 50]);
  assert.ok(it.nowMs < 400);
  assert.deepEqual([it.survivors, it.sent.length], [[], 2]);
  assert.equal((await onPaper({}, { targets: [] })).nowMs, 0, 'nobody to stop');
});

test('a zombie is gone; a pid that is another process by now is gone, and is never signalled', async () => {
  const it = await onPaper({ 10: { state: 'Z' }, 11: { startId: 'another' } });
  assert.deepEqual([it.sent, it.survivors], [[], []]);
});

test('a pid that was gone once stays gone, also when a process of that number appears', async () => {
  const it = await onPaper({ 11: { dies: 'SIGKILL' } }, { appears: { pid: 10, atMs: 500 } });
  assert.deepEqual(it.sent, ['0 SIGTERM 11', '1000 SIGKILL 11']);
});

test('a stopped process is continued, so that it can hear SIGTERM', async () => {
  const it = await onPaper({ 10: { state: 'T' }, 11: {} });
  assert.deepEqual(it.sent, ['0 SIGTERM 10', '0 SIGCONT 10', '0 SIGTERM 11']);
});

test('asked for now: SIGKILL at once, also before any SIGTERM; halted: nothing at all', async () => {
  const now = AbortSignal.abort();
  assert.deepEqual((await onPaper({ 10: {}, 11: {} }, { now })).sent, ['0 SIGKILL 10', '0 SIGKILL 11']);
  assert.deepEqual((await onPaper({ 10: {}, 11: {} }, { halt: now })).sent, []);
});

test('newcomers: SIGTERM when all seemed over; SIGKILL with a wait of their own after SIGKILL', async () => {
  let grown: ProcessId[] = [B];
  const late = await onPaper({ 10: {}, 11: {} }, { targets: [A], grown: () => grown });
  assert.match(late.sent.join(), /^\d+ SIGTERM 10,\d+ SIGTERM 11$/);
  grown = [];
  let asked = 0;
  const grows = { targets: [A], grown: () => (asked++ === 0 ? [] : [C]) };
  const killed = await onPaper({ 10: { dies: null }, 12: { dies: null } }, grows);
  assert.deepEqual(killed.sent.slice(1), ['1000 SIGKILL 10', '1500 SIGKILL 12']);
  assert.deepEqual([killed.survivors, killed.nowMs], [[10, 12], 2_000]);
});

test('who may not be signalled is not waited for, and counts as a survivor', async () => {
  const it = await onPaper({ 10: { denies: true }, 11: {} });
  assert.deepEqual([it.denied, it.survivors], [[10], [10]]);
  assert.ok(it.nowMs < 50);
});
