/**
 * Those who are told of a run: status, page, alerts, service manager. What goes wrong with one of them is said once and is
 * nobody else's affair: it must never reach the loop that decides about the worker.
 */
import type { Report } from '../output/report.ts';

export interface Listeners<T extends unknown[]> {
  /** Returns the way to leave. */
  add(listener: (...told: T) => void): () => void;
  tell(...told: T): void;
  readonly count: number;
}

export function createListeners<T extends unknown[]>(
  what: string,
  report: Pick<Report, 'line'>,
): Listeners<T> {
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
    get count() {
      return listeners.size;
    },
  };
}
