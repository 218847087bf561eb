/** Judges what is said of rivals and of deafness against what is so: keeps its own books of kicks, answers and silence. */
import type { Rivalry, RivalryPolicy, RivalrySaying } from '../../src/gateway/rivals.ts';
import type { Clock } from './clock.ts';
import type { Story } from './story.ts';

export type WatchJudge = ReturnType<typeof createWatchJudge>;

/** Shorter quiet may be the pause of a rival that is slow. */
const QUIET_MIN_MS = 10_000;
/** The longest quiet that is waited for, and some more. */
const QUIET_MAX_MS = 92_000;
const LATE_MS = 2_000;
/** One that comes back within this time is the same. */
const SAME_WITHIN_MS = 45_000;

export function createWatchJudge(world: {
  readonly clock: Clock;
  readonly story: Story;
  readonly policy: RivalryPolicy;
  readonly deafAfterMs: number;
  readonly workerLives: () => boolean;
}) {
  const { clock, policy, deafAfterMs } = world;
  const { fail, count } = world.story;
  const kicks: number[] = [];
  /** Of kicks without a quiet between them. */
  let chainSinceMs = 0;
  /** Of the overlap that is told of. */
  let firstKick = 0;
  let rivals = 0;
  let lastRivalMs = Number.NEGATIVE_INFINITY;
  let saidRival = false;
  /** Another poller is said to be there. */
  let saidOpen = false;
  let failing = false;
  let hasPolled = false;
  let completedMs = Number.NEGATIVE_INFINITY;
  let silentSinceMs: number | null = null;
  /** Silence since the last poll that was completed, with pauses. */
  let silentMs = 0;
  let lookedMs = 0;

  function counted({ kicks: told, lastedMs }: { readonly kicks: number; readonly lastedMs: number }): void {
    const own = kicks.slice(firstKick);
    if (told !== own.length || lastedMs !== own.at(-1)! - own[0]!)
      fail(`${told} kicks in ${lastedMs} ms are told, and it were ${own.length}`);
  }

  return {
    kicked() {
      const nowMs = clock.now();
      const last = kicks.at(-1) ?? Number.NEGATIVE_INFINITY;
      if (nowMs - last >= QUIET_MIN_MS) chainSinceMs = nowMs;
      kicks.push(nowMs);
    },
    /** The API has answered a poll, or has failed to. */
    answered() {
      failing = false;
    },
    failed() {
      failing = true;
    },
    completed() {
      completedMs = clock.now();
      silentMs = 0;
    },
    rivals(now: number) {
      rivals = now;
      lastRivalMs = clock.now();
    },
    /** The supervisor goes on after a stop: what it hears now is old. */
    woken() {
      lastRivalMs = clock.now();
    },
    said(saying: RivalrySaying) {
      const nowMs = clock.now();
      count(saying.what);
      switch (saying.what) {
        case 'overlap':
          if (saidOpen && saying.again) fail('another poller is said to be back, and was not gone');
          saidOpen = true;
          if (saying.again !== kicks.at(-1)! - (kicks.at(-2) ?? Number.NEGATIVE_INFINITY) <= SAME_WITHIN_MS)
            fail(`another poller is said to be ${saying.again ? 'back' : 'new'}, and is not`);
          if (saying.again) return;
          saidRival = false;
          firstKick = kicks.length - 1;
          return;
        case 'overlap-over':
          counted(saying);
          saidOpen = false;
          if (nowMs - kicks.at(-1)! < QUIET_MIN_MS)
            fail(`gone is said ${nowMs - kicks.at(-1)!} ms after a kick`);
          return;
        case 'rival': {
          saidRival = true;
          counted(saying);
          if (saying.rhythm?.everyMs !== saying.lastedMs / (saying.kicks - 1))
            fail('a rival has a wrong rhythm');
          if (kicks[0]! > nowMs - policy.rivalAfterMs) fail('a rival is said too early');
          // Its last 409 may have been held, and have been on its way.
          if (rivals === 0 && nowMs - lastRivalMs > 10_000) fail('a rival is said where none is');
          const yields = policy.onRival === 'yield' || (policy.onRival === null && !saying.incumbent);
          if (saying.yields !== yields) fail(`yields: ${saying.yields} against ${policy.onRival}`);
        }
      }
    },
    deaf() {
      count('deaf');
      const nowMs = clock.now();
      if (!world.workerLives()) fail('a dead worker is called deaf');
      if (silentSinceMs === null) fail('a worker is called deaf though its clock had to stand still');
      if (nowMs - completedMs < deafAfterMs)
        fail(`a worker is called deaf ${nowMs - completedMs} ms after it has completed a poll`);
      if (silentMs + clock.now() - lookedMs < deafAfterMs)
        fail(`a worker is called deaf after ${silentMs} ms of silence`);
      silentSinceMs = null;
      silentMs = 0;
    },
    /** After every event of the world. */
    always(rivalry: Rivalry, openPolls: number, asleep: boolean) {
      const nowMs = clock.now();
      hasPolled ||= openPolls > 0;
      if (silentSinceMs !== null) silentMs += nowMs - lookedMs;
      if (!world.workerLives()) silentMs = 0;
      lookedMs = nowMs;
      const silent = hasPolled && world.workerLives() && openPolls === 0 && !failing && !asleep;
      silentSinceMs = silent ? (silentSinceMs ?? nowMs) : null;
      if (silentSinceMs !== null && nowMs - silentSinceMs > deafAfterMs + LATE_MS)
        fail(`a worker silent for ${nowMs - silentSinceMs} ms is not called deaf`);
      const open = rivalry.overlap !== null && !rivalry.overlap.over;
      if (open !== saidOpen) fail('another poller has come or gone, and that is not said');
      const last = kicks.at(-1);
      if (last === undefined || asleep) return;
      if (last === nowMs && !saidRival && nowMs - chainSinceMs > policy.rivalAfterMs)
        fail(`kicked for ${nowMs - chainSinceMs} ms, and no rival is said`);
      if (open && rivalry.polledSinceKick && nowMs - last > QUIET_MAX_MS)
        fail('the other poller has been gone for long, and that is not said');
    },
  };
}
