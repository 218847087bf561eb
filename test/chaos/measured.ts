// What `npm run chaos` measures inside a yard: hand-overs, what a standby costs.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import { statusKb } from '../support/proc.ts';
import { randomMoment } from '../support/wait.ts';
import { nowMs } from './journal.ts';
import { type Machine, WORKER } from './machine.ts';
import { openScene } from './scene.ts';

export type Handovers = Awaited<ReturnType<typeof handover>>;
export type StandbyCost = Awaited<ReturnType<typeof standby>>;

/** Says that it is there, then becomes the worker: perl is there within a few ms. */
const MARKED = [
  ...['perl', '-MTime::HiRes=clock_gettime,CLOCK_MONOTONIC', '-e'],
  'open(J, ">>", $ENV{CHAOS_JOURNAL}); printf J qq({"ev":"begin","name":"%s","pid":%d,"epoch":0,"at":%.3f}\\n), $ENV{CHAOS_NAME}, $$, 1000 * clock_gettime(CLOCK_MONOTONIC); close J; exec @ARGV',
  ...[process.execPath, WORKER],
];

/**
 * The time of a hand-over, again and again. SIGTERM to the holder: from the end of its worker to the first instruction of the next
 * one, and to its first line of JavaScript, which comes after the start of Node. SIGKILL of supervisor and worker: from the signal.
 */
export async function handover(
  dir: string,
  engine: EngineName,
  profile: LeaseProfile,
  rounds: number,
  crashes: number,
) {
  const scene = await openScene(engine, profile, dir);
  const options = { worker: MARKED };
  let { a: holder, b: standing } = await scene.pair({ a: options, b: options });
  const starts: number[] = [];
  const handovers: number[] = [];
  const takeovers: number[] = [];

  async function comeBack(gone: Machine): Promise<void> {
    await gone.start(options);
    await gone.run.waitFor(/standing by/);
    [holder, standing] = [standing, gone];
    await scene.served(2);
    // At any moment between two renewals.
    await randomMoment(scene.timing.renewMs);
  }

  for (let round = 0; round < rounds; round++) {
    const askedAtMs = nowMs();
    holder.run.signal('SIGTERM');
    const { at } = await scene.workerOf(standing, askedAtMs);
    const lineOf = (what: string, { name }: Machine) => {
      const line = scene.journal().find((it) => it.ev === what && it.name === name && it.at > askedAtMs);
      if (!line) throw new Error(`no ${what} of the worker of ${name}`);
      return line;
    };
    const end = lineOf('end', holder);
    starts.push(lineOf('begin', standing).at - end.at);
    handovers.push(at - end.at);
    await holder.run.exit();
    await comeBack(holder);
  }
  for (let round = 0; round < crashes; round++) {
    const killedAtMs = nowMs();
    holder.crash();
    const { at } = await scene.workerOf(standing, killedAtMs, 2 * scene.timing.ttlMs);
    takeovers.push(at - killedAtMs);
    await comeBack(holder);
  }
  await scene.settle();
  const { overlapMs, lost, updates } = scene.verdict();
  return { engine, starts, handovers, takeovers, overlapMs, lost, updates };
}

const MEASURED_MS = 60_000;
/** Until start-up and its garbage are over. */
const REST_MS = 15_000;
const TICKS_PER_SECOND = 100;

/** utime and stime of proc(5). */
const cpuMs = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
};

/** What a standby costs over a minute, default profile; beside the same supervisor, polling without a lease. */
export async function standby(dir: string, engine: EngineName) {
  const scene = await openScene(engine, 'default', dir);
  const { b } = await scene.pair();
  const other = await scene.machine('D');
  await other.start({ alone: true, env: { TELEGRAM_BOT_TOKEN: scene.sandbox.addBot() } });
  await other.run.waitFor(/polls/);
  await pause(REST_MS);
  const before = { cpuMs: cpuMs(b.run.pid), pieces: b.line.pieces() };
  await pause(MEASURED_MS);
  return {
    engine,
    standbyRssMb: statusKb(b.run.pid, 'VmRSS') / 1_024,
    aloneRssMb: statusKb(other.run.pid, 'VmRSS') / 1_024,
    /** Of one CPU. */
    cpuPercent: ((cpuMs(b.run.pid) - before.cpuMs) / MEASURED_MS) * 100,
    requestsPerSecond: (b.line.pieces() - before.pieces) / (MEASURED_MS / 1_000),
  };
}
