// What `npm run chaos` measures inside a yard: hand-overs, what a standby costs, the same faults for singlepoll and `etcdctl lock`.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import { statusKb } from '../support/proc.ts';
import { randomMoment } from '../support/wait.ts';
import { nowMs } from './journal.ts';
import { type Machine, WORKER } from './machine.ts';
import { openScene, type Scene } from './scene.ts';
import { YARD_ADDRESS } from './yard.ts';

export type Handovers = Awaited<ReturnType<typeof handover>>;
export type StandbyCost = Awaited<ReturnType<typeof standby>>;
export type Compared = Awaited<ReturnType<typeof compare>>;

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

export type Program = 'singlepoll' | 'etcdctl lock';
export const PROGRAMS: readonly Program[] = ['singlepoll', 'etcdctl lock'];

interface Strike {
  readonly text: string;
  strike(holder: Machine, scene: Scene): unknown;
  mend?(holder: Machine, scene: Scene): unknown;
  readonly mendAfterMs: number;
  /** From the fault on. */
  readonly watchMs: number;
}

/** Faults that strike singlepoll and `etcdctl lock` alike. */
export const COMMON_FAULTS = {
  sigterm: {
    text: 'SIGTERM to the program that holds it',
    strike: ({ run }) => run.signal('SIGTERM'),
    ...{ mendAfterMs: 0, watchMs: 20_000 },
  },
  crash: {
    text: 'SIGKILL of the program and its worker',
    strike: (holder) => holder.crash(),
    ...{ mendAfterMs: 0, watchMs: 20_000 },
  },
  sigkill: {
    text: 'SIGKILL of the program alone',
    strike: ({ run }) => run.signal('SIGKILL'),
    ...{ mendAfterMs: 0, watchMs: 30_000 },
  },
  sigstop: {
    text: 'SIGSTOP of the program for 20 s',
    strike: (holder) => holder.freeze('supervisor'),
    mend: (holder) => holder.thaw(),
    ...{ mendAfterMs: 20_000, watchMs: 30_000 },
  },
  frozen: {
    text: 'etcd frozen for 25 s',
    strike: (_, { engine }) => engine.pause(),
    mend: (_, { engine }) => engine.resume(),
    ...{ mendAfterMs: 25_000, watchMs: 45_000 },
  },
} satisfies Record<string, Strike>;
export type CommonFault = keyof typeof COMMON_FAULTS;

export async function compare(dir: string, program: Program, fault: CommonFault) {
  const scene = await openScene('etcd', 'default', dir);
  const [a, b] = [await scene.machine('A'), await scene.machine('B')];
  const startOn = (machine: Machine) => {
    const root = `http://${YARD_ADDRESS}:${machine.line.port}`;
    const rival = ['etcdctl', '--endpoints', root, 'lock', 'bot'];
    return machine.start(program === 'etcdctl lock' ? { rival } : {});
  };
  await startOn(a);
  await scene.pollOf(a, 0);
  scene.flow();
  await startOn(b);
  if (program === 'singlepoll') await b.run.waitFor(/standing by/);
  await scene.served(12);
  const atMs = scene.fault();
  const { strike, mend, mendAfterMs, watchMs }: Strike = COMMON_FAULTS[fault];
  await strike(a, scene);
  if (mend) {
    await pause(mendAfterMs);
    await mend(a, scene);
  }
  await pause(watchMs - (mend ? mendAfterMs : 0));
  await scene.settle();
  const next = scene.journal().find(({ ev, name, at }) => ev === 'start' && name === 'B' && at > atMs);
  /** From the fault to the first line of the other machine's worker; null: none came. */
  const takeoverMs = next ? next.at - atMs : null;
  return { program, fault, takeoverMs, verdict: scene.verdict() };
}
