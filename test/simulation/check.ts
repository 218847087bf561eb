/**
 * The judge of the simulation: knows the truth about every process, hears of every signal, look, spawn and exit, and holds
 * what was done against what must hold. Counts back-off and crash loops by itself; takes nothing from the code under test.
 */
import { constants } from 'node:os';
import type { Ending } from '../../src/core/supervisor.ts';
import type { Clock } from './clock.ts';
import type { Body, Ended, Life, Machine } from './machine.ts';
import type { Sim, Timing } from './supervisor.ts';

export interface Checker {
  readonly violations: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
  /** `phase × event` → how often. */
  readonly cells: ReadonlyMap<string, number>;
  began(sim: Sim): void;
  looked(sim: Sim, stoppable: ReadonlySet<number>): void;
  sawConnection(body: Body): void;
  signalled(sim: Sim, by: 'sweep' | 'tree', body: Body, signal: string): void;
  sweepBegan(sim: Sim): void;
  sweepEnded(sim: Sim): void;
  spawning(sim: Sim, spawn: number): void;
  polled(sim: Sim, spawn: number): void;
  exitHeard(sim: Sim, spawn: number, end: Ended & { readonly conflict: boolean }): void;
  stopAsked(sim: Sim): void;
  restartAsked(sim: Sim): void;
  blocked(sim: Sim, ending: Ending): void;
  exited(sim: Sim, code: number, reason: string): void;
  stepped(sim: Sim, cell: string): void;
  broken(sim: Sim, error: unknown): void;
  fail(text: string): void;
  /** After every event. */
  always(): void;
}

/** From SIGKILL to giving up, as in machine/stop and strays. */
const KILL_WAIT_MS = 5_000;
const SLACK_MS = 1_000;
/** A look is fresh enough to spawn after it. */
const FRESH_MS = 500;
/** From a look to the first signal because of it. */
const LOOK_TO_STOP_MS = 200;
/** Comebacks count within a minute; the exit may come a while after the verdict. */
const COMEBACK_MS = 59_000;
const COMEBACK_TRUTH_MS = 60_000 + 2 * KILL_WAIT_MS + 10_000;

interface Book {
  readonly stopped: Map<Life, number>;
  /** Of these, only what they had left behind was stopped: who started them could not be seen any more. */
  readonly remains: Set<Life>;
  /** Lives that a look of this supervisor showed as stoppable. */
  readonly seen: Set<Life>;
  /** Processes that were shown as stoppable, or that a look could have proven. */
  readonly shown: Set<Body>;
  lookMs: number;
  sweeping: boolean;
  sweepBeganMs: number;
  sweptMs: number;
  spawns: number;
  spawnMs: number;
  good: boolean | 'unclear';
  exitsAtMs: number[];
  failures: number;
  /** What has to follow the last unplanned end. */
  due: { atMs: number; leastMs: number; mostMs: number } | null;
  /** The worker's code, when it has to end the supervisor. */
  ends: { code: number; reason: 'policy' | 'crash loop' } | null;
  stopAskedMs: number | null;
  secondAskMs: number | null;
  endings: Ending[];
  exitMs: number | null;
}

