// What a row of the chaos table works with, inside a yard: an engine, the Bot API stand-in, machines, updates that come all the time,
// a watch over the workers, and the verdict at the end.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatRecord } from '../../src/lease/store.ts';
import { LEASE_PROFILES, type LeaseProfile, stopAfterMs, waitMs } from '../../src/lease/timing.ts';
import { startSandbox } from '../../src/sandbox/server.ts';
import { type EngineName, openEngine, sql } from '../support/engines.ts';
import { COOKIE_NAME, readProc } from '../support/proc.ts';
import { openProxy } from '../support/proxy.ts';
import { until } from '../support/wait.ts';
import { type Line, nowMs, openJournal } from './journal.ts';
import { createMachine, type Machine, type StartOptions } from './machine.ts';
import {
  type Deaf,
  type LifeSpan,
  longestGap,
  lostOf,
  overlap,
  pollSpans,
  staleCount,
  type Verdict,
  workerOverlap,
} from './verdict.ts';
import { makeWallClock } from './wall-clock.ts';
import { layGround, openGround, YARD_ADDRESS } from './yard.ts';

const TOKEN = '123456789:AAE_chaos_chaos_chaos_chaos_chaos_c';
export const BOT = 123_456_789;

export interface Check {
  readonly what: string;
  readonly ok: boolean;
  readonly seen: string;
  /** How long something took, which what else runs on the machine may change; no promise of safety. */
  readonly speed: boolean;
}

export type Scene = Awaited<ReturnType<typeof openScene>>;

export interface PairOptions {
  readonly a?: StartOptions;
  readonly b?: StartOptions;
  /** In A's place; was made before. */
  readonly first?: Machine;
  /** More standbys than B. */
  readonly more?: number;
  /** Of the engine, as the machines reach it. */
  readonly port?: number;
}

