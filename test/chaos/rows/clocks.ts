// Clocks that are set: the engine's, the supervisor's; a machine that was suspended. And a pooler, which has no sessions.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Engine, redisCommand, sql } from '../../support/engines.ts';
import { openPgbouncer } from '../../support/pgbouncer.ts';
import { nowMs } from '../journal.ts';
import type { Row } from '../row.ts';
import type { Scene } from '../scene.ts';
import { makeWallClock } from '../wall-clock.ts';
import { ROOM_MS, takenWithinMs } from './bounds.ts';

async function engineTimeMs({ name, port }: Engine): Promise<number> {
  if (name === 'postgres')
    return 1_000 * Number(await sql(port, 'SELECT extract(epoch FROM clock_timestamp())'));
  // EVAL, for TIME answers with a list.
  return 1_000 * Number(await redisCommand(port, 'EVAL', "return redis.call('TIME')[1]", '0'));
}

/** The same worker all the while. */
function undisturbed(scene: Scene, what: string): void {
  const starts = scene.journal().filter(({ ev }) => ev === 'start');
  scene.check(`the same worker goes on (${what})`, starts.length === 1, starts.length);
}

export const engineClock: Row = {
  id: '11',
  fault: "the engine's wall clock set by +60 s, then by −660 s",
  // etcd is written in Go, which asks the kernel for the time: no library can come between.
  engines: ['redis', 'postgres'],
  setsClock: true,
  async run(scene) {
    await scene.pair();
    scene.fault();
    for (const ahead of [60_000, -600_000]) {
      scene.clock?.set(ahead);
      const seen = (await engineTimeMs(scene.engine)) - Date.now();
      scene.check(`its clock is set by ${ahead} ms`, Math.abs(seen - ahead) < 2_500, seen);
      await pause(1.1 * scene.timing.ttlMs);
      undisturbed(scene, `${ahead} ms`);
    }
  },
};

export const supervisorClock: Row = {
  id: '12a',
  fault: "the holder's wall clock set by +1 h, then by −1 h",
  async run(scene) {
    const clock = makeWallClock(scene.dir);
    const { a } = await scene.pair({ a: { env: clock.env } });
    scene.fault();
    for (const ahead of [3_600_000, -3_600_000]) {
      clock.set(ahead);
      await pause(1.1 * scene.timing.ttlMs);
      undisturbed(scene, `${ahead} ms`);
    }
    scene.check('A has not lost it', !/lost: /.test(a.run.stderr()));
  },
};

export const suspended: Row = {
  id: '12b',
  fault: "the holder's machine was suspended for an hour (its boot clock jumps)",
  async run(scene) {
    const uptime = join(scene.dir, 'uptime');
    writeFileSync(uptime, '5000.00 5000.00\n');
    const a = await scene.machine('A');
    const [file, ...args] = a.ground.enter(['mount', '--bind', uptime, '/proc/uptime']);
    execFileSync(file, args);
    const { b } = await scene.pair({ first: a });
    const wokenAtMs = scene.fault();
    writeFileSync(uptime, '8600.00 8600.00\n');
    await a.run.waitFor(/lost: /, scene.timing.renewMs + ROOM_MS);
    scene.figures.stoppedMs = nowMs() - wokenAtMs;
    await Promise.any([scene.workerOf(a, wokenAtMs), scene.workerOf(b, wokenAtMs)]);
  },
};

export const pooler: Row = {
  id: '15',
  fault: 'pgbouncer in transaction mode: SIGTERM, then SIGKILL of supervisor and worker',
  engines: ['postgres'],
  async run(scene) {
    const { port } = await openPgbouncer(scene.engine.port);
    const { a, b } = await scene.pair({ port });
    const askedAtMs = scene.fault();
    a.run.signal('SIGTERM');
    const { at } = await scene.workerOf(b, askedAtMs);
    scene.figures.handoverMs = at - askedAtMs;
    // Nothing wakes a standby here: it looks.
    const limitMs = 1.2 * scene.timing.pollMs + ROOM_MS;
    scene.takes('hand-over', scene.figures.handoverMs, limitMs);
    await a.run.exit();
    await a.start();
    await a.run.waitFor(/standing by/);
    await scene.served(5);
    const killedAtMs = nowMs();
    b.crash();
    const taken = await scene.workerOf(a, killedAtMs);
    scene.figures.takeoverMs = taken.at - killedAtMs;
    const within = takenWithinMs(scene) + 1.2 * scene.timing.pollMs;
    scene.takes('taken over', scene.figures.takeoverMs, within);
  },
};
