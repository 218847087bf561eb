/**
 * Tells a stray that comes back from one that is merely late. Pure. Something that starts a stopped stray again is not
 * fought: killing every life of it would lose messages for ever and prove nothing.
 */

/** One life of a program, however many processes it had. */
export interface StoppedStray {
  /** What makes two processes the same program: command line and folder. */
  readonly key: string;
  /** Who had started it; several where several copies were stopped together. */
  readonly ppids: readonly number[];
  readonly atMs: number;
  /** Identities of its processes that were stopped. */
  readonly processes: ReadonlySet<string>;
  /** Identities of those seen at the same time: copies of it that were there already did not come back. */
  readonly beside: ReadonlySet<string>;
}

/** A stray seen again after this long is a new event, not a comeback. */
export const COMEBACK_WINDOW_MS = 60_000;
/** Lives of one program that are ended within the window before it counts as coming back. */
const LIVES_MAX = 2;

/**
 * True when a stray like this was stopped so recently that something must be starting it: at once when the same living
 * parent did it twice, else at the third life within a minute.
 */
export function comesBack(
  stray: { readonly key: string; readonly ppid: number; readonly identity: string; readonly top: string },
  stopped: readonly StoppedStray[],
  nowMs: number,
): boolean {
  const lives = stopped.filter(
    (it) =>
      it.key === stray.key &&
      nowMs - it.atMs < COMEBACK_WINDOW_MS &&
      !it.beside.has(stray.identity) &&
      !it.beside.has(stray.top),
  );
  return lives.length >= LIVES_MAX || (stray.ppid > 1 && lives.some((it) => it.ppids.includes(stray.ppid)));
}
