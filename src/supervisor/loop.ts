/**
 * Joins the pure table to the world: one queue of events, one place where effects are performed. Effects of one step are
 * performed in their order before the next event is looked at; an edge may answer at once (that keeps the way from a
 * crash to the next spawn free of idle turns of the event loop).
 */
import { inOrder } from '../turns.ts';
import {
  type Ask,
  type Effect,
  type Ending,
  type Event,
  initial,
  type Policy,
  type Saying,
  type State,
  step,
} from './table.ts';

/** The world as the loop needs it; `run.ts` builds the real one, the simulation a virtual one. */
export interface Edges {
  now(): number;
  /** Waits for the right to poll. Without a lease it is never asked for. */
  seek(won: () => void): void;
  release(): void;
  /** Looks for strays and leftovers, stops what has to go, then answers. `abandoned`: nobody wants the answer any more, so nothing may be done. */
  sweep(first: boolean, abandoned: AbortSignal, done: (blocked: Ending | null) => void): void;
  /** Asks the Bot API until it answers; `wasOut`: it did not at first. */
  probe(abandoned: AbortSignal, done: (wasOut: boolean) => void): void;
  /** Spawns; later reports the exit, once. Null: could not be started (the exit is reported all the same). */
  spawn(spawn: number, exited: (exit: WorkerEnd) => void): number | null;
  /** Stops the whole tree of the worker; answers with the number of processes that could not be ended. */
  stopTree(done: (survivors: number) => void): void;
  killTree(): void;
  say(saying: Saying): void;
  timer(atMs: number, due: () => void): () => void;
  /** `clean`: nothing of the worker is left. */
  exit(code: number, reason: string, clean: boolean): void;
  /** An invariant is broken: nothing more is decided. */
  broken(error: unknown): void;
}

export type WorkerEnd = Omit<Extract<Ask, { kind: 'worker-exited' }>, 'kind' | 'spawn'>;

export type Loop = ReturnType<typeof createLoop>;

const HISTORY_MAX = 40;

/** `onStep` sees every change of state after its effects were performed. */
export function createLoop(policy: Policy, edges: Edges, onStep: (state: State) => void) {
  let state = initial;
  let isBroken = false;
  const past: string[] = [];
  const timers = new Map<string, () => void>();
  let asking = new AbortController();

  /** What was begun for the question before must not act any more. */
  function abandon(before: State): void {
    if (state.question === before.question && state.phase !== 'exited') return;
    asking.abort();
    if (state.phase !== 'exited') asking = new AbortController();
  }

  const acts: { readonly [K in Effect['do']]: (effect: Extract<Effect, { do: K }>) => void } = {
    seek: ({ question }) => edges.seek(() => send({ kind: 'leased', question })),
    release: () => edges.release(),
    sweep: ({ question, first }) =>
      edges.sweep(first, asking.signal, (blocked) => send({ kind: 'swept', question, blocked })),
    probe: ({ question }) =>
      edges.probe(asking.signal, (wasOut) => send({ kind: 'probed', question, wasOut })),
    spawn({ spawn }) {
      const pid = edges.spawn(spawn, (end) => send({ kind: 'worker-exited', spawn, ...end }));
      if (pid !== null) send({ kind: 'spawned', spawn, pid });
    },
    'stop-tree': ({ question }) =>
      edges.stopTree((survivors) => send({ kind: 'tree-stopped', question, survivors })),
    'kill-tree': () => edges.killTree(),
    'good-timer': ({ spawn, atMs }) => arm('good', atMs, () => send({ kind: 'good-due', spawn })),
    'backoff-timer': ({ question, atMs }) =>
      arm('backoff', atMs, () => send({ kind: 'backoff-due', question })),
    say: ({ say }) => edges.say(say),
    exit({ code, reason, clean }) {
      for (const cancel of timers.values()) cancel();
      edges.exit(code, reason, clean);
    },
  };

  function arm(name: string, atMs: number, due: () => void): void {
    timers.get(name)?.();
    timers.set(name, edges.timer(atMs, due));
  }

  const send = inOrder((event: Ask) => {
    if (isBroken) return;
    try {
      past.push(`${state.phase} × ${event.kind}`);
      if (past.length > HISTORY_MAX) past.shift();
      const [following, effects] = step(state, { ...event, atMs: edges.now() } as Event, policy);
      const before = state;
      state = following;
      abandon(before);
      for (const effect of effects) (acts[effect.do] as (effect: Effect) => void)(effect);
      onStep(state);
    } catch (error) {
      isBroken = true;
      edges.broken(error);
    }
  });

  return {
    get state(): State {
      return state;
    },
    /** Aborted with the next question, and for good at the end: who acts for the present one looks at it before each effect. */
    get abandoned(): AbortSignal {
      return asking.signal;
    },
    send,
    /** Nothing is decided any more, whatever happens. */
    halt(): void {
      isBroken = true;
      asking.abort();
      for (const cancel of timers.values()) cancel();
    },
    /** The last events with the phases they met, oldest first: for a bug report. */
    history: (): readonly string[] => past,
  };
}
