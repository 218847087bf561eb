/**
 * Deafness: a worker that lives and completes no poll. The clock runs only while the worker could poll and does not: not
 * while one of its polls is open, not while the Bot API is out of reach, and only where polls are to be expected. Pure.
 */

export interface Hearing {
  /** Polls through the gateway are to be expected: the worker has polled in this run, or was told that it must. */
  readonly expected: boolean;
  readonly alive: boolean;
  readonly openPolls: number;
  readonly apiDown: boolean;
  /** Silence before `sinceMs`. */
  readonly silentMs: number;
  /** The clock runs since; null: it stands still. */
  readonly sinceMs: number | null;
}

export const unheard: Hearing = {
  expected: false,
  alive: false,
  openPolls: 0,
  apiDown: false,
  silentMs: 0,
  sinceMs: null,
};

export type Heard =
  | { readonly kind: 'spawned'; readonly required: boolean }
  | { readonly kind: 'ended' }
  | { readonly kind: 'asked' }
  | { readonly kind: 'answered' }
  /** A poll of the worker has succeeded. */
  | { readonly kind: 'completed' }
  | { readonly kind: 'api'; readonly down: boolean };

export function hear(before: Hearing, heard: Heard, atMs: number): Hearing {
  const silentMs = silence(before, atMs);
  const next = change({ ...before, silentMs }, heard);
  const runs = next.expected && next.alive && next.openPolls === 0 && !next.apiDown;
  return { ...next, sinceMs: runs ? atMs : null };
}

function change(it: Hearing, heard: Heard): Hearing {
  switch (heard.kind) {
    case 'spawned':
      return { ...it, alive: true, openPolls: 0, silentMs: 0, expected: it.expected || heard.required };
    case 'ended':
      return { ...it, alive: false, openPolls: 0 };
    case 'asked':
      return { ...it, expected: true, openPolls: it.openPolls + 1 };
    case 'answered':
      return { ...it, openPolls: Math.max(0, it.openPolls - 1) };
    case 'completed':
      return { ...it, silentMs: 0 };
    case 'api':
      return { ...it, apiDown: heard.down };
  }
}

/** For how long the worker has completed no poll although it could have. */
export function silence({ silentMs, sinceMs }: Hearing, atMs: number): number {
  return silentMs + (sinceMs === null ? 0 : Math.max(0, atMs - sinceMs));
}

/** When the worker will have been silent for `deafAfterMs`; null while the clock stands still. */
export function deafAtMs(it: Hearing, deafAfterMs: number): number | null {
  return it.sinceMs === null ? null : it.sinceMs + deafAfterMs - it.silentMs;
}

/** We were stopped ourselves for a while (SIGSTOP): that time is nobody's silence. */
export function slept(it: Hearing, ms: number): Hearing {
  return it.sinceMs === null ? it : { ...it, sinceMs: it.sinceMs + ms };
}
