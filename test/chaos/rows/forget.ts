// Engines that come back empty, come back with what they had before, or say what somebody has written by hand.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseRecord } from '../../../src/lease/record.ts';
import { redisCommand } from '../../support/engines.ts';
import { alive } from '../../support/proc.ts';
import { until } from '../../support/wait.ts';
import { nowMs } from '../journal.ts';
import type { Row } from '../row.ts';
import { BOT, type Scene } from '../scene.ts';
import { ROOM_MS } from './bounds.ts';

/** A goes on, B stands by: nothing has come of the fault. */
async function nothingHappens(scene: Scene, strike: () => Promise<unknown>): Promise<void> {
  const { b } = await scene.pair();
  scene.fault();
  await strike();
  await pause(2 * scene.timing.ttlMs);
  const starts = scene.journal().filter(({ ev }) => ev === 'start');
  scene.check('the same worker goes on', starts.length === 1, starts.length);
  scene.check('B stands by', !/lease\].*ours/.test(b.run.stderr()));
  scene.check('the record is there', (await scene.engine.peek(BOT)) !== null);
}

export const wiped: Row = {
  id: '9a',
  fault: 'the record deleted (FLUSHALL)',
  run: (scene) => nothingHappens(scene, () => scene.engine.wipe(BOT)),
};

/** Kills it and starts it empty; PostgreSQL keeps its table, the row is deleted before anybody can have read it. */
async function comeBackEmpty({ engine }: Scene, awayMs: number): Promise<void> {
  await engine.kill();
  if (engine.name === 'etcd') rmSync(join(engine.dir, 'data'), { recursive: true, force: true });
  if (engine.name === 'redis') rmSync(join(engine.dir, 'appendonlydir'), { recursive: true, force: true });
  await pause(awayMs);
  await engine.start();
  if (engine.name === 'postgres') await engine.wipe(BOT);
}

export const emptySoon: Row = {
  id: '9b',
  fault: 'engine killed, back empty after 0.5 s',
  run: (scene) => nothingHappens(scene, () => comeBackEmpty(scene, 500)),
};

export const emptyLate: Row = {
  id: '9c',
  fault: 'engine killed, back empty after 0.8 ttl',
  async run(scene) {
    const { a, b } = await scene.pair();
    const killedAtMs = scene.fault();
    await comeBackEmpty(scene, 0.8 * scene.timing.ttlMs);
    const backAtMs = nowMs();
    const late = scene
      .polls()
      .filter(({ fromMs }) => fromMs > killedAtMs + scene.stopMs && fromMs < backAtMs);
    scene.check('no poll after the stop point', late.length === 0, late.length);
    const ms = 3 * scene.timing.ttlMs;
    await Promise.any([scene.pollOf(a, backAtMs, ms), scene.pollOf(b, backAtMs, ms)]);
    scene.figures.resumedMs = nowMs() - backAtMs;
    const limitMs = scene.waitMs + scene.timing.pollMs + ROOM_MS;
    scene.takes('polls again', scene.figures.resumedMs, limitMs);
  },
};

export const wipedUnseen: Row = {
  id: '9d',
  fault: 'the record deleted while the holder cannot reach the engine',
  async run(scene) {
    const { a, b } = await scene.pair();
    // From the moment after a renewal: the holder may go on for long.
    const before = await scene.engine.peek(BOT);
    await until('a renewal', async () => (await scene.engine.peek(BOT)) !== before, { everyMs: 20 });
    const struckAtMs = scene.fault();
    a.line.freeze('both');
    await scene.engine.wipe(BOT);
    const { at } = await scene.workerOf(b, struckAtMs, 3 * scene.timing.ttlMs);
    scene.figures.takeoverMs = at - struckAtMs;
    scene.check('outwaited, not taken at once', at - struckAtMs >= scene.timing.ttlMs, at - struckAtMs);
    await scene.pollOf(b, at);
    a.line.thaw();
    await pause(2 * scene.timing.renewMs);
  },
};

