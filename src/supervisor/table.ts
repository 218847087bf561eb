/**
 * What singlepoll does in every situation: one pure function over a total table of phases and events.
 * No clock, no randomness, no I/O: events carry `atMs` (elapsed time) and `random`; effects come out as data and are
 * performed in order by `run.ts`. Every answer to a question (a sweep, a spawn, a tree stop) carries the id of
 * the question, and a stale one is dropped before the table: that is what keeps two workers from ever living at once.
 *
 * Invariants, checked by the simulation (test/simulation): a worker is spawned only right after a clean
 * sweep and only when none lives; after a stop was asked nothing is spawned; the exit effect is the last one. With a lease:
 * a worker is spawned only in a term of ours, and the term is given back only when no process of a worker is left.
 */
import { constants } from 'node:os';
import { spread } from '../turns.ts';

/** `standby`: somebody else may poll, and we wait for the lock, for the place of another poller (--wait), for the lease. */
export type Phase = 'standby' | 'sweeping' | 'starting' | 'polling' | 'stopping' | 'backoff' | 'exited';

/** The timings and limits that the decisions depend on; all in milliseconds. */
export interface Policy {
  readonly restart: 'always' | 'on-failure' | 'never';
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** More unplanned exits than this within `maxRestartsPeriodMs` are a crash loop. */
  readonly maxRestarts: number;
  readonly maxRestartsPeriodMs: number;
  /** A worker that has lived this long counts as good where its polls can't be seen; Infinity where they can. */
  readonly goodAfterMs: number;
  /** Nobody is to poll (deploy mode): a worker that has lived `goodAfterMs` is all there is to see. Otherwise only a poll counts as polling. */
  readonly readyWhenGood: boolean;
  /** The right to poll is a lease, shared with other machines. */
  readonly lease: boolean;
  /** Another poller that can't be stopped from here is waited for (--wait). */
  readonly wait: boolean;
}

/** Why the supervisor itself ends, and with which code. */
export interface Ending {
  readonly code: number;
  readonly reason: string;
  /** The next command to type. */
  readonly hint?: string | undefined;
  /** Another poller is the reason, although the code is not 75. */
  readonly isRival?: true;
}

type Headed =
  | { readonly to: 'respawn' | 'standby'; readonly reason: string }
  | ({ readonly to: 'exit' } & Ending);

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
  readonly atMs: number;
}

interface UnplannedExit {
  readonly atMs: number;
  readonly random: number;
  /** The run had shown that it is good. */
  readonly good: boolean;
}

export interface State {
  readonly phase: Phase;
  /** Id of the question that is open (lease, sweep, tree stop); answers to others are dropped. */
  readonly question: number;
  /** What follows a clean sweep: a spawn, the back-off, or the question whether the Bot API can be reached at all. */
  readonly next: 'spawn' | 'wait' | 'probe';
  /** How long `backoff` will last once the sweep is done. */
  readonly delayMs: number;
  /** No worker was spawned yet since the start, or since the lease was won. */
  readonly fresh: boolean;
  /** Number of the present or last spawn: 1, 2, 3 … within the run. */
  readonly spawn: number;
  /** Pid of the living worker. */
  readonly pid: number | null;
  /** The present run has shown that it is good (it polled, or lived long enough). */
  readonly good: boolean;
  /** Unplanned exits in a row after the first, which is forgiven; a good run or a calm of CALM_MS begins a new row. */
  readonly failures: number;
  /** When the last unplanned exit was. */
  readonly unplannedAtMs: number | null;
  /** The last unplanned exit, as long as it is not known whether the Bot API was out of reach: then it does not count. */
  readonly unjudged: UnplannedExit | null;
  /** Times of unplanned exits within the period. */
  readonly exitsAtMs: readonly number[];
  /** Unplanned restarts plus asked ones, over the whole run. */
  readonly restarts: number;
  readonly lastExit: Exit | null;
  readonly headed: Headed | null;
  /** Another poller, until a worker is started in its place. */
  readonly obstacle: Ending | null;
}

