// What a row of the chaos table works with, inside a yard: an engine, the Bot API stand-in, machines, updates that come all the time,
// a watch over the workers, and the verdict at the end.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatRecord } from '../../src/lease/record.ts';
import {
  LEASE_PROFILES,
  type LeaseProfile,
  type LeaseTiming,
  stopAfterMs,
  waitMs,
} from '../../src/lease/timing.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/server.ts';
import { type Engine, type EngineName, openEngine, sql } from '../support/engines.ts';
import { COOKIE_NAME, readProc } from '../support/proc.ts';
import { openProxy } from '../support/proxy.ts';
import { until } from '../support/wait.ts';
import { type Line, nowMs, openJournal } from './journal.ts';
import { createMachine, type Machine, type StartOptions } from './machine.ts';
import {
  type Deaf,
  delivered,
  type LifeSpan,
  longestGap,
  overlap,
  pollSpans,
  staleCount,
  type Verdict,
  workerOverlap,
} from './verdict.ts';
import { makeWallClock, type WallClock } from './wall-clock.ts';
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

export interface Scene {
  readonly engine: Engine;
  /** The engine's wall clock; null where the row does not ask for it. */
  readonly clock: WallClock | null;
  readonly profile: LeaseProfile;
  readonly timing: LeaseTiming;
  /** From the last acknowledged renewal to the shut door; from a record first seen to a take-over. */
  readonly stopMs: number;
  readonly waitMs: number;
  readonly sandbox: Sandbox;
  readonly dir: string;
  readonly checks: Check[];
  /** Figures of the row, ms. */
  readonly figures: Record<string, number>;
  machine(name: string, options?: { port?: number }): Promise<Machine>;
  /** A polls, B stands by; updates come from now on. */
  pair(options?: PairOptions): Promise<{ a: Machine; b: Machine }>;
  journal(): readonly Line[];
  /** First line of a worker of this machine, later than `afterMs`. */
  workerOf(machine: Machine, afterMs?: number, ms?: number): Promise<Line>;
  /** The first poll of this machine at the API after `afterMs`; gives when. */
  pollOf(machine: Machine, afterMs: number, ms?: number): Promise<number>;
  polls(): ReturnType<typeof pollSpans>;
  /** It says that it stands by, after the first `length` characters of what it had said. */
  backToStandby(machine: Machine, length: number): Promise<void>;
  /** The time without a poller is measured from here. */
  fault(): number;
  check(what: string, ok: boolean, seen?: unknown): void;
  /** Checks that it took no longer than `limitMs`. */
  takes(what: string, ms: number, limitMs: number): void;
  /** So many updates more have been handled. */
  served(more: number): Promise<void>;
  /** Updates begin to come. */
  flow(): void;
  /** Updates come no more, and all that came are handled. */
  settle(ms?: number): Promise<void>;
  verdict(): Verdict;
  /** What every supervisor has said. */
  said(): string[];
}

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

