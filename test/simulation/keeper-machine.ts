/**
 * One machine of the simulated lease: the keeper and its edge (as in src/lease/lease.ts), the supervisor's
 * own table and loop over a sweep, a worker and a stop that take their time, the door, and a worker that polls, and now and then dies.
 */

import {
  holds,
  type Keeper,
  type KeeperEffect,
  type KeeperEvent,
  type KeeperPolicy,
  newKeeper,
  type Outcome,
  stepKeeper,
  stopAtMs,
} from '../../src/lease/keeper.ts';
import type { LeaseRecord } from '../../src/lease/store.ts';
import { createLeaseClock, type LeaseClock, type LeaseTiming } from '../../src/lease/timing.ts';
import { createLoop, type Loop, type WorkerEnd } from '../../src/supervisor/loop.ts';
import type { Policy } from '../../src/supervisor/table.ts';
import type { Clock } from './clock.ts';
import type { SimClocks } from './keeper-clocks.ts';
import type { KeeperJudge } from './keeper-judge.ts';
import type { SimStore, StoreAnswer } from './keeper-store.ts';
import type { Random } from './random.ts';
import type { Story } from './story.ts';

/** Between a machine and the engine. */
export type Link = 'fine' | 'slow' | 'cut' | 'requests lost' | 'answers lost' | 'refused' | 'odd';

interface MachineWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly store: SimStore;
  readonly story: Story;
  readonly judge: KeeperJudge;
  /** Requests may arrive this late, at the latest. */
  readonly lateMs: () => number;
  nextId(): string;
  log(text: string): void;
}

interface MachineTraits {
  readonly name: string;
  readonly timing: LeaseTiming;
  readonly clocks: SimClocks;
  readonly lock: string | null;
  /** How a worker takes SIGTERM: ms until it is gone; null: ignores it. */
  readonly termMs: () => number | null;
}

export type SimLeaseMachine = ReturnType<typeof createSimLeaseMachine>;

type Untimed<E> = E extends unknown ? Omit<E, 'atMs' | 'unixMs' | 'random'> : never;

interface Worker {
  alive: boolean;
  ending: boolean;
  cancelKill: () => void;
  killAtMs: number;
  flight: { aborted: boolean } | null;
  readonly pid: number;
  readonly exited: (end: WorkerEnd) => void;
}

export const STOP_TIMEOUT_MS = 8_000;

const SUPERVISOR: Policy = {
  restart: 'always',
  ...{ backoffMinMs: 200, backoffMaxMs: 2_000, maxRestarts: 1_000, maxRestartsPeriodMs: 60_000 },
  ...{ goodAfterMs: 1_000, readyWhenGood: false, lease: true, wait: false },
};