export async function openScene(name: EngineName, profile: LeaseProfile, dir: string, setClock = false) {
  await layGround();
  process.env.TMPDIR = join(dir, 'tmp');
  mkdirSync(process.env.TMPDIR, { mode: 0o755 });
  const clock = setClock ? makeWallClock(dir) : null;
  const engine = await openEngine(name, { ...(clock && { env: clock.env }) });
  const sandbox = await startSandbox({ tokens: [TOKEN], host: YARD_ADDRESS });
  const timing = LEASE_PROFILES[profile];
  const journalFile = join(dir, 'journal');
  const journal = openJournal(journalFile);
  const skewMs = nowMs() - performance.now();
  const deaf: Deaf[] = [];
  const injected: number[] = [];
  const machines: Machine[] = [];
  const checks: Check[] = [];
  const lives = watchLives(journal, machines);
  let faultAtMs: number | null = null;
  let numbers = 1;
  let flowing: NodeJS.Timeout | undefined;
  let settledAtMs: number | null = null;

  // Nobody has to wait a whole ttl for the record of a first start.
  if (name === 'postgres')
    await sql(engine.port, 'CREATE TABLE singlepoll_lease (name text PRIMARY KEY, rec text NOT NULL)');
  await engine.put(BOT, formatRecord({ v: 1, holder: '', epoch: 1, seq: 1, ttl: timing.ttlMs }));

  const polls = () => pollSpans(sandbox.log, BOT, skewMs, nowMs());
  const said = () => machines.map((one) => one.said());

  async function machine(name: string, { port = engine.port } = {}): Promise<Machine> {
    const number = ++numbers;
    const line = await openProxy(port, { host: YARD_ADDRESS });
    const ground = await openGround(name, number);
    const made = createMachine({
      ...{ name, ground, line, profile, dir, deaf },
      leaseUrl: engine.url(line.port).replace('127.0.0.1', YARD_ADDRESS),
      env: {
        PATH: process.env.PATH ?? '/usr/bin:/bin',
        LANG: 'C.UTF-8',
        [COOKIE_NAME]: `chaos${process.pid}`,
        TELEGRAM_API_ROOT: sandbox.root,
        TELEGRAM_BOT_TOKEN: TOKEN,
        CHAOS_JOURNAL: journalFile,
      },
    });
    machines.push(made);
    return made;
  }

  /** A polls, B stands by; updates come from now on. */
  async function pair(options: PairOptions = {}): Promise<{ a: Machine; b: Machine }> {
    const { a: optionsA = {}, b: optionsB = {}, more = 0, port = engine.port, first } = options;
    const names = ['A', 'B', ...Array.from({ length: more }, (_, index) => `C${index + 1}`)];
    const [a, b, ...others] = await Promise.all(
      names.map((name) => (name === 'A' && first ? first : machine(name, { port }))),
    );
    await a!.start(optionsA);
    await pollOf(a!, 0);
    flow();
    const standbys = [b!, ...others];
    await Promise.all(standbys.map((one) => one.start(optionsB)));
    await Promise.all(standbys.map((one) => one.run.waitFor(/standing by/)));
    await served(12);
    return { a: a!, b: b! };
  }

  /** First line of a worker of this machine, later than `afterMs`. */
  function workerOf(of: Machine, afterMs = 0, ms = 20_000): Promise<Line> {
    const starts = () => journal().filter(({ ev, child }) => ev === 'start' && !child);
    const first = () => starts().find((it) => it.name === of.name && it.at > afterMs);
    return until(`a worker on ${of.name}`, first, { ms, everyMs: 10, seen: () => of.run.seen() });
  }

  /** The first poll of this machine at the API after `afterMs`; gives when. */
  function pollOf(of: Machine, afterMs: number, ms = 20_000): Promise<number> {
    const first = () => polls().find((poll) => poll.machine === of.name && poll.fromMs > afterMs)?.fromMs;
    return until(`a poll of ${of.name}`, first, { ms, everyMs: 10, seen: () => of.run.seen() });
  }

  /** It says that it stands by, after the first `length` characters of what it had said. */
  async function backToStandby(of: Machine, length: number): Promise<void> {
    const stands = () => /standing by/.test(of.run.stderr().slice(length));
    await until(`${of.name} to stand by again`, stands, { ms: 20_000, seen: of.run.seen });
  }

  /** So many updates more have been handled. */
  async function served(more: number): Promise<void> {
    const count = () => journal().filter(({ ev }) => ev === 'update').length;
    const enough = count() + more;
    await until(`${more} more updates to be handled`, () => count() >= enough, { everyMs: 50 });
  }

  /** Updates begin to come. */
  function flow(): void {
    injected.push(sandbox.injectText(TOKEN, `update ${injected.length + 1}`));
    // Now and then a poll has to wait.
    flowing = setTimeout(flow, Math.random() < 0.9 ? 30 + Math.random() * 170 : Math.random() * 4_000);
  }

  /** Updates come no more, and all that came are handled. */
  async function settle(ms = 20_000): Promise<void> {
    await served(8).catch(() => {});
    clearTimeout(flowing);
    // A poller that does not confirm what it got would be given it for ever.
    const isDone = () => lostOf(journal(), injected) === 0;
    await until('all updates to be handled', isDone, { ms, everyMs: 50 }).catch(() => {});
    settledAtMs = nowMs();
  }

  function verdict(): Verdict {
    const all = polls();
    const since = { fromMs: faultAtMs ?? nowMs(), toMs: settledAtMs ?? nowMs() };
    return {
      overlapMs: overlap(all, deaf),
      stale: staleCount(all),
      updates: injected.length,
      lost: lostOf(journal(), injected),
      gapMs: longestGap(all, deaf, since),
      workerOverlapMs: workerOverlap(lives()),
    };
  }

  return {
    engine,
    /** The engine's wall clock; null where the row does not ask for it. */
    clock,
    timing,
    /** From the last acknowledged renewal to the shut door. */
    stopMs: stopAfterMs(timing),
    /** From a record first seen to a take-over. */
    waitMs: waitMs(timing, timing.ttlMs),
    sandbox,
    dir,
    checks,
    /** Figures of the row, ms. */
    figures: {} as Record<string, number>,
    ...{ machine, pair, workerOf, pollOf, backToStandby, served, flow, settle, verdict },
    ...{ journal, polls, said },
    /** The time without a poller is measured from here. */
    fault: () => (faultAtMs = nowMs()),
    check(what: string, ok: boolean, seen: unknown = ''): void {
      checks.push({ what, ok, seen: String(seen), speed: false });
    },
    /** Checks that it took no longer than `limitMs`. */
    takes(what: string, ms: number, limitMs: number): void {
      checks.push({ what: `${what} within ${limitMs} ms`, ok: ms <= limitMs, seen: String(ms), speed: true });
    },
  };
}

/** Looks every 10 ms which workers run. A stopped one, or a zombie, does not. Gives what it has seen so far. */
function watchLives(journal: () => readonly Line[], machines: readonly Machine[]): () => LifeSpan[] {
  interface Watched {
    readonly machine: string;
    readonly pid: number;
    readonly fromMs: number;
    readonly outer: number | null;
    toMs: number;
    over: boolean;
  }
  const watched: Watched[] = [];
  let known = 0;
  let stretches: LifeSpan[] = [];
  const look = () => {
    const starts = journal().filter(({ ev }) => ev === 'start');
    for (const { name, pid, at } of starts.slice(known)) {
      const machine = machines.find((one) => one.name === name);
      const outer = machine?.ground.outer(pid) ?? null;
      watched.push({ machine: name, pid, fromMs: at, outer, toMs: at, over: false });
    }
    known = starts.length;
    for (const one of watched) {
      if (one.over) continue;
      const state = one.outer === null ? 'X' : (readProc(one.outer)?.state ?? 'X');
      if (state === 'X' || state === 'Z') one.over = true;
      else if (state === 'T' || state === 't') {
        // What it ran until now; it may run again.
        stretches = [...stretches, { ...one }];
        watched[watched.indexOf(one)] = { ...one, fromMs: nowMs(), toMs: nowMs() };
      } else one.toMs = nowMs();
    }
  };
  setInterval(look, 10).unref();
  return () => [...stretches, ...watched].filter(({ fromMs, toMs }) => toMs > fromMs);
}