export const rolledBack: Row = {
  id: '10a',
  fault: 'the last renewal forgotten (fail-over to an older copy)',
  run: (scene) =>
    nothingHappens(scene, async () => {
      const before = await scene.engine.peek(BOT);
      await until('a renewal', async () => (await scene.engine.peek(BOT)) !== before, { everyMs: 20 });
      await scene.engine.put(BOT, before ?? '');
    }),
};

export const takingForgotten: Row = {
  id: '10b',
  fault:
    'the taking write forgotten after a hand-over: the record is free again, while a third machine stands by',
  // The one that took it learns of it with its next renewal, or at once by its watch.
  limit: { stale: 1, overlapMs: Number.POSITIVE_INFINITY },
  workersMayOverlap: true,
  async run(scene) {
    const { a, b } = await scene.pair();
    const third = await scene.machine('C');
    let free: string | null = null;
    a.run.signal('SIGTERM');
    await until(
      'the record to be free',
      async () => {
        const text = await scene.engine.peek(BOT);
        const rec = text === null ? null : parseRecord(text);
        if (rec?.holder === '') free = text;
        // Gone by before it could be seen: made from what stands there now.
        else if (rec && rec.host === 'B')
          free = JSON.stringify({ v: 1, holder: '', epoch: rec.epoch - 1, seq: rec.seq - 1, ttl: rec.ttl });
        return free !== null;
      },
      { everyMs: 1 },
    );
    const { at } = await scene.workerOf(b);
    await scene.pollOf(b, at);
    await third.start();
    await third.run.waitFor(/standing by/);
    await scene.served(5);
    const struckAtMs = scene.fault();
    await scene.engine.put(BOT, free ?? '');
    // Both hear of it.
    if (scene.engine.name === 'redis')
      await redisCommand(scene.engine.port, 'PUBLISH', `singlepoll/${BOT}`, 'x');
    await pause(scene.timing.renewMs + scene.timing.requestMs + ROOM_MS);
    const lost = [b, third].filter(({ run }) => /lost: /.test(run.stderr()));
    scene.check(
      'one of them goes on',
      lost.length <= 1,
      lost.map(({ name }) => name),
    );
    const limitMs = scene.timing.renewMs + scene.timing.requestMs;
    const { overlapMs } = scene.verdict();
    scene.check(`overlap within R + Q, ${limitMs} ms`, overlapMs <= limitMs, overlapMs);
    await until('somebody to poll', () => scene.polls().some(({ fromMs }) => fromMs > struckAtMs + limitMs));
  },
};

export const edited: Row = {
  id: '16',
  fault: 'another holder written into the record by hand',
  async run(scene) {
    const { a } = await scene.pair();
    const inner = await until('the worker', () => /\[worker\] started, pid (\d+)/.exec(a.run.stderr())?.[1]);
    const worker = await until('its process', () => a.ground.outer(Number(inner)));
    const text = await scene.engine.peek(BOT);
    const other = {
      ...parseRecord(text ?? '')!,
      holder: 'written-by-hand',
      host: 'nowhere',
      lock: undefined,
    };
    const struckAtMs = scene.fault();
    // May be overtaken by a renewal; the hand writes it again then.
    await until('the edit to stand', async () => {
      await scene.engine.put(BOT, JSON.stringify({ ...other, seq: other.seq + 1_000 }));
      await pause(20);
      return (await scene.engine.peek(BOT))?.includes('written-by-hand');
    });
    const limitMs = scene.timing.renewMs + scene.timing.requestMs + 200;
    await a.run.waitFor(/lost: .*another's/, limitMs + ROOM_MS);
    await until('the worker to be gone', () => !alive(worker), { ms: limitMs + ROOM_MS });
    scene.figures.stoppedMs = nowMs() - struckAtMs;
    scene.check(
      `stopped within R + Q, ${limitMs} ms`,
      scene.figures.stoppedMs <= limitMs,
      scene.figures.stoppedMs,
    );
    scene.check('not released', (await scene.engine.peek(BOT))?.includes('written-by-hand') === true);
    // Nobody renews what was written: it is outwaited.
    await until(
      'somebody to poll again',
      () => scene.polls().some(({ fromMs }) => fromMs > struckAtMs + scene.waitMs - 100),
      {
        ms: scene.waitMs + 5_000,
      },
    );
  },
};
