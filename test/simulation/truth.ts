/** What is true about the simulated machine, whatever the program under test may have seen of it. */
import type { Ending, Policy } from '../../src/supervisor/table.ts';
import type { Body, Life, Machine } from './machine.ts';
import { createRestarts } from './restarts.ts';
import type { Timing } from './sim.ts';

const NEVER_MS = Number.NEGATIVE_INFINITY;

export type Book = ReturnType<typeof openBook>;

/** What the judge keeps about one supervisor's dealings with strays, and about its end. */
export const openBook = (policy: Policy) => ({
  /** Lives that it has stopped, and when. */
  stopped: new Map<Life, number>(),
  /** Of these, only what they had left behind was stopped: who started them could not be seen any more. */
  remains: new Set<Life>(),
  /** Lives that a look of this supervisor showed as stoppable. */
  seen: new Set<Life>(),
  /** Processes that were shown as stoppable, or that a look could have proven. */
  shown: new Set<Body>(),
  /** Lives that may be stopped: since when there is proof. */
  guilty: new Map<Life, number>(),
  /** To which of our polls a process reacted as one that polls. */
  pokes: new Map<Body, Set<number>>(),
  /** Start ids of the processes whose details it knows. */
  inspected: new Set<string>(),
  /** Lives that it said it can't stop. */
  named: new Set<Life>(),
  /** Processes that have to be gone soon, or named: since when. */
  owed: new Map<Body, number>(),
  restarts: createRestarts(policy),
  /** Reasons to end that came from outside. */
  endings: [] as Ending[],
  lookMs: NEVER_MS,
  /** The leader of the last worker. */
  leaderPid: 0,
  spawnMs: 0,
  reactedMs: NEVER_MS,
  askedMs: NEVER_MS,
  convictedMs: NEVER_MS,
  stoppedMs: NEVER_MS,
  /** When a worker of this run polled for the first time. */
  polledMs: null as number | null,
  blinded: false,
  /** Start ids of the strays that it stopped last. */
  lastStop: new Set() as ReadonlySet<string>,
  /** The next worker is the first, since the start or in a term. */
  isFirst: true,
  sweepsFirst: true,
  /** The sweep that is under way has met leftovers of ours. */
  stoppedOwn: false,
  stops: 0,
  /** Number of the last stop, and in which one each life was met last. */
  stopNumber: 0,
  stoppedIn: new Map<Life, number>(),
  sweepBeganMs: 0,
  sweptMs: 0,
  spawns: 0,
  stopAskedMs: null as number | null,
  /** In a term of ours, as far as the lease goes. */
  leased: false,
  /** The term is lost: everything of the worker has to be gone soon after. */
  killByMs: null as number | null,
  secondAskMs: null as number | null,
  exitMs: null as number | null,
});

/** From a look to the first signal because of it. */
const LOOK_TO_STOP_MS = 200;
/** Comebacks count within a minute; the exit may come a while after the verdict. */
const COMEBACK_MS = 59_000;
const COMEBACK_EXIT_MS = 80_000;

/** The user has named it. */
export function isDeclared(body: Body): boolean {
  return /\/old_bot\d*\.py$/.test(body.argv[1] ?? '');
}

/** Its reactions say for certain that it polls: one where our token is seen with it, else two. */
export function isProven(body: Body, pokes: ReadonlySet<number> | undefined): boolean {
  const enough = body.env.holdsToken && body.otherBots.length === 0 ? 1 : 2;
  return pokes !== undefined && pokes.size >= enough;
}

/** Who gives way to a rival that can't be stopped. */
export function isNewcomer(timing: Timing, { polledMs }: Book, nowMs: number): boolean {
  const { onRival, incumbentAfterMs } = timing;
  if (onRival !== null) return onRival === 'yield';
  return polledMs === null || nowMs - polledMs < incumbentAfterMs;
}

/** The lives that a sentence names by their pids, as far as they may be stopped at all. */
export function namesGuilty(text: string, { guilty }: Book, machine: Machine): Life[] {
  const pids = (/pid ([\d, ]+)/.exec(text)?.[1] ?? '').split(/, ?/).map(Number);
  const lives = pids.flatMap(machine.livesOf);
  return lives.filter((life) => guilty.has(life) || life.kind === 'worker');
}

/** Nobody could have ended it. */
export function mayStay(body: Body): boolean {
  return body.killMs === null || body.denied;
}

/** A life that has to be left alone: the third of its program within a minute, or the second by the same parent. */
export function comesBack(life: Life, book: Book, nowMs: number, living: readonly Body[]): boolean {
  // What has survived was not ended.
  const alive = new Set(living.map((body) => body.life));
  let lives = 0;
  let endMs = Number.NEGATIVE_INFINITY;
  for (const [it, atMs] of book.stopped) {
    if (it.program !== life.program || book.remains.has(it) || alive.has(it)) continue;
    if (atMs >= life.bornMs || nowMs - atMs > COMEBACK_MS) continue;
    if (life.startedBy !== undefined && it.startedBy === life.startedBy) return true;
    // Copies that were stopped together are one life.
    if (it.bornMs <= endMs) continue;
    lives += 1;
    endMs = atMs;
  }
  return lives >= 2;
}

/** Some life may be said to have come back: one of its program, born after an earlier one was stopped. */
function someCameBack(book: Book, nowMs: number): boolean {
  for (const life of book.seen) {
    const earlier = [...book.stopped].filter(
      ([it, atMs]) =>
        it !== life &&
        it.program === life.program &&
        atMs - LOOK_TO_STOP_MS <= life.bornMs &&
        nowMs - atMs < COMEBACK_EXIT_MS,
    );
    if (earlier.length >= 2) return true;
    if (life.startedBy !== undefined && earlier.some(([it]) => it.startedBy === life.startedBy)) return true;
  }
  return false;
}

/** Why this exit is not right; null when it is. `left`: something of its worker still lives. */
export function wrongExit(
  { code, reason }: Ending,
  book: Book,
  machine: Machine,
  nowMs: number,
  left: boolean,
): string | null {
  const { ends } = book.restarts;
  if (code === 70) return 'a bug';
  if (/survived SIGKILL/.test(reason) || (code === 75 && left))
    return machine.saw.survivor || machine.saw.refusal ? null : 'nothing survived';
  if (book.endings.some((it) => it.code === code && it.reason === reason)) return null;
  if (ends?.code === code && /crash loop|the worker ended/.test(reason))
    return /crash loop/.test(reason) === (ends.reason === 'crash loop') ? null : 'wrong reason';
  if (code === 0) return book.stopAskedMs !== null ? null : 'nobody asked';
  if (code === 77) return machine.saw.refusal ? null : 'nothing was denied';
  if (code !== 75) return 'no such reason';
  if (/without a working ss/.test(reason)) return book.blinded ? null : 'everybody can be seen';
  if (/kept alive by/.test(reason))
    return [...book.seen].some((life) => life.managed && book.guilty.has(life))
      ? null
      : 'no manager keeps one alive';
  if (/comes back/.test(reason)) return someCameBack(book, nowMs) ? null : 'nothing came back';
  return 'no such reason';
}
