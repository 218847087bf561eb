/**
 * Who is told of a run: listeners of one kind of event, the bus on which its parts speak to each other, and the changes that a screen
 * or an alert follows. An error of a listener is reported once, and never reaches the loop that decides about the worker.
 */
import type { Level } from './words.ts';

type Lines = { line(tag: string, text: string, level?: Level): void };

export function createListeners<T extends unknown[]>(what: string, report: Lines) {
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
    /** Returns the way to leave. */
    add(listener: (...told: T) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell(...told: T): void {
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

/** As often as a person can follow. */
const PAUSE_MS = 100;

export type Changes = ReturnType<typeof createChanges>;

export function createChanges(report: Lines) {
  const listeners = createListeners<[]>('one that follows the status', report);
  let timer: NodeJS.Timeout | null = null;
  const tell = () => {
    timer = null;
    listeners.tell();
  };
  return {
    /** Something may have changed: a step of the table, a line that was said. Cheap. */
    touch(): void {
      if (timer === null) timer = setTimeout(tell, PAUSE_MS).unref();
    },
    /** Called soon after a change, at most once in PAUSE_MS; returns the way to leave. */
    listen: listeners.add,
  };
}

export type Bus = ReturnType<typeof createBus>;

/** What the parts of a run tell each other beside the events of the table. Nobody decides here. */
export function createBus(report: Lines) {
  return {
    /** Another poller caused a 409. `named`: by the worker in its output, which nobody else saw. */
    conflict: createListeners<[named: boolean]>('the answer to a 409', report),
    /** A poll of the worker's goes out: who polls too on this machine reacts to it. */
    pollSent: createListeners<[]>('what follows the polls', report),
    /** Somebody of this machine has reacted to a poll of ours. */
    reacted: createListeners<[]>('what follows reactions to a poll', report),
    webhookSeen: createListeners<[]>('the answer to a webhook', report),
    /** A webhook that somebody set while we polled is gone. */
    webhookCleared: createListeners<[]>('what waits for a webhook to go', report),
    /** Others than the worker have asked the Bot API: whether it answered. */
    apiReached: createListeners<[yes: boolean]>('what follows the Bot API', report),
    /** Every few seconds: parts that look now and then share one wake-up of an idle process. */
    tick: createListeners<[]>('a regular look', report),
  };
}
