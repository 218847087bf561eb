/** Stopping with real signals: reused pids, refused signals, regrowth, impatience. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { type Hands, linuxHands, stopTargets } from '../../src/strays/stop.ts';
import type { Look, Signal, Target } from '../../src/strays/stop-plan.ts';
import { createStrayWorld, isAlive, PYTHON, type StrayWorld, startIdOf } from '../support/stray-world.ts';

let world: StrayWorld;
beforeEach(async () => {
  world = await createStrayWorld();
});
afterEach(() => world.close());

const TIMES = { stopTimeoutMs: 400, killWaitMs: 400 };
const SLEEP = 'time.sleep(1000)';

function target(pid: number): Target {
  return { pid, startId: startIdOf(pid)! };
}

/** A Python program that says when it is ready. */
async function ready(code: string): Promise<number> {
  const child = world.start(PYTHON, ['-c', `import os,signal,time\n${code}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((done) => child.stdout!.once('data', done));
  return child.pid;
}

test('one that leaves on SIGTERM is gone within milliseconds', async () => {
  const { pid } = world.start('sleep', ['1000']);
  const result = await stopTargets([target(pid)], TIMES);
  assert.equal(result.killed, 0);
  assert.deepEqual(result.survivors, []);
  assert.ok(!isAlive(pid));
  assert.ok(result.tookMs < 200, `${result.tookMs} ms`);
});

test('one that ignores SIGTERM gets SIGKILL after the time', async () => {
  const pid = await ready(`signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1,flush=True)\n${SLEEP}`);
  const result = await stopTargets([target(pid)], TIMES);
  assert.equal(result.killed, 1);
  assert.ok(!isAlive(pid));
  assert.ok(result.tookMs >= 400, `${result.tookMs} ms`);
});

test('asked for now: it does not wait any longer', async () => {
  const pid = await ready(`signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1,flush=True)\n${SLEEP}`);
  const now = new AbortController();
  setTimeout(() => now.abort(), 50);
  const result = await stopTargets([target(pid)], { ...TIMES, stopTimeoutMs: 60_000, now: now.signal });
  assert.ok(!isAlive(pid));
  assert.ok(result.tookMs < 2_000, `${result.tookMs} ms`);
});

test('a stopped (SIGSTOP) process leaves in an orderly way', async () => {
  const pid = await ready(
    `signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\nprint(1,flush=True)\n${SLEEP}`,
  );
  process.kill(pid, 'SIGSTOP');
  const result = await stopTargets([target(pid)], { ...TIMES, stopTimeoutMs: 5_000 });
  assert.equal(result.killed, 0);
  assert.ok(!isAlive(pid));
});

test('a listed pid that belongs to another process by now is left alone', async () => {
  const { pid } = world.start('sleep', ['1000']);
  const result = await stopTargets([{ pid, startId: '1' }], TIMES);
  assert.deepEqual(result.survivors, []);
  assert.ok(isAlive(pid));
});

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
  assert.ok(isAlive(pid));
});

test('never pid 1, never ourselves, whatever the list says', async () => {
  const sent: number[] = [];
  const hands: Hands = { ...linuxHands, kill: (pid) => void sent.push(pid) };
  await stopTargets([target(process.pid), { pid: 1, startId: startIdOf(1)! }], {
    stopTimeoutMs: 5,
    killWaitMs: 5,
    hands,
  });
  assert.deepEqual(sent, []);
});

test('a refused signal is reported at once, without waiting for SIGKILL', async () => {
  const { pid } = world.start('sleep', ['1000']);
  const hands: Hands = {
    ...linuxHands,
    kill: () => {
      throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
    },
  };
  const result = await stopTargets([target(pid)], { stopTimeoutMs: 60_000, killWaitMs: 60_000, hands });
  assert.deepEqual(
    result.denied.map((one) => one.pid),
    [pid],
  );
  assert.deepEqual(
    result.survivors.map((one) => one.pid),
    [pid],
  );
});

test('what has grown meanwhile is stopped too; a tree that grows for ever is not chased for ever', async () => {
  const first = world.start('sleep', ['1000']).pid;
  const second = world.start('sleep', ['1000']).pid;
  const later = target(second);
  const result = await stopTargets([target(first)], { ...TIMES, grown: () => [later] });
  assert.deepEqual(
    result.targets.map((one) => one.pid),
    [first, second],
  );
  assert.ok(!isAlive(second));

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