export type Event = { readonly atMs: number } & (
  | { readonly kind: 'booted' }
  /** This machine may poll. */
  | { readonly kind: 'leased'; readonly question: number }
  /** It may not any more, or is asked to let another one. */
  | { readonly kind: 'unleased'; readonly reason: string }
  /** A newcomer on this machine is to have the lock. It comes back as `leased` where that one fails. */
  | { readonly kind: 'ask-handover'; readonly reason: string }
  /** Strays were looked for and stopped; `blocked` when one of them may not or can't be stopped. */
  | { readonly kind: 'swept'; readonly question: number; readonly blocked: Ending | null }
  | { readonly kind: 'spawned'; readonly spawn: number; readonly pid: number }
  | { readonly kind: 'polled' }
  /** The worker's leader is gone (or could not be started: code 126 or 127). */
  | {
      readonly kind: 'worker-exited';
      readonly spawn: number;
      readonly code: number | null;
      readonly signal: string | null;
      /** Its last words name a 409: the other poller is the reason, so the run was not good. */
      readonly conflict: boolean;
      /** The last call to the Bot API that ended has not reached it: that may be the reason. */
      readonly apiInDoubt: boolean;
      /** 0 … 1, spreads the back-off. */
      readonly random: number;
    }
  /** The Bot API answers; `wasOut`: it did not at first. */
  | { readonly kind: 'probed'; readonly question: number; readonly wasOut: boolean }
  /** The whole tree of the worker is gone, or `survivors` could not be killed. */
  | { readonly kind: 'tree-stopped'; readonly question: number; readonly survivors: number }
  | { readonly kind: 'ask-stop'; readonly reason: string }
  | { readonly kind: 'ask-restart'; readonly reason: string }
  /** Something outside makes polling here pointless or forbidden: a stray that comes back, a refused token. */
  | { readonly kind: 'blocked'; readonly ending: Ending }
  | { readonly kind: 'good-due'; readonly spawn: number }
  | { readonly kind: 'backoff-due'; readonly question: number }
);

type Timeless<T> = T extends unknown ? Omit<T, 'atMs'> : never;
/** An event as it is sent to the loop, which adds the time. */
export type Ask = Timeless<Event>;

type EventKind = Event['kind'];

export type Effect =
  /** Wait for the lock, where a newcomer has it, and for the lease. */
  | { readonly do: 'seek'; readonly question: number }
  /** Give the lease back, and the lock to a newcomer: nothing of the worker is left. */
  | { readonly do: 'release' }
  | { readonly do: 'sweep'; readonly question: number; readonly first: boolean }
  | { readonly do: 'spawn'; readonly spawn: number }
  /** Ask the Bot API until it answers. */
  | { readonly do: 'probe'; readonly question: number }
  | { readonly do: 'stop-tree'; readonly question: number }
  /** A second ask: no more waiting. */
  | { readonly do: 'kill-tree' }
  | { readonly do: 'good-timer'; readonly spawn: number; readonly atMs: number }
  | { readonly do: 'backoff-timer'; readonly question: number; readonly atMs: number }
  | { readonly do: 'say'; readonly say: Saying }
  /** `clean`: nothing of the worker is left, so that a lease may be given back. */
  | { readonly do: 'exit'; readonly code: number; readonly reason: string; readonly clean: boolean };

/** One transition that the user is told about. */
export type Saying =
  | {
      readonly what: 'exited';
      readonly code: number | null;
      readonly signal: string | null;
      readonly conflict: boolean;
      readonly pid: number | null;
    }
  | { readonly what: 'restarting'; readonly inMs: number; readonly failures: number }
  | { readonly what: 'polling'; readonly pid: number }
  | {
      readonly what: 'stopping' | 'replacing' | 'yielding' | 'standing-by' | 'handing-over';
      readonly reason: string;
    }
  | { readonly what: 'killing' }
  | { readonly what: 'crash-loop'; readonly exits: number; readonly periodMs: number }
  | { readonly what: 'not-restarted'; readonly policy: Policy['restart'] }
  | { readonly what: 'survivors'; readonly count: number };

export type Step = readonly [State, readonly Effect[]];

export const initial: State = {
  phase: 'sweeping',
  question: 0,
  next: 'spawn',
  delayMs: 0,
  fresh: true,
  spawn: 0,
  pid: null,
  good: false,
  failures: 0,
  unplannedAtMs: null,
  unjudged: null,
  exitsAtMs: [],
  restarts: 0,
  lastExit: null,
  headed: null,
  obstacle: null,
};

type Cell<K extends EventKind> = (state: State, event: Extract<Event, { kind: K }>, policy: Policy) => Step;
type Row = { readonly [K in EventKind]: Cell<K> };

/** A situation that can't arise; reached, it is a bug, and stopping is better than going on wrong. */
export class BrokenInvariant extends Error {}

