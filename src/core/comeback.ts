/**
 * Tells a stray that comes back from one that is merely late. Pure. Something that starts a stopped stray again is not
 * fought: killing every life of it would lose messages for ever and prove nothing.
 */

export interface StoppedStray {
  /** What makes two processes the same program: command line and folder. */
  readonly key: string;
  readonly ppid: number;
  readonly atMs: number;
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
  stray: Pick<StoppedStray, 'key' | 'ppid'>,
  stopped: readonly StoppedStray[],
  nowMs: number,
): boolean {
  const lives = stopped.filter((it) => it.key === stray.key && nowMs - it.atMs < COMEBACK_WINDOW_MS);
  return lives.length >= LIVES_MAX || lives.some((it) => it.ppid === stray.ppid && stray.ppid > 1);
}