export function createSimLeaseMachine(world: MachineWorld, traits: MachineTraits) {
  const { clock, random, store, story, judge } = world;
  const { name, timing, clocks } = traits;
  let run = 0;
  let policy: KeeperPolicy;
  let leaseClock: LeaseClock;
  /** As the clock saw it at its last look. */
  let aheadMs = 0;
  let paused = false;
  let missed: { readonly isTimer: boolean; readonly todo: () => void }[] = [];
  let cancelTimer = () => {};
  let worker: Worker | null = null;
  let loop: Loop;
  let won: (() => void) | null = null;
  /** Waits for the end of a release. */
  let seekLater: (() => void) | null = null;
  let stopped: ((survivors: number) => void) | null = null;
  let pids = 0;

  /** By the supervisor's process: not while it stands still, not after its end. */
  function act(todo: () => void, isTimer = false): void {
    const mine = run;
    const guarded = () => {
      if (machine.up && run === mine) todo();
    };
    if (paused || clocks.standing) missed.push({ isTimer, todo: guarded });
    else guarded();
  }

  function catchUp(): void {
    if (paused || clocks.standing) return;
    const list = missed;
    missed = [];
    const timersFirst = random.chance(0.5);
    const ordered = timersFirst
      ? [...list.filter(({ isTimer }) => isTimer), ...list.filter(({ isTimer }) => !isTimer)]
      : list;
    for (const { todo } of ordered) todo();
  }

  function look() {
    const seen = leaseClock();
    aheadMs = seen.unixMs - seen.nowMs;
    return seen;
  }

  function send(event: Untimed<KeeperEvent>): void {
    const seen = look();
    if (seen.leaped) step({ kind: 'doubt' }, seen);
    step(event, seen);
  }

  function step(event: Untimed<KeeperEvent>, { nowMs, unixMs }: { nowMs: number; unixMs: number }): void {
    const timed = { ...event, atMs: nowMs, unixMs, random: random.next() } as KeeperEvent;
    const [next, effects] = stepKeeper(machine.keeper, timed, policy);
    machine.keeper = next;
    for (const effect of effects) perform(effect, nowMs);
  }

  function perform(effect: KeeperEffect, nowMs: number): void {
    switch (effect.do) {
      case 'read':
        transmit(effect.request, effect.ms, () => store.read());
        break;
      case 'cas': {
        const sentMs = clock.now();
        const writer = machine.id;
        const text = effect.next;
        if (text.holder === '' && text.vacant === undefined) story.count('freed');
        transmit(effect.request, effect.ms, () => store.cas(effect.prev, text, writer, sentMs), text);
        break;
      }
      case 'won': {
        world.log(`${name} wins term ${effect.epoch}`);
        judge.won(machine, effect.epoch);
        machine.disturbedInTerm = false;
        const tell = won;
        won = null;
        later(0, () => tell?.());
        break;
      }
      case 'lost':
        machine.losses += 1;
        world.log(`${name} has lost its term: ${effect.why}`);
        judge.lost(machine, effect.why, effect.killByMs - nowMs);
        if (worker?.flight) worker.flight.aborted = true;
        // At once, as lease.ts does: an answer to a sweep that comes in the same moment finds the term over.
        loop.send({ kind: 'unleased', reason: effect.why });
        break;
      case 'kill':
        if (worker) killIn(worker, 0);
        break;
      case 'asked':
        world.log(`${name} is asked to hand over`);
        story.count('asked to hand over');
        loop.send({ kind: 'unleased', reason: 'asked' });
        break;
      case 'released':
        later(random.int(0, 20), () => {
          seekLater?.();
          seekLater = null;
        });
        break;
      case 'refused':
        story.fail(`${name} is refused`);
        break;
      case 'vanished':
        story.count('rewritten');
        break;
      case 'wake': {
        cancelTimer();
        const { atMs } = effect;
        if (atMs === null) break;
        const lateMs = random.chance(0.05) ? random.int(1, timing.slackMs / 4) : 0;
        const due = () => act(() => send({ kind: 'due' }), true);
        // Node's timers have whole milliseconds, and may come one too early.
        cancelTimer = clocks.after(Math.ceil(Math.max(0, atMs - nowMs)) + lateMs, due);
        break;
      }
    }
  }

  function later(ms: number, todo: () => void): void {
    const mine = run;
    clocks.after(ms, () => {
      if (run === mine) act(todo, true);
    });
  }

  function delayMs(): number {
    if (machine.link === 'slow') return random.int(20, timing.requestMs * 0.6);
    if (machine.link === 'odd') return random.int(0, random.chance(0.3) ? world.lateMs() : timing.requestMs);
    return random.int(0, 6);
  }

  function transmit(request: number, ms: number, carryOut: () => StoreAnswer, next?: LeaseRecord): void {
    machine.outstanding += 1;
    machine.requests += 1;
    judge.asked(machine, ms);
    let over = false;
    const end = (outcome: Outcome) => {
      if (over) return;
      over = true;
      cancelLimit();
      machine.outstanding -= 1;
      send({ kind: 'answer', request, outcome });
    };
    const fail = (why: string, settled: boolean) => end({ kind: 'failed', why, settled, lasting: false });
    const cancelLimit = clocks.after(Math.ceil(ms), () => act(() => fail('no answer', false), true));
    const mine = run;
    const back = (todo: () => void) => {
      if (run === mine) act(todo);
    };
    if (machine.link === 'refused' || store.down) {
      clock.after(random.int(0, 3), () => back(() => fail('refused', true)));
      return;
    }
    const isOdd = () => machine.link === 'odd' && random.chance(0.3);
    const lost = machine.link === 'cut' || machine.link === 'requests lost' || isOdd();
    // What a cut cable has swallowed may still come out of some buffer, long after.
    if (lost && random.chance(0.7)) return;
    const arrive = () => {
      if (store.frozen) {
        clock.after(50, arrive);
        return;
      }
      if (store.down) return;
      const answer = carryOut();
      if (next && machine.link === 'odd' && random.chance(0.2))
        clock.after(random.int(1, world.lateMs()), carryOut);
      if (machine.link === 'cut' || machine.link === 'answers lost' || isOdd()) return;
      clock.after(delayMs(), () => back(() => end(answer)));
    };
    clock.after(lost ? random.int(0, world.lateMs()) : delayMs(), arrive);
  }

  /** Asked before every poll and every answer. */
  function valid(): boolean {
    const seen = look();
    if (seen.leaped) step({ kind: 'doubt' }, seen);
    return holds(machine.keeper, seen.nowMs, policy);
  }

  function supervise(): Loop {
    const mine = run;
    return createLoop(
      SUPERVISOR,
      {
        now: () => clocks.monotonicMs(),
        seek(done) {
          won = done;
          const seek = () => send({ kind: 'seek' });
          if (machine.keeper.role === 'idle') seek();
          else seekLater = seek;
        },
        release: () => send({ kind: 'release' }),
        probe: () => {},
        sweep: (first, _abandoned, done) =>
          later(random.int(2, first ? 400 : 20), () => settle(() => done(null))),
        spawn,
        stopTree(done) {
          if (!worker) return done(0);
          stopped = done;
          endWorker(worker);
        },
        killTree: () => worker && killIn(worker, 0),
        say: () => {},
        timer(atMs, due) {
          return clocks.after(Math.ceil(Math.max(0, atMs - clocks.monotonicMs())), () => {
            if (run === mine) act(due, true);
          });
        },
        exit(_code, _reason, clean) {
          // In place of a search that waits for the end of a release.
          seekLater = exit;
          const held = machine.keeper.role === 'leader' || machine.keeper.role === 'closing';
          if (clean && held) send({ kind: 'release' });
          else if (machine.keeper.role !== 'releasing') {
            if (machine.keeper.role === 'standby') send({ kind: 'quit' });
            linger();
          }
        },
        broken: (error) => story.fail(`${name}: ${String(error)}`),
      },
      (state) => world.log(`${name}: ${loop.history().at(-1)} → ${state.phase}`),
    );
  }

  /** A doubt, which the next write settles; where the term is over, nothing is left to wait for. */
  function settle(done: () => void): void {
    if (machine.keeper.role !== 'leader' || valid()) done();
    else later(50, () => settle(done));
  }

  function spawn(_number: number, exited: (end: WorkerEnd) => void): number {
    pids += 1;
    const made: Worker = {
      ...{ alive: true, ending: false, killAtMs: Number.POSITIVE_INFINITY, flight: null },
      ...{ cancelKill: () => {}, pid: pids, exited },
    };
    worker = made;
    story.count('spawns');
    judge.spawned(machine, valid());
    world.log(`${name} spawns a worker`);
    poll(made);
    if (random.chance(0.1)) clocks.after(random.int(10, 30_000), () => died(made, 1));
    return made.pid;
  }

  function poll(made: Worker): void {
    if (!made.alive || made !== worker) return;
    const again = (ms: number) => clocks.after(ms, () => poll(made));
    act(() => {
      if (!made.alive || made !== worker) return;
      if (!valid()) {
        again(random.int(300, 900));
        return;
      }
      const flight = { aborted: false };
      made.flight = flight;
      machine.polls += 1;
      judge.forwarded(machine);
      clock.after(random.chance(0.3) ? random.int(500, 6_000) : random.int(2, 300), () => {
        act(() => {
          if (flight.aborted) story.count('polls given up');
          else if (valid()) judge.handed(machine);
          else story.count('answers dropped');
          made.flight = null;
        });
        again(random.int(100, 900));
      });
    });
  }

  function endWorker(mine: Worker): void {
    killIn(mine, STOP_TIMEOUT_MS);
    if (mine.ending) return;
    mine.ending = true;
    const ms = traits.termMs();
    if (ms !== null) clocks.after(ms, () => died(mine, null));
  }

  /** At the earliest time that was asked for. */
  function killIn(mine: Worker, ms: number): void {
    const atMs = clocks.monotonicMs() + Math.max(0, ms);
    if (atMs >= mine.killAtMs) return;
    mine.cancelKill();
    mine.killAtMs = atMs;
    const kill = () => clock.after(random.int(0, timing.reapMs * 0.8), () => died(mine, null));
    mine.cancelKill = clocks.after(Math.max(0, ms), () => act(kill, true));
  }

  function died(mine: Worker, code: number | null): void {
    if (!mine.alive) return;
    mine.alive = false;
    mine.cancelKill();
    world.log(`${name}'s worker is gone`);
    if (worker !== mine) return;
    act(() => {
      worker = null;
      const signal = code === null ? 'SIGKILL' : null;
      mine.exited({ code, signal, conflict: false, apiInDoubt: false, random: random.next() });
      const tell = stopped;
      stopped = null;
      tell?.(0);
    });
  }

  function exit(): void {
    seekLater = null;
    world.log(`${name} exits`);
    halt();
  }

  function halt(): void {
    machine.up = false;
    run += 1;
    cancelTimer();
    missed = [];
    worker = null;
    machine.outstanding = 0;
    machine.keeper = newKeeper;
  }

  const machine = {
    name,
    timing,
    clocks,
    /** Of the present run. */
    id: '',
    up: false,
    keeper: newKeeper as Keeper,
    link: 'fine' as Link,
    outstanding: 0,
    /** Its supervisor or all of it stood still since its term began. */
    disturbedInTerm: false,
    /** Polls that passed. */
    polls: 0,
    losses: 0,
    requests: 0,
    get paused(): boolean {
      return paused || clocks.standing;
    },
    get workerLives(): boolean {
      return worker?.alive === true;
    },
    doorIsOpen(): boolean {
      if (!machine.up || paused || clocks.standing || machine.keeper.role !== 'leader') return false;
      const monotonic = clocks.monotonicMs() - zero.monotonic;
      const nowMs = Math.max(monotonic, clocks.boottimeMs() - zero.boottime - 10);
      return clocks.unixMs() - nowMs - aheadMs <= 1_000 && holds(machine.keeper, nowMs, policy);
    },
    /** Until its stop point; Infinity: it has none. */
    leftMs: (): number =>
      machine.keeper.role === 'leader'
        ? stopAtMs(machine.keeper, policy) - leaseClock().nowMs
        : Number.POSITIVE_INFINITY,
    /** Up, and waits for nothing but the end of another's term. */
    standsBy: (): boolean =>
      machine.up &&
      loop.state.phase === 'standby' &&
      machine.keeper.role === 'standby' &&
      machine.keeper.reach?.ok === true &&
      !machine.keeper.wish &&
      !machine.keeper.uncertain,
    start({ wish }: { wish: boolean }): void {
      machine.up = true;
      run += 1;
      machine.id = world.nextId();
      won = null;
      seekLater = null;
      stopped = null;
      policy = { timing, id: machine.id, host: name, pid: run, lock: traits.lock };
      machine.keeper = { ...newKeeper, wish };
      zero = { monotonic: clocks.monotonicMs(), boottime: clocks.boottimeMs() };
      leaseClock = createLeaseClock(clocks);
      look();
      world.log(`${name} starts as ${machine.id}${wish ? ' --takeover' : ''}`);
      loop = supervise();
      loop.send({ kind: 'booted' });
    },
    stop(): void {
      if (!machine.up) return;
      act(() => {
        world.log(`${name} is asked to stop`);
        loop.send({ kind: 'ask-stop', reason: 'asked' });
      });
    },
    crash(): void {
      if (!machine.up) return;
      world.log(`${name} crashes`);
      story.count('crashes');
      halt();
    },
    /** SIGSTOP, SIGCONT of the supervisor. */
    pause(): void {
      if (paused || !machine.up) return;
      world.log(`${name}'s supervisor is stopped`);
      story.count('supervisor stopped');
      paused = true;
      machine.disturbedInTerm = true;
    },
    goOn(): void {
      if (!paused) return;
      paused = false;
      world.log(`${name}'s supervisor goes on`);
      catchUp();
    },
    stand(frozen: boolean): void {
      world.log(`${name} ${frozen ? 'is frozen' : 'sleeps'}`);
      story.count(frozen ? 'frozen' : 'suspended');
      machine.disturbedInTerm = true;
      clocks.stand(frozen);
    },
    wake(): void {
      world.log(`${name} wakes`);
      clocks.goOn();
      catchUp();
    },
    /** Sets the wall clock; not while time passes unseen, which two such things at once would hide. */
    setWall(ms: number): void {
      if (!machine.up || paused || clocks.standing) return;
      send({ kind: 'due' });
      clocks.setWall(ms);
      send({ kind: 'due' });
    },
    hint(): void {
      if (machine.up) act(() => send({ kind: 'hint' }));
    },
  };
  let zero = { monotonic: 0, boottime: 0 };

  /** A write under way may still win: it is waited for, and freed. */
  function linger(): void {
    if (machine.keeper.role === 'idle' && machine.keeper.request === null) exit();
    else later(20, linger);
  }
  return machine;
}