const never = (state: State, event: Event): never => {
  throw new BrokenInvariant(`"${event.kind}" while ${state.phase} can't happen`);
};
const ignore = (state: State): Step => [state, []];
const say = (saying: Saying): Effect => ({ do: 'say', say: saying });

const exit = (state: State, ending: Ending): Step => [
  { ...state, phase: 'exited', headed: { to: 'exit', ...ending } },
  [{ do: 'exit', code: ending.code, reason: ending.reason, clean: true }],
];

/** Something of the worker can't be ended: the lease is kept until it runs out, and nothing is started beside that. */
const exitUnclean = (state: State, count: number, reason: string): Step => [
  { ...state, phase: 'exited', headed: { to: 'exit', code: 75, reason } },
  [say({ what: 'survivors', count }), { do: 'exit', code: 75, reason, clean: false }],
];

function standBy(state: State, before: readonly Effect[] = []): Step {
  const question = state.question + 1;
  return [{ ...state, phase: 'standby', question, headed: null }, [...before, { do: 'seek', question }]];
}

/** Asks for strays and leftovers to be looked for and stopped. */
function sweep(state: State, next: State['next'], delayMs: number, before: readonly Effect[] = []): Step {
  const question = state.question + 1;
  return [
    { ...state, phase: 'sweeping', question, next, delayMs },
    [...before, { do: 'sweep', question, first: state.fresh }],
  ];
}

function spawn(state: State): Step {
  const next = state.spawn + 1;
  return [
    {
      ...state,
      ...{ phase: 'starting', spawn: next, fresh: false, good: false },
      ...{ unjudged: null, headed: null, obstacle: null },
    },
    [{ do: 'spawn', spawn: next }],
  ];
}

function stopTree(
  state: State,
  headed: Headed,
  said: readonly Effect[] = [say({ what: STOPPED_FOR[headed.to], reason: headed.reason })],
): Step {
  const question = state.question + 1;
  return [{ ...state, phase: 'stopping', question, headed }, [...said, { do: 'stop-tree', question }]];
}

const STOPPED_FOR = { exit: 'stopping', respawn: 'replacing', standby: 'yielding' } as const;

/** The code that `start` passes on when the worker is the reason. */
export function workerCode(exit: Pick<Exit, 'code' | 'signal'>): number {
  return exit.signal === null
    ? (exit.code ?? 1)
    : 128 + (constants.signals[exit.signal as NodeJS.Signals] ?? 0);
}

/** After this long without an unplanned exit the next one is answered at once, whatever the run was. */
const CALM_MS = 5 * 60_000;

/** Back-off before a restart: none after the first exit of a row, then MIN, doubling, spread by ±20 %, never above MAX. */
export function backoffMs(failures: number, random: number, policy: Policy): number {
  if (failures === 0) return 0;
  const doubled = Math.min(policy.backoffMaxMs, policy.backoffMinMs * 2 ** (failures - 1));
  return Math.min(policy.backoffMaxMs, Math.round(spread(doubled, random)));
}

/** An exit that nobody asked for: restart by policy, with back-off, up to the limit. */
const unplannedExit: Cell<'worker-exited'> = (state, event, policy) => {
  const { code, signal, conflict } = event;
  const last: Exit = { code, signal, atMs: event.atMs };
  const good = state.good && !conflict;
  const base: State = { ...state, pid: null, lastExit: last, good: false };
  const said = say({ what: 'exited', code, signal, conflict, pid: state.pid });
  // `--restart` decides on what the process said of itself; a conflict that ends with 0 is still a failure.
  const failed = code !== 0 || conflict;
  if (policy.restart === 'never' || (policy.restart === 'on-failure' && !failed)) {
    const ending = { code: workerCode(last), reason: 'the worker ended' };
    const ends = say({ what: 'not-restarted', policy: policy.restart });
    return stopTree(base, { to: 'exit', ...ending }, [said, ends]);
  }
  const exit: UnplannedExit = { atMs: event.atMs, random: event.random, good };
  // A 409 is an answer. What the worker has left behind is stopped before the Bot API is asked: that may take long.
  if (event.apiInDoubt && !conflict) return sweep({ ...base, unjudged: exit }, 'probe', 0, [said]);
  return judge(base, exit, policy, [said]);
};

