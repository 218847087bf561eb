/**
 * The worker's side of the door: processes with one or several polling loops, each with the habits of some library, and
 * their connections. What a process does stands still while it is stopped, and ends with its death; its sockets do not.
 */
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

export type Habits = ReturnType<typeof randomHabits>;

/** What the door's process gives back: updates (maybe none), or an error. */
export type WorkerAnswer = { readonly ids: readonly number[] } | 'error';

export interface Ask {
  readonly id: number;
  readonly process: SimProcess;
  readonly loop: number;
  readonly connection: number;
  readonly offset: number;
  readonly timeoutMs: number;
  /** Into the socket; nobody may read it there any more. */
  reply(answer: WorkerAnswer): void;
}

export interface SimProcess {
  readonly pid: number;
  readonly habits: readonly Habits[];
  readonly alive: boolean;
  readonly stopped: boolean;
  pause(stopped: boolean): void;
  /** SIGKILL. */
  die(): void;
  /** SIGTERM: ends in a moment. */
  end(onEnded: () => void): void;
}

export interface WorkerWorld {
  readonly clock: Clock;
  readonly random: Random;
  /** The network between the worker and the gateway, with its delays. */
  ask(ask: Ask): void;
  closed(connection: number): void;
  nextPoll(): number;
  nextConnection(): number;
  handled(process: SimProcess, id: number): void;
}

export function randomHabits(random: Random, traits: { readonly slow: boolean; readonly abandons: boolean }) {
  const timeoutS = random.pick([0, 10, 10, 20, 30, 30, 50, 60]);
  const impatient = random.chance(0.15);
  const patienceS = impatient ? random.int(1, 15) : timeoutS + random.pick([2, 5, 15]);
  return {
    timeoutS,
    /** `own`: one kept-alive connection for each loop; `fresh`: a new one for each poll; `pool`: the process's, any idle one. */
    connections: random.pick(['own', 'own', 'fresh', 'pool'] as const),
    /** From a poll to the moment in which the client gives it up; null: never. */
    patienceMs: random.chance(0.7) || impatient ? patienceS * 1_000 : null,
    /** Gives up without closing the connection. */
    abandons: traits.abandons && random.chance(0.5),
    /** Between an empty answer and the next poll. */
    pauseMs: timeoutS === 0 ? random.pick([100, 300, 1_000, 5_000]) : random.pick([0, 1, 5, 300]),
    /** To handle one batch of updates. */
    handlerMs: random.pick([0, 1, 50, 500, traits.slow ? random.int(2_000, 45_000) : 2_000]),
    /** After an error, or a time-out of its own. */
    errorWaitMs: random.pick([0, 300, 1_000, 3_000]),
    /** Asked to end: confirms what it has handled with one more poll, as grammY, Telegraf and python-telegram-bot do. */
    confirms: random.chance(0.5),
  };
}

/** Every poll of a process begins here. */
export function startProcess(world: WorkerWorld, pid: number, habits: readonly Habits[]): SimProcess {
  const { clock, random } = world;
  let alive = true;
  let stopped = false;
  let ending = false;
  let deferred: (() => void)[] = [];
  /** Connections, and whether a poll is open on them. */
  const connections = new Map<number, boolean>();

  /** Carried out by the process itself: not while it is stopped. */
  function act(todo: () => void): void {
    if (!alive) return;
    if (stopped) deferred.push(todo);
    else todo();
  }

  const later = (ms: number, todo: () => void) => clock.after(ms, () => act(todo));

  function open(): number {
    const connection = world.nextConnection();
    connections.set(connection, false);
    return connection;
  }

  function close(connection: number): void {
    if (connections.delete(connection)) world.closed(connection);
  }

  function startLoop(loop: number, it: Habits): () => void {
    let offset = 0;
    let own: number | null = null;
    /** The poll that the loop waits for. */
    let current = 0;
    let over = false;

    function take(): number {
      if (it.connections === 'pool') {
        const idle = [...connections].filter(([, busy]) => !busy).map(([connection]) => connection);
        return idle.length > 0 ? random.pick(idle) : open();
      }
      if (own === null || it.connections === 'fresh' || connections.get(own) !== false) own = open();
      return own;
    }

    function poll(timeoutS = it.timeoutS, farewell = false): void {
      if (over && !farewell) return;
      const connection = take();
      const id = world.nextPoll();
      connections.set(connection, true);
      current = id;
      world.ask({
        id,
        process,
        loop,
        connection,
        offset,
        timeoutMs: Math.min(50, timeoutS) * 1_000,
        reply: (answer) => act(() => answered(id, connection, answer)),
      });
      const { patienceMs } = it;
      if (patienceMs !== null) later(patienceMs, () => giveUp(id, connection));
    }

    function giveUp(id: number, connection: number): void {
      if (current !== id) return;
      current = 0;
      if (!it.abandons) close(connection);
      if (!over) later(it.errorWaitMs, poll);
    }

    function answered(id: number, connection: number, answer: WorkerAnswer): void {
      if (!connections.has(connection)) return;
      connections.set(connection, false);
      if (it.connections === 'fresh') close(connection);
      // Given up long ago: nobody reads it.
      if (current !== id) return;
      current = 0;
      if (answer === 'error') {
        if (!over) later(it.errorWaitMs, poll);
        return;
      }
      for (const update of answer.ids) {
        world.handled(process, update);
        offset = update + 1;
      }
      if (!over) later(answer.ids.length > 0 ? it.handlerMs : it.pauseMs, poll);
    }

    later(random.int(0, 300), poll);
    return () => {
      over = true;
      // The open poll is given up with its connection, then comes the last word.
      for (const [connection, busy] of connections) if (busy && connection === own) close(connection);
      current = 0;
      if (it.confirms && offset > 0) poll(0, true);
    };
  }

  const process: SimProcess = {
    pid,
    habits,
    get alive() {
      return alive;
    },
    get stopped() {
      return stopped;
    },
    pause(stop) {
      stopped = stop;
      if (stop) return;
      const todo = deferred;
      deferred = [];
      for (const each of todo) act(each);
    },
    die() {
      if (!alive) return;
      alive = false;
      for (const connection of [...connections.keys()]) close(connection);
    },
    end(onEnded) {
      const leave = () => {
        process.die();
        onEnded();
      };
      act(() => {
        if (ending) return;
        ending = true;
        for (const stop of loops) stop();
        later(random.int(1_200, 2_500), leave);
      });
    },
  };
  const loops = habits.map((it, loop) => startLoop(loop, it));
  return process;
}
