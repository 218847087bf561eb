// Engines that stand still, have another time, come back empty or with what they had before, or say what was written by hand.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseRecord } from '../../../src/lease/store.ts';
import { type Engine, redisCommand, sql } from '../../support/engines.ts';
import { alive } from '../../support/proc.ts';
import { until } from '../../support/wait.ts';
import { nowMs } from '../journal.ts';
import type { Machine } from '../machine.ts';
import type { Row } from '../row.ts';
import { BOT, type Scene } from '../scene.ts';
import { noPollAfterStop, ROOM_MS, takenOver, undisturbed } from './expect.ts';

/** A goes on, B stands by: nothing has come of the fault. */
const nothingHappens = (id: string, fault: string, strike: (scene: Scene) => Promise<unknown>): Row => ({
  id,
  fault,
  async run(scene) {
    const { a, b } = await scene.pair();
    scene.fault();
    await strike(scene);
    await pause(2 * scene.timing.ttlMs);
    undisturbed(scene, a, b);
    scene.check('the record is there', (await scene.engine.peek(BOT)) !== null);
  },
});

/** Waits for the holder's next write; gives what stood there before. */
async function nextRenewal({ engine }: Scene): Promise<string> {
  const before = await engine.peek(BOT);
  await until('a renewal', async () => (await engine.peek(BOT)) !== before, { everyMs: 20 });
  return before ?? '';
}

/** Kills it and starts it empty; PostgreSQL keeps its table, the row is deleted before anybody can have read it. */
async function comeBackEmpty({ engine }: Scene, awayMs: number): Promise<void> {
  await engine.kill();
  if (engine.name === 'etcd') rmSync(join(engine.dir, 'data'), { recursive: true, force: true });
  if (engine.name === 'redis') rmSync(join(engine.dir, 'appendonlydir'), { recursive: true, force: true });
  await pause(awayMs);
  await engine.start();
  if (engine.name === 'postgres') await engine.wipe(BOT);
}

/** Some machine polls again, so long after the engine is back. */
async function pollsAgain(scene: Scene, machines: Machine[], afterMs: number, backAtMs: number) {
  const ms = 3 * scene.timing.ttlMs;
  await Promise.any(machines.map((machine) => scene.pollOf(machine, afterMs, ms)));
  scene.figures.resumedMs = nowMs() - backAtMs;
}

async function engineTimeMs({ name, port }: Engine): Promise<number> {
  if (name === 'postgres')
    return 1_000 * Number(await sql(port, 'SELECT extract(epoch FROM clock_timestamp())'));
  // EVAL, for TIME answers with a list.
  return 1_000 * Number(await redisCommand(port, 'EVAL', "return redis.call('TIME')[1]", '0'));
}