/** The exit was the worker's own affair: it counts. */
function judge(state: State, exit: UnplannedExit, policy: Policy, before: readonly Effect[]): Step {
  const exitsAtMs = [...state.exitsAtMs, exit.atMs].filter(
    (at) => at > exit.atMs - policy.maxRestartsPeriodMs,
  );
  const calm = state.unplannedAtMs === null || exit.atMs - state.unplannedAtMs > CALM_MS;
  const base: State = { ...state, unjudged: null, unplannedAtMs: exit.atMs, exitsAtMs };
  if (exitsAtMs.length > policy.maxRestarts) {
    // 0 would say that all is well: it is the code of a supervisor that was asked to stop.
    const code = workerCode(state.lastExit!) || 69;
    const loop = say({ what: 'crash-loop', exits: exitsAtMs.length, periodMs: policy.maxRestartsPeriodMs });
    return stopTree(base, { to: 'exit', code, reason: 'crash loop' }, [...before, loop]);
  }
  const failures = exit.good || calm ? 0 : state.failures + 1;
  const delayMs = backoffMs(failures, exit.random, policy);
  const counted: State = { ...base, failures, restarts: state.restarts + 1 };
  return sweep(counted, delayMs === 0 ? 'spawn' : 'wait', delayMs, [
    ...before,
    say({ what: 'restarting', inMs: delayMs, failures }),
  ]);
}

/** The worker ended because the Bot API was out of reach, as it may: that is no crash, and the next one finds it back. */
const afterOutage = (state: State): Step =>
  sweep({ ...state, unjudged: null, restarts: state.restarts + 1 }, 'spawn', 0, [
    say({ what: 'restarting', inMs: 0, failures: state.failures }),
  ]);

/** An exit that decides nothing any more. */
const lateExit: Cell<'worker-exited'> = (state, { code, signal, atMs }) => [
  { ...state, pid: null, good: false, lastExit: { code, signal, atMs } },
  [],
];

const askedRestart: Cell<'ask-restart'> = (state, event) =>
  stopTree(
    { ...state, restarts: state.restarts + 1, failures: state.good ? 0 : state.failures },
    { to: 'respawn', reason: event.reason },
  );
const askedStop: Cell<'ask-stop'> = (state, event) =>
  stopTree(state, { to: 'exit', code: 0, reason: event.reason });
const unleased: Cell<'unleased'> = (state, event) => stopTree(state, { to: 'standby', reason: event.reason });
const handover: Cell<'ask-handover'> = (state, { reason }) =>
  stopTree(state, { to: 'standby', reason }, [say({ what: 'handing-over', reason })]);
/** No other worker follows the one that is being stopped. */
const standByInstead = (
  state: State,
  what: 'yielding' | 'handing-over' | 'standing-by',
  reason: string,
): Step =>
  state.headed?.to === 'respawn'
    ? [{ ...state, headed: { to: 'standby', reason } }, [say({ what, reason })]]
    : ignore(state);
const isWaitedFor = ({ code, isRival }: Ending, { wait }: Policy) =>
  wait && (code === 75 || isRival === true);
/** With --wait a rival is waited for. The lease is not kept meanwhile: another machine may be able to poll. */
function blocked(state: State, { ending }: { ending: Ending }, policy: Policy): Step {
  const { reason } = ending;
  if (!isWaitedFor(ending, policy)) return stopTree(state, { to: 'exit', ...ending });
  const waiting = say({ what: 'standing-by', reason });
  return stopTree({ ...state, obstacle: ending }, { to: 'standby', reason }, [waiting]);
}

/** A start that failed may be reported after its phase is over; with a pid it would be a second worker. */
const failedStart: Cell<'worker-exited'> = (state, event, policy) =>
  state.pid === null ? lateExit(state, event, policy) : never(state, event);

/** Where a phase says nothing else. With no worker alive there may still be leftovers of the last one, so a stop goes over the tree as well. */
const USUAL: Row = {
  booted: never,
  leased: never,
  unleased,
  swept: ignore,
  spawned: never,
  polled: ignore,
  'worker-exited': never,
  probed: never,
  'tree-stopped': never,
  'ask-stop': askedStop,
  'ask-restart': ignore,
  'ask-handover': handover,
  blocked,
  'good-due': ignore,
  'backoff-due': ignore,
};