export async function openScene(
  engineName: EngineName,
  profile: LeaseProfile,
  dir: string,
  setClock = false,
): Promise<Scene> {
  await layGround();
  process.env.TMPDIR = join(dir, 'tmp');
  mkdirSync(process.env.TMPDIR, { mode: 0o755 });
  const clock = setClock ? makeWallClock(dir) : null;
  const engine = await openEngine(engineName, { ...(clock && { env: clock.env }) });
  const sandbox = await startSandbox({ tokens: [TOKEN], host: YARD_ADDRESS });
  const timing = LEASE_PROFILES[profile];
  const journalFile = join(dir, 'journal');
  const journal = openJournal(journalFile);
  const skewMs = nowMs() - performance.now();
  const deaf: Deaf[] = [];
  const injected: number[] = [];
  const machines: Machine[] = [];
  const lives = watchLives(journal, machines);
  let faultAtMs: number | null = null;
  let numbers = 1;
  let flowing: NodeJS.Timeout | undefined;
  let settledAtMs: number | null = null;

  // Nobody has to wait a whole ttl for the record of a first start.
  if (engineName === 'postgres')
    await sql(engine.port, 'CREATE TABLE singlepoll_lease (name text PRIMARY KEY, rec text NOT NULL)');
  await engine.put(BOT, formatRecord({ v: 1, holder: '', epoch: 1, seq: 1, ttl: timing.ttlMs }));

  const polls = () => pollSpans(sandbox.log, BOT, skewMs, nowMs());

  const self: Scene = {
    engine,
    clock,
    profile,
    timing,
    stopMs: stopAfterMs(timing),
    waitMs: waitMs(timing, timing.ttlMs),
    sandbox,
    dir,
    checks: [],
    figures: {},
    async machine(name, { port = engine.port } = {}) {
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
    },
    async pair({ a: optionsA = {}, b: optionsB = {}, more = 0, port = engine.port, first } = {}) {
      const [a, b, ...others] = await Promise.all(
        ['A', 'B', ...Array.from({ length: more }, (_, index) => `C${index + 1}`)].map((name) =>
          name === 'A' && first ? first : self.machine(name, { port }),
        ),
      );
      await a!.start(optionsA);
      await self.pollOf(a!, 0);
      self.flow();
      await Promise.all([b!, ...others].map((one) => one.start(optionsB)));
      await Promise.all([b!, ...others].map((one) => one.run.waitFor(/standing by/)));
      await self.served(12);
      return { a: a!, b: b! };
    },
    journal,
    workerOf: (machine, afterMs = 0, ms = 20_000) =>
      until(
        `a worker on ${machine.name}`,
        () =>
          journal().find(
            (line) => line.ev === 'start' && !line.child && line.name === machine.name && line.at > afterMs,
          ),
        { ms, everyMs: 10, seen: () => machine.run.running.seen() },
      ),
    pollOf: (machine, afterMs, ms = 20_000) =>
      until(
        `a poll of ${machine.name}`,
        () => polls().find((poll) => poll.machine === machine.name && poll.fromMs > afterMs)?.fromMs,
        { ms, everyMs: 10, seen: () => machine.run.running.seen() },
      ),
    polls,
    backToStandby: (machine, length) =>
      until(
        `${machine.name} to stand by again`,
        () => /standing by/.test(machine.run.stderr().slice(length)),
        {
          ms: 20_000,
          seen: machine.run.running.seen,
        },
      ).then(() => {}),
    fault: () => (faultAtMs = nowMs()),
    check(what, ok, seen = '') {
      self.checks.push({ what, ok, seen: String(seen), speed: false });
    },
    takes(what, ms, limitMs) {
      self.checks.push({
        what: `${what} within ${limitMs} ms`,
        ok: ms <= limitMs,
        seen: String(ms),
        speed: true,
      });
    },
    async served(more) {
      const count = () => self.journal().filter(({ ev }) => ev === 'update').length;
      const enough = count() + more;
      await until(`${more} more updates to be handled`, () => count() >= enough, { everyMs: 50 });
    },
    flow() {
      const next = () => {
        injected.push(sandbox.injectText(TOKEN, `update ${injected.length + 1}`));
        // Now and then a poll has to wait.
        flowing = setTimeout(next, Math.random() < 0.9 ? 30 + Math.random() * 170 : Math.random() * 4_000);
      };
      next();
    },
    async settle(ms = 20_000) {
      await self.served(8).catch(() => {});
      clearTimeout(flowing);
      // A poller that does not confirm what it got would be given it for ever.
      await until(
        'all updates to be handled',
        () => delivered(self.journal(), injected).lost === 0 || undefined,
        {
          ms,
          everyMs: 50,
          seen: () => self.said().join('\n'),
        },
      ).catch(() => {});
      settledAtMs = nowMs();
    },
    verdict() {
      const all = polls();
      const { ms, evicted } = overlap(all, deaf);
      return {
        overlapMs: ms,
        evicted,
        stale: staleCount(all),
        updates: injected.length,
        ...delivered(self.journal(), injected),
        gapMs: longestGap(all, deaf, {
          fromMs: faultAtMs ?? nowMs(),
          toMs: settledAtMs ?? nowMs(),
        }),
        workerOverlapMs: workerOverlap(lives()),
      };
    },
    said: () => machines.map((one) => one.said()),
  };
  return self;
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