export const ENGINE_ROWS: readonly Row[] = [
  // 5 s and 25 s with the default profile.
  nothingHappens('8a', 'engine frozen for a third of the ttl', async ({ engine, timing }) => {
    await engine.pause();
    await pause(timing.ttlMs / 3);
    engine.resume();
  }),
  {
    id: '8b',
    fault: 'engine frozen for 1⅔ ttl',
    async run(scene) {
      const { a, b } = await scene.pair();
      const frozenAtMs = scene.fault();
      await scene.engine.pause();
      await pause((5 / 3) * scene.timing.ttlMs);
      noPollAfterStop(scene, frozenAtMs, Number.POSITIVE_INFINITY);
      const stopped = scene.journal().find(({ ev, name }) => ev === 'asked' && name === 'A');
      scene.check('the worker was stopped', stopped !== undefined);
      scene.engine.resume();
      await pollsAgain(scene, [a, b], frozenAtMs + scene.stopMs, nowMs());
      scene.takes('polls again', scene.figures.resumedMs!, scene.waitMs + ROOM_MS);
    },
  },
  nothingHappens('9a', 'the record deleted (FLUSHALL)', ({ engine }) => engine.wipe(BOT)),
  nothingHappens('9b', 'engine killed, back empty after 0.5 s', (scene) => comeBackEmpty(scene, 500)),
  {
    id: '9c',
    fault: 'engine killed, back empty after 0.8 ttl',
    async run(scene) {
      const { a, b } = await scene.pair();
      const killedAtMs = scene.fault();
      await comeBackEmpty(scene, 0.8 * scene.timing.ttlMs);
      const backAtMs = nowMs();
      noPollAfterStop(scene, killedAtMs, backAtMs);
      await pollsAgain(scene, [a, b], backAtMs, backAtMs);
      scene.takes('polls again', scene.figures.resumedMs!, scene.waitMs + scene.timing.pollMs + ROOM_MS);
    },
  },
  {
    id: '9d',
    fault: 'the record deleted while the holder cannot reach the engine',
    async run(scene) {
      const { a, b } = await scene.pair();
      // From the moment after a renewal: the holder may go on for long.
      await nextRenewal(scene);
      const struckAtMs = scene.fault();
      a.line.freeze('both');
      await scene.engine.wipe(BOT);
      const tookMs = (await takenOver(scene, b, struckAtMs, null, 3 * scene.timing.ttlMs)) - struckAtMs;
      scene.check('outwaited, not taken at once', tookMs >= scene.timing.ttlMs, tookMs);
      a.line.thaw();
      await pause(2 * scene.timing.renewMs);
    },
  },
  nothingHappens('10a', 'the last renewal forgotten (fail-over to an older copy)', async (scene) => {
    await scene.engine.put(BOT, await nextRenewal(scene));
  }),
  {
    id: '10b',
    fault:
      'the taking write forgotten after a hand-over: the record is free again, while a third machine stands by',
    // The one that took it learns of it with its next renewal, or at once by its watch.
    limit: { stale: 1, overlapMs: Number.POSITIVE_INFINITY },
    workersMayOverlap: true,
    async run(scene) {
      const { engine, timing } = scene;
      const { a, b } = await scene.pair();
      const third = await scene.machine('C');
      a.run.signal('SIGTERM');
      const free = await until('the record to be free', () => freedRecord(engine), { everyMs: 1 });
      const { at } = await scene.workerOf(b);
      await scene.pollOf(b, at);
      await third.start();
      await third.run.waitFor(/standing by/);
      await scene.served(5);
      const struckAtMs = scene.fault();
      await engine.put(BOT, free);
      // Both hear of it.
      if (engine.name === 'redis') await redisCommand(engine.port, 'PUBLISH', `singlepoll/${BOT}`, 'x');
      await pause(timing.renewMs + timing.requestMs + ROOM_MS);
      const lost = [b, third].filter(({ run }) => /lost: /.test(run.stderr())).map(({ name }) => name);
      scene.check('one of them goes on', lost.length <= 1, lost);
      const limitMs = timing.renewMs + timing.requestMs;
      const { overlapMs } = scene.verdict();
      scene.check(`overlap within R + Q, ${limitMs} ms`, overlapMs <= limitMs, overlapMs);
      await until('somebody to poll', () =>
        scene.polls().some(({ fromMs }) => fromMs > struckAtMs + limitMs),
      );
    },
  },
  {
    id: '11',
    fault: "the engine's wall clock set by +60 s, then by −660 s",
    // etcd is written in Go, which asks the kernel for the time: no library can come between.
    engines: ['redis', 'postgres'],
    setsClock: true,
    async run(scene) {
      const { a } = await scene.pair();
      scene.fault();
      for (const ahead of [60_000, -600_000]) {
        scene.clock?.set(ahead);
        const seen = (await engineTimeMs(scene.engine)) - Date.now();
        scene.check(`its clock is set by ${ahead} ms`, Math.abs(seen - ahead) < 2_500, seen);
        await pause(1.1 * scene.timing.ttlMs);
        undisturbed(scene, a, null, ` (${ahead} ms)`);
      }
    },
  },
  {
    id: '16',
    fault: 'another holder written into the record by hand',
    async run(scene) {
      const { engine, timing } = scene;
      const { a } = await scene.pair();
      const inner = await until(
        'the worker',
        () => /\[worker\] started, pid (\d+)/.exec(a.run.stderr())?.[1],
      );
      const worker = await until('its process', () => a.ground.outer(Number(inner)));
      const rec = parseRecord((await engine.peek(BOT)) ?? '')!;
      const other = { ...rec, holder: 'written-by-hand', host: 'nowhere', lock: undefined };
      const stands = async () => (await engine.peek(BOT))?.includes('written-by-hand') === true;
      const struckAtMs = scene.fault();
      // May be overtaken by a renewal; the hand writes it again then.
      await until('the edit to stand', async () => {
        await engine.put(BOT, JSON.stringify({ ...other, seq: other.seq + 1_000 }));
        await pause(20);
        return await stands();
      });
      const limitMs = timing.renewMs + timing.requestMs + 200;
      await a.run.waitFor(/lost: .*another's/, limitMs + ROOM_MS);
      await until('the worker to be gone', () => !alive(worker), { ms: limitMs + ROOM_MS });
      const stoppedMs = nowMs() - struckAtMs;
      scene.figures.stoppedMs = stoppedMs;
      scene.check(`stopped within R + Q, ${limitMs} ms`, stoppedMs <= limitMs, stoppedMs);
      scene.check('not released', await stands());
      // Nobody renews what was written: it is outwaited.
      const polled = () => scene.polls().some(({ fromMs }) => fromMs > struckAtMs + scene.waitMs - 100);
      await until('somebody to poll again', polled, { ms: scene.waitMs + 5_000 });
    },
  },
];

/** The record while it is free, or, where that has gone by before it could be seen, made from what stands there now; else null. */
async function freedRecord(engine: Engine): Promise<string | null> {
  const text = await engine.peek(BOT);
  const rec = text === null ? null : parseRecord(text);
  if (rec?.holder === '') return text;
  if (rec?.host !== 'B') return null;
  return JSON.stringify({ v: 1, holder: '', epoch: rec.epoch - 1, seq: rec.seq - 1, ttl: rec.ttl });
}