const table: { readonly [P in Exclude<Phase, 'exited'>]: Row } = {
  standby: {
    ...USUAL,
    leased: (state) => sweep({ ...state, fresh: true, failures: 0, unplannedAtMs: null }, 'spawn', 0),
    // A term that was given back already.
    unleased: ignore,
    // No worker is left: the lock can go at once.
    'ask-handover': (state) => standBy(state, [{ do: 'release' }]),
    'worker-exited': failedStart,
  },
  sweeping: {
    ...USUAL,
    booted: (state, _event, policy) => (policy.lease ? standBy(state) : sweep(state, 'spawn', 0)),
    swept: (state, event, policy) => {
      if (event.blocked) {
        // What the last worker has left behind goes first.
        return state.spawn === 0 && !isWaitedFor(event.blocked, policy)
          ? exit(state, event.blocked)
          : blocked(state, { ending: event.blocked }, policy);
      }
      if (state.next === 'spawn') return spawn(state);
      const question = state.question + 1;
      const then: Effect =
        state.next === 'probe'
          ? { do: 'probe', question }
          : { do: 'backoff-timer', question, atMs: event.atMs + state.delayMs };
      return [{ ...state, phase: 'backoff', question }, [then]];
    },
    'worker-exited': failedStart,
    'ask-restart': (state) => [{ ...state, next: 'spawn', unjudged: null }, []],
  },
  starting: {
    ...USUAL,
    spawned: (state, event, policy) => [
      { ...state, pid: event.pid },
      [{ do: 'good-timer', spawn: state.spawn, atMs: event.atMs + policy.goodAfterMs }],
    ],
    polled: (state) =>
      state.pid === null
        ? ignore(state)
        : [{ ...state, phase: 'polling', good: true }, [say({ what: 'polling', pid: state.pid })]],
    'worker-exited': unplannedExit,
    'ask-restart': askedRestart,
    'good-due': (state, _event, { readyWhenGood }) => [
      { ...state, phase: readyWhenGood ? 'polling' : state.phase, good: true },
      [],
    ],
  },
  polling: {
    ...USUAL,
    'worker-exited': unplannedExit,
    'ask-restart': askedRestart,
  },
  stopping: {
    ...USUAL,
    unleased: (state, event) => standByInstead(state, 'yielding', event.reason),
    'ask-handover': (state, event) => standByInstead(state, 'handing-over', event.reason),
    spawned: (state, event) => [{ ...state, pid: event.pid }, []],
    // Its leader went; the tree answers for itself with tree-stopped.
    'worker-exited': lateExit,
    'tree-stopped': (state, event) => {
      const headed = state.headed!;
      const { survivors } = event;
      if (survivors > 0)
        // Unkillable leftovers would be a second poller beside the next worker.
        return exitUnclean(
          state,
          survivors,
          headed.to === 'exit' ? headed.reason : 'processes of the old worker survived SIGKILL',
        );
      const left: State = { ...state, pid: null };
      if (headed.to === 'exit') return exit(left, headed);
      if (headed.to === 'standby') return standBy(left, [{ do: 'release' }]);
      return sweep({ ...left, headed: null }, 'spawn', 0);
    },
    'ask-stop': (state, event) =>
      state.headed?.to === 'exit'
        ? [state, [say({ what: 'killing' }), { do: 'kill-tree' }]]
        : [
            { ...state, headed: { to: 'exit', code: 0, reason: event.reason } },
            [say({ what: 'stopping', reason: event.reason })],
          ],
    blocked(state, { ending }, policy) {
      if (state.headed?.to === 'exit') return ignore(state);
      if (!isWaitedFor(ending, policy)) return [{ ...state, headed: { to: 'exit', ...ending } }, []];
      return standByInstead({ ...state, obstacle: ending }, 'standing-by', ending.reason);
    },
  },
  backoff: {
    ...USUAL,
    probed: (state, event, policy) =>
      event.wasOut || state.unjudged === null ? afterOutage(state) : judge(state, state.unjudged, policy, []),
    'ask-restart': (state) => sweep({ ...state, unjudged: null }, 'spawn', 0),
    'backoff-due': (state) => sweep(state, 'spawn', 0),
  },
};

/** Events with the id of a question, or of a spawn, are answers to that one alone. */
const isStale = (state: State, event: Event): boolean =>
  ('question' in event && event.question !== state.question) ||
  ('spawn' in event && event.spawn !== state.spawn);

/** Decides: the next state, and what is to be done, in order. Throws BrokenInvariant on what can't happen. */
export function step(state: State, event: Event, policy: Policy): Step {
  if (state.phase === 'exited' || isStale(state, event)) return [state, []];
  const cell = table[state.phase][event.kind] as Cell<EventKind>;
  return cell(state, event, policy);
}
