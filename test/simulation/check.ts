/**
 * The judge of the simulation: knows the truth about every process, hears of every signal, look, spawn and exit, and holds
 * what was done against what must hold (truth.ts, restarts.ts). Takes nothing from the code under test.
 */
import type { Ending } from '../../src/core/supervisor.ts';
import type { Clock } from './clock.ts';
import type { Body, Ended, Machine } from './machine.ts';
import { createRestarts } from './restarts.ts';
import type { Sim, Timing } from './sim.ts';
import { type Book, comesBack, mayStay, provable, wrongExit } from './truth.ts';

export interface Checker {
  readonly violations: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
  /** `phase × event` → how often. */
  readonly cells: ReadonlyMap<string, number>;
  began(sim: Sim): void;
  looked(sim: Sim, stoppable: ReadonlySet<number>): void;
  signalled(sim: Sim, by: 'sweep' | 'tree', body: Body, signal: string): void;
  sweepBegan(sim: Sim): void;
  sweepEnded(sim: Sim): void;
  spawning(sim: Sim, spawn: number): void;
  stillborn(sim: Sim): void;
  polled(sim: Sim, spawn: number): void;
  exitHeard(
    sim: Sim,
    spawn: number,
    end: Ended & { readonly conflict: boolean; readonly apiInDoubt: boolean },
  ): void;
  /** The Bot API answers, after an outage or not. */
  probed(sim: Sim, wasOut: boolean): void;
  stopAsked(sim: Sim): void;
  restartAsked(sim: Sim): void;
  leased(sim: Sim): void;
  /** Null: asked for, and still ours. */
  unleased(sim: Sim, killByMs: number | null): void;
  released(sim: Sim): void;
  /** A reason to end, from outside or from the look while running. */
  blocked(sim: Sim, ending: Ending, from: 'outside' | 'look'): void;
  exited(sim: Sim, code: number, reason: string, clean: boolean): void;
  stepped(sim: Sim, cell: string): void;
  broken(sim: Sim, error: unknown): void;
  fail(text: string): void;
  /** After every event. */
  always(): void;
}

/** From SIGKILL to giving up, as in strays/stop and strays/finder. */
const KILL_WAIT_MS = 5_000;
const SLACK_MS = 1_000;
/** A look is fresh enough to spawn after it. */
const FRESH_MS = 500;
/** From the kill of a worker whose lease is lost to the end of the last of its children. */
const UNLEASED_MS = 300;