export function createChecker(clock: Clock, machine: Machine, timing: Timing): Checker {
  const violations: string[] = [];
  const counts: { [name: string]: number } = {};
  const cells = new Map<string, number>();
  const records = new Map<Sim, Book>();
  const { policy } = timing;
  /** The one that holds the lock. */
  let live: Sim | null = null;

  const fail = (text: string) => void violations.push(`${clock.now()} ms: ${text}`);
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  const of = (sim: Sim) => records.get(sim)!;
  const show = (body: Body) =>
    `pid ${body.pid} (${body.argv.join(' ')}, ${body.life.kind} "${body.life.program}")`;

  /** Stopping it is allowed: the machine shows proof at this moment. */
  function provable(body: Body): boolean {
    if (body.life.kind === 'worker') return true;
    if (body.life.kind !== 'stray') return false;
    if (/\/old_bot\d*\.py$/.test(body.argv[1] ?? '')) return true;
    return (body.env.holdsToken || body.envFile) && machine.connected(body);
  }

  function mayStay(body: Body): boolean {
    return body.killMs === null || body.denied;
  }

  const checker: Checker = {
    violations,
    counts,
    cells,
    fail,
    began(sim) {
      live = sim;
      records.set(sim, {
        stopped: new Map(),
        remains: new Set(),
        seen: new Set(),
        shown: new Set(),
        lookMs: Number.NEGATIVE_INFINITY,
        sweeping: false,
        sweepBeganMs: 0,
        sweptMs: 0,
        spawns: 0,
        spawnMs: 0,
        good: false,
        exitsAtMs: [],
        failures: 0,
        due: null,
        ends: null,
        stopAskedMs: null,
        secondAskMs: null,
        endings: [],
        exitMs: null,
      });
    },
    looked(sim, stoppable) {
      const record = records.get(sim);
      if (!record) return;
      count('looks');
      record.lookMs = clock.now();
      for (const body of machine.living()) {
        const proof = provable(body);
        if (proof) body.life.provenMs ??= clock.now();
        if (stoppable.has(body.pid)) record.seen.add(body.life);
        if (proof || stoppable.has(body.pid)) record.shown.add(body);
      }
    },
    sawConnection(body) {
      if (provable(body)) body.life.provenMs ??= clock.now();
    },
    signalled(sim, by, body, signal) {
      count(signal);
      const record = of(sim);
      const { life } = body;
      if (record.exitMs !== null) return fail(`${signal} to ${show(body)} after the exit`);
      if (body.state === 'Z') return fail(`${signal} to a zombie: ${show(body)}`);
      if (life.kind === 'innocent') return fail(`${signal} to an innocent: ${show(body)}`);
      const present = sim.worker();
      if (by === 'tree') {
        if (life.kind !== 'worker' || life.run !== sim.run)
          fail(`the worker's stop sends ${signal} to ${show(body)}`);
        if (sim.loop.state.phase !== 'stopping')
          fail(`${signal} to ${show(body)} while ${sim.loop.state.phase}`);
        return;
      }
      if (life.kind === 'worker') {
        if (present && present.life === life)
          fail(`the sweep sends ${signal} to the present worker: ${show(body)}`);
        return;
      }
      if (life.provenMs === null) fail(`${signal} without proof to ${show(body)}`);
      if (life.managed) fail(`${signal} to a stray that a manager keeps alive: ${show(body)}`);
      if (!record.stopped.has(life)) {
        if (cameBackFor(record, life)) fail(`a stray that comes back is fought: ${show(body)}`);
        record.stopped.set(life, clock.now());
        if (body.orphan) record.remains.add(life);
        count('strays stopped');
      }
    },
    sweepBegan(sim) {
      const record = of(sim);
      record.sweeping = true;
      record.sweepBeganMs = clock.now();
    },
    sweepEnded(sim) {
      const record = of(sim);
      record.sweeping = false;
      record.sweptMs += clock.now() - record.sweepBeganMs;
    },
    spawning(sim, spawn) {
      count('spawns');
      const record = of(sim);
      const nowMs = clock.now();
      if (sim !== live || !sim.there) fail('a spawn by a supervisor without the lock');
      if (record.exitMs !== null) fail('a spawn after the exit');
      if (record.stopAskedMs !== null) fail('a spawn after a stop was asked');
      if (record.endings.length > 0) fail(`a spawn after it was blocked: ${record.endings[0]!.reason}`);
      if (spawn !== record.spawns + 1) fail(`spawn ${spawn} after spawn ${record.spawns}`);
      if (sim.worker()) fail('a spawn while a worker lives');
      if (record.ends) fail(`a spawn where the supervisor had to end (${record.ends.reason})`);
      if (nowMs - record.lookMs > FRESH_MS) fail(`a spawn ${nowMs - record.lookMs} ms after the last look`);
      for (const body of machine.living()) {
        const { life } = body;
        if (life.kind === 'worker') {
          if (life.bornMs <= record.lookMs) fail(`a spawn while a leftover lives: ${show(body)}`);
        } else if (
          life.kind === 'stray' &&
          (record.shown.has(body) || (record.seen.has(life) && !body.orphan))
        ) {
          fail(`a spawn while a stray lives that a look has shown: ${show(body)}`);
        }
      }
      const { due } = record;
      if (due) {
        const waitedMs = nowMs - due.atMs;
        if (waitedMs < due.leastMs)
          fail(`restarted after ${waitedMs} ms, back-off is at least ${due.leastMs} ms`);
        const mostMs = due.mostMs + (record.sweptMs - 0);
        if (waitedMs > mostMs)
          fail(`restarted after ${waitedMs} ms, back-off and sweeps are at most ${mostMs} ms`);
      }
      record.due = null;
      record.spawns = spawn;
      record.spawnMs = nowMs;
      record.good = false;
    },
    polled(sim, spawn) {
      const record = of(sim);
      if (record.spawns === spawn) record.good = true;
    },
    exitHeard(sim, spawn, end) {
      const record = of(sim);
      const { phase } = sim.loop.state;
      if (spawn !== record.spawns) return;
      if (phase !== 'starting' && phase !== 'polling') {
        // Asked for: a good run is one all the same, unless it died of a conflict first.
        if (record.good === true) record.failures = 0;
        return;
      }
      count('unplanned exits');
      const nowMs = clock.now();
      const livedMs = nowMs - record.spawnMs;
      if (phase === 'polling') record.good = true;
      else if (livedMs === policy.goodAfterMs) record.good = 'unclear';
      record.exitsAtMs.push(nowMs);
      const recent = record.exitsAtMs.filter((at) => at > nowMs - policy.maxRestartsPeriodMs).length;
      const code = end.signal === null ? end.code! : 128 + constants.signals[end.signal as 'SIGKILL'];
      const failed = end.code !== 0 || end.conflict;
      if (policy.restart === 'never' || (policy.restart === 'on-failure' && !failed)) {
        record.ends = { code, reason: 'policy' };
      } else if (recent > policy.maxRestarts) {
        record.ends = { code, reason: 'crash loop' };
        count('crash loops');
      } else {
        const unclear = record.good === 'unclear';
        record.failures = record.good === true && !end.conflict ? 0 : record.failures + 1;
        const base =
          record.failures === 0
            ? 0
            : Math.min(policy.backoffMaxMs, policy.backoffMinMs * 2 ** (record.failures - 1));
        record.due = {
          atMs: nowMs,
          leastMs: unclear ? 0 : Math.floor(base * 0.8),
          mostMs: unclear
            ? Number.POSITIVE_INFINITY
            : Math.min(policy.backoffMaxMs, Math.ceil(base * 1.2)) + 1,
        };
        record.sweptMs = 0;
      }
    },
    stopAsked(sim) {
      const record = of(sim);
      if (record.exitMs !== null) return;
      if (record.stopAskedMs === null) record.stopAskedMs = clock.now();
      else record.secondAskMs ??= clock.now();
    },
    restartAsked(sim) {
      of(sim).due = null;
      if (sim.loop.state.phase === 'polling') of(sim).good = true;
    },
    blocked(sim, ending) {
      const record = of(sim);
      if (record.exitMs === null) record.endings.push(ending);
    },
    exited(sim, code, reason) {
      count(`exit ${code}`);
      const record = of(sim);
      if (record.exitMs !== null) fail('a second exit');
      record.exitMs = clock.now();
      for (const body of machine.living()) {
        if (body.life.run === sim.run && !mayStay(body))
          fail(`exit ${code} (${reason}) leaves ${show(body)}`);
      }
      if (code !== 75 && machine.living().some(({ life }) => life.run === sim.run))
        fail(`exit ${code} (${reason}) although something of the worker survived`);
      const wrong = wrongExit(sim, record, code, reason);
      if (wrong) fail(`exit ${code} (${reason}): ${wrong}`);
    },
    stepped(sim, cell) {
      cells.set(cell, (cells.get(cell) ?? 0) + 1);
      const { phase } = sim.loop.state;
      if (sim.worker() && (phase === 'backoff' || phase === 'exited')) {
        const body = sim.worker()!;
        if (!mayStay(body)) fail(`the worker lives while ${phase}`);
      }
    },
    broken(_sim, error) {
      fail(`an invariant broke: ${error instanceof Error ? error.stack : String(error)}`);
    },
    always() {
      if (!live?.there) return;
      const record = of(live);
      const leaders = machine.living().filter(({ life, reapedByUs }) => reapedByUs && life.run === live!.run);
      if (leaders.length > 1) fail(`${leaders.length} workers live`);
      if (record.exitMs !== null || record.stopAskedMs === null) return;
      const sinceMs = clock.now() - record.stopAskedMs;
      const stuckMs = machine.saw.survivor ? 2 * KILL_WAIT_MS : 0;
      if (sinceMs > timing.stopTimeoutMs + stuckMs + SLACK_MS)
        fail(`no exit ${sinceMs} ms after a stop was asked`);
      if (record.secondAskMs !== null && clock.now() - record.secondAskMs > stuckMs + SLACK_MS)
        fail('no exit after the second ask to stop');
    },
  };

  /** Why this exit is not right; null when it is. */
  function wrongExit(sim: Sim, record: Book, code: number, reason: string): string | null {
    const nowMs = clock.now();
    if (code === 70) return 'a bug';
    if (
      /survived SIGKILL/.test(reason) ||
      (code === 75 && machine.living().some((it) => it.life.run === sim.run))
    )
      return machine.saw.survivor || machine.saw.refusal ? null : 'nothing survived';
    if (record.endings.some((it) => it.code === code && it.reason === reason)) return null;
    if (record.ends?.code === code && /crash loop|the worker ended/.test(reason)) {
      return /crash loop/.test(reason) === (record.ends.reason === 'crash loop') ? null : 'wrong reason';
    }
    if (code === 0) return record.stopAskedMs !== null ? null : 'nobody asked';
    if (code === 77) {
      return machine.saw.refusal ? null : 'nothing was denied';
    }
    if (code === 75 && /kept alive by/.test(reason)) {
      return [...record.seen].some((life) => life.managed) ? null : 'no manager keeps one alive';
    }
    if (code === 75 && /comes back/.test(reason)) return cameBack(record, nowMs) ? null : 'nothing came back';
    return 'no such reason';
  }

  /** A life that has to be left alone: the third of its program within a minute, or the second by the same parent. */
  function cameBackFor(record: Book, life: Life): boolean {
    const nowMs = clock.now();
    let lives = 0;
    let endMs = Number.NEGATIVE_INFINITY;
    for (const [it, atMs] of record.stopped) {
      if (
        record.remains.has(it) ||
        it.program !== life.program ||
        nowMs - atMs > COMEBACK_MS ||
        atMs >= life.bornMs
      )
        continue;
      if (life.startedBy !== undefined && it.startedBy === life.startedBy) return true;
      // Copies that were stopped together are one life.
      if (it.bornMs <= endMs) continue;
      lives += 1;
      endMs = atMs;
    }
    return lives >= 2;
  }

  /** A life born after an earlier one of its program was stopped: by the same living parent, or the third in a minute. */
  function cameBack(record: Book, nowMs: number): boolean {
    for (const life of record.seen) {
      const earlier = [...record.stopped].filter(
        ([it, atMs]) =>
          it !== life &&
          it.program === life.program &&
          atMs - LOOK_TO_STOP_MS <= life.bornMs &&
          nowMs - atMs < COMEBACK_TRUTH_MS,
      );
      if (earlier.length >= 2) return true;
      if (life.startedBy !== undefined && earlier.some(([it]) => it.startedBy === life.startedBy))
        return true;
    }
    return false;
  }

  return checker;
}
