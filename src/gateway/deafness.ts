/**
 * Deafness: a worker that lives but completes no poll. The clock runs only while the worker could poll and does not: not
 * while one of its polls is open or the Bot API is out of reach, and only if polls are expected. Pure.
 */
export type PollSilence = Readonly<typeof noSilence>;

export const noSilence = {
  /** Polls through the gateway are expected: the worker has polled in this run, or was told that it must. */
  expected: false,
  alive: false,
  openPolls: 0,
  apiDown: false,
  /** How much silence was counted before `sinceMs`. */
  silentMs: 0,
  /** Since when the clock runs; null: it stands still. */
  sinceMs: null as number | null,
};

export type SilenceEvent =
  | { readonly kind: 'spawned'; readonly required: boolean }
  | { readonly kind: 'ended' | 'asked' | 'answered' | 'completed' | 'due' }
  | { readonly kind: 'api'; readonly down: boolean };

/** A timer this late was delayed by a stop of our own process (of any length) or by a busy machine. */
const LATE_MS = 100;

export function stepSilence(
  before: PollSilence,
  event: SilenceEvent,
  atMs: number,
  deafAfterMs: number,
): PollSilence {
  const { silentMs: earlierMs, sinceMs } = before;
  const silentMs = earlierMs + (sinceMs === null ? 0 : Math.max(0, atMs - sinceMs));
  // The length of our own stop is unknown, and it is not the worker's silence, so the clock restarts. Events of sockets may come
  // before the overdue timer.
  const wasStopped = silentMs > deafAfterMs + LATE_MS;
  const next = change({ ...before, silentMs: wasStopped ? 0 : silentMs }, event);
  const runs = next.expected && next.alive && next.openPolls === 0 && !next.apiDown;
  return { ...next, sinceMs: runs ? atMs : null };
}

function change(it: PollSilence, event: SilenceEvent): PollSilence {
  switch (event.kind) {
    case 'spawned':
      return { ...it, alive: true, openPolls: 0, silentMs: 0, expected: it.expected || event.required };
    case 'ended':
      return { ...it, alive: false, openPolls: 0 };
    case 'asked':
      return { ...it, expected: true, openPolls: it.openPolls + 1 };
    case 'answered':
      return { ...it, openPolls: Math.max(0, it.openPolls - 1) };
    case 'completed':
      return { ...it, silentMs: 0 };
    case 'api':
      return { ...it, apiDown: event.down };
    case 'due':
      return it;
  }
}

/** When the worker will have been silent for `deafAfterMs`; null while the clock stands still. */
export function deafAtMs(it: PollSilence, deafAfterMs: number): number | null {
  return it.sinceMs === null ? null : it.sinceMs + deafAfterMs - it.silentMs;
}