export function createChecker(clock: Clock, machine: Machine, timing: Timing): Checker {
  const violations: string[] = [];
  const counts: { [name: string]: number } = {};
  const cells = new Map<string, number>();
  const books = new Map<Sim, Book>();
  /** The one that holds the lock. */
  let live: Sim | null = null;

  const fail = (text: string) => void violations.push(`${clock.now()} ms: ${text}`);
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  const of = (sim: Sim) => books.get(sim)!;
  const show = (body: Body) =>
    `pid ${body.pid} (${body.argv.join(' ')}, ${body.life.kind} "${body.life.program}")`;

  /** By the sweep; the worker's own stop has its own rules. */
  function sweepSignalled(sim: Sim, body: Body, signal: string): void {
    const book = of(sim);
    const { life } = body;
    if (life.kind === 'worker') {
      if (sim.worker()?.life === life) fail(`the sweep sends ${signal} to the present worker: ${show(body)}`);
      return;
    }
    if (life.provenMs === null) fail(`${signal} without proof to ${show(body)}`);
    if (life.managed) fail(`${signal} to a stray that a manager keeps alive: ${show(body)}`);
    if (book.stopped.has(life)) return;
    if (comesBack(life, book, clock.now())) fail(`a stray that comes back is fought: ${show(body)}`);
    book.stopped.set(life, clock.now());
    if (body.orphan) book.remains.add(life);
    count('strays stopped');
  }

  return {
    violations,
    counts,
    cells,
    fail,
    began(sim) {
      live = sim;
      books.set(sim, {
        stopped: new Map(),
        remains: new Set(),
        seen: new Set(),
        shown: new Set(),
        restarts: createRestarts(timing.policy),
        endings: [],
        lookMs: Number.NEGATIVE_INFINITY,
        sweepBeganMs: 0,
        sweptMs: 0,
        spawns: 0,
        stopAskedMs: null,
        leased: false,
        killByMs: null,
        secondAskMs: null,
        exitMs: null,
      });
    },
    looked(sim, stoppable) {
      count('looks');
      const book = of(sim);
      book.lookMs = clock.now();
      for (const body of machine.living()) {
        const proof = provable(body, machine);
        if (proof) body.life.provenMs ??= clock.now();
        if (stoppable.has(body.pid)) book.seen.add(body.life);
        if (proof || stoppable.has(body.pid)) book.shown.add(body);
      }
      // Whoever runs the same program as a proven one, with our token, shares its verdict.
      const strays = machine.living().filter(({ life }) => life.kind === 'stray');
      const proven = new Set(
        strays.filter(({ life }) => life.provenMs !== null).map((it) => it.life.program),
      );
      for (const { pid, env, life } of strays)
        if (stoppable.has(pid) && env.holdsToken && proven.has(life.program)) life.provenMs ??= clock.now();
    },
    signalled(sim, by, body, signal) {
      count(signal);
      const { life } = body;
      const { phase } = sim.loop.state;
      if (of(sim).exitMs !== null) return fail(`${signal} to ${show(body)} after the exit`);
      if (body.state === 'Z') return fail(`${signal} to a zombie: ${show(body)}`);
      if (life.kind === 'innocent') return fail(`${signal} to an innocent: ${show(body)}`);
      if (by === 'sweep') return sweepSignalled(sim, body, signal);
      if (life.run !== sim.run) fail(`the worker's stop sends ${signal} to ${show(body)}`);
      if (phase !== 'stopping') fail(`${signal} to ${show(body)} while ${phase}`);
    },
    sweepBegan(sim) {
      of(sim).sweepBeganMs = clock.now();
    },
    sweepEnded(sim) {
      of(sim).sweptMs += clock.now() - of(sim).sweepBeganMs;
    },
    spawning(sim, spawn) {
      count('spawns');
      const book = of(sim);
      const nowMs = clock.now();
      if (sim !== live || !sim.there) fail('a spawn by a supervisor without the lock');
      if (book.exitMs !== null) fail('a spawn after the exit');
      if (book.stopAskedMs !== null) fail('a spawn after a stop was asked');
      if (book.endings.length > 0) fail(`a spawn after it was blocked: ${book.endings[0]!.reason}`);
      if (spawn !== book.spawns + 1) fail(`spawn ${spawn} after spawn ${book.spawns}`);
      if (sim.worker()) fail('a spawn while a worker lives');
      if (timing.policy.lease && !(book.leased && sim.mayPoll())) fail('a spawn without the lease');
      if (nowMs - book.lookMs > FRESH_MS) fail(`a spawn ${nowMs - book.lookMs} ms after the last look`);
      for (const body of machine.living()) {
        const { life } = body;
        if (life.kind === 'worker' && life.bornMs <= book.lookMs)
          fail(`a spawn while a leftover lives: ${show(body)}`);
        if (life.kind === 'stray' && (book.shown.has(body) || (book.seen.has(life) && !body.orphan)))
          fail(`a spawn while a stray lives that a look has shown: ${show(body)}`);
      }
      const wrong = book.restarts.spawned(nowMs, book.sweptMs);
      if (wrong) fail(`a spawn ${wrong}`);
      book.spawns = spawn;
    },
    stillborn(sim) {
      of(sim).restarts.stillborn();
    },
    polled(sim, spawn) {
      if (of(sim).spawns === spawn) of(sim).restarts.polled();
    },
    exitHeard(sim, spawn, end) {
      const book = of(sim);
      if (spawn !== book.spawns || !book.restarts.ended(clock.now(), end)) return;
      count('unplanned exits');
      if (book.restarts.ends?.reason === 'crash loop') count('crash loops');
      book.sweptMs = 0;
    },
    probed(sim, wasOut) {
      const book = of(sim);
      count(wasOut ? 'exits in an outage' : 'exits in doubt');
      book.restarts.probed(clock.now(), wasOut);
      if (book.restarts.ends?.reason === 'crash loop') count('crash loops');
      book.sweptMs = 0;
    },
    stopAsked(sim) {
      const book = of(sim);
      if (book.exitMs !== null) return;
      book.restarts.asked(clock.now());
      if (book.stopAskedMs === null) book.stopAskedMs = clock.now();
      else book.secondAskMs ??= clock.now();
    },
    restartAsked(sim) {
      of(sim).restarts.asked(clock.now());
    },
    leased(sim) {
      count('leases');
      const book = of(sim);
      if (book.leased) fail('the lease is sought while it is held');
      book.leased = true;
      book.killByMs = null;
      book.restarts.leased();
    },
    unleased(sim, killByMs) {
      count(killByMs === null ? 'leases asked for' : 'leases lost');
      const book = of(sim);
      book.restarts.asked(clock.now());
      if (killByMs === null) return;
      book.leased = false;
      book.killByMs = killByMs;
    },
    released(sim) {
      const book = of(sim);
      book.leased = false;
      book.killByMs = null;
      const left = machine.living().filter(({ life }) => life.run === sim.run);
      for (const body of left) fail(`the lease is given back while ${show(body)} lives`);
    },
    blocked(sim, ending, from) {
      const book = of(sim);
      book.restarts.asked(clock.now());
      if (from === 'outside' && book.exitMs === null) book.endings.push(ending);
    },
    exited(sim, code, reason, clean) {
      count(`exit ${code}`);
      const book = of(sim);
      if (book.exitMs !== null) fail('a second exit');
      book.exitMs = clock.now();
      const left = machine.living().filter(({ life }) => life.run === sim.run);
      for (const body of left) if (!mayStay(body)) fail(`exit ${code} (${reason}) leaves ${show(body)}`);
      if (code !== 75 && left.length > 0)
        fail(`exit ${code} (${reason}) although something of the worker survived`);
      if (clean && left.length > 0) fail(`exit ${code} (${reason}) gives the lease back too early`);
      const wrong = wrongExit({ code, reason }, book, machine, clock.now(), left.length > 0);
      if (wrong) fail(`exit ${code} (${reason}): ${wrong}`);
    },
    stepped(sim, cell) {
      cells.set(cell, (cells.get(cell) ?? 0) + 1);
      const { phase } = sim.loop.state;
      const worker = sim.worker();
      if (worker && !mayStay(worker) && (phase === 'backoff' || phase === 'exited'))
        fail(`the worker lives while ${phase}`);
    },
    broken(_sim, error) {
      fail(`an invariant broke: ${error instanceof Error ? error.stack : String(error)}`);
    },
    always() {
      if (!live?.there) return;
      const { run } = live;
      const book = of(live);
      const leaders = machine.living().filter(({ life, reapedByUs }) => reapedByUs && life.run === run);
      if (leaders.length > 1) fail(`${leaders.length} workers live`);
      const { killByMs } = book;
      if (killByMs !== null && clock.now() > killByMs + UNLEASED_MS) {
        const left = machine.living().find(({ life: it }) => it.kind === 'worker' && it.run === run);
        if (left && !mayStay(left)) fail(`the lease is lost, and ${show(left)} lives`);
      }
      if (book.exitMs !== null || book.stopAskedMs === null) return;
      const sinceMs = clock.now() - book.stopAskedMs;
      const stuckMs = machine.saw.survivor ? 2 * KILL_WAIT_MS : 0;
      if (sinceMs > timing.stopTimeoutMs + stuckMs + SLACK_MS)
        fail(`no exit ${sinceMs} ms after a stop was asked`);
      if (book.secondAskMs !== null && clock.now() - book.secondAskMs > stuckMs + SLACK_MS)
        fail('no exit after the second ask to stop');
    },
  };
}
