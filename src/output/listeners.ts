/**
 * Who is told of a run: listeners of one kind of event, the bus on which its parts speak to each other, and the changes that a screen
 * or an alert follows. What goes wrong with a listener is said once and is nobody else's affair: it must never reach the loop that
 * decides about the worker.
 */
import type { Level } from './words.ts';

/** Of a report. */
interface Lines {
  line(tag: string, text: string, level?: Level): void;
}

export interface Listeners<T extends unknown[]> {
  /** Returns the way to leave. */
  add(listener: (...told: T) => void): () => void;
  tell(...told: T): void;
}

export function createListeners<T extends unknown[]>(what: string, report: Lines): Listeners<T> {
  const listeners = new Set<(...told: T) => void>();
  const said = new Set<string>();

  function failed(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const kind = text.split('\n').slice(0, 2).join('\n');
    if (said.has(kind) || said.size > 100) return;
    said.add(kind);
    report.line('bug', `${what} failed, the worker goes on: ${text}`, 'error');
  }

  return {
    add(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell(...told) {
      for (const listener of listeners) {
        try {
          listener(...told);
        } catch (error) {
          failed(error);
        }
      }
    },
  };
}

export interface Changes {
  /** Something may have changed: a step of the table, a line that was said. Cheap. */
  touch(): void;
  /** Called soon after a change, at most once in PAUSE_MS; returns the way to leave. */
  listen(listener: () => void): () => void;
}

/** As often as a person can follow. */
const PAUSE_MS = 100;

export function createChanges(report: Lines): Changes {
  const listeners = createListeners<[]>('one that follows the status', report);
  let timer: NodeJS.Timeout | null = null;
  const tell = () => {
    timer = null;
    listeners.tell();
  };
  return {
    touch() {
      if (timer === null) timer = setTimeout(tell, PAUSE_MS).unref();
    },
    listen: listeners.add,
  };
}

/** What the parts of a run tell each other beside the events of the table. Nobody decides here. */
export interface Bus {
  /** Another poller caused a 409. `named`: by the worker in its output, which nobody else saw. */
  readonly conflict: Listeners<[named: boolean]>;
  /** A poll of the worker's goes out: who polls too on this machine reacts to it. */
  readonly pollSent: Listeners<[]>;
  /** Somebody of this machine has reacted to a poll of ours. */
  readonly reacted: Listeners<[]>;
  /** The gateway met a webhook. */
  readonly webhookSeen: Listeners<[]>;
  /** A webhook that somebody set while we polled is gone. */
  readonly webhookCleared: Listeners<[]>;
  /** Others than the worker have asked the Bot API: whether it answered. */
  readonly apiReached: Listeners<[yes: boolean]>;
  /** Every few seconds: parts that look now and then share one wake-up of an idle process. */
  readonly tick: Listeners<[]>;
}

export function createBus(report: Lines): Bus {
  return {
    conflict: createListeners('the answer to a 409', report),
    pollSent: createListeners('what follows the polls', report),
    reacted: createListeners('what follows reactions to a poll', report),
    webhookSeen: createListeners('the answer to a webhook', report),
    webhookCleared: createListeners('what waits for a webhook to go', report),
    apiReached: createListeners('what follows the Bot API', report),
    tick: createListeners('a regular look', report),
  };
}
