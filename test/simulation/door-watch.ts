/** What the supervisor makes of the gateway's news (as src/gateway/events.ts does): rivals and deafness. */
import {
  deafAtMs,
  noSilence,
  type PollSilence,
  type SilenceEvent,
  stepSilence,
} from '../../src/gateway/deafness.ts';
import {
  atPeace,
  interrupted,
  kicked,
  looked,
  quietAtMs,
  type Rivalry,
  type RivalryPolicy,
  type RivalryStep,
  undisturbed,
} from '../../src/gateway/rivals.ts';
import type { Clock } from './clock.ts';
import type { WatchJudge } from './door-watch-judge.ts';

export type DoorWatch = ReturnType<typeof createWatch>;

interface WatchWorld {
  readonly clock: Clock;
  readonly policy: RivalryPolicy;
  readonly deafAfterMs: number;
  readonly judge: WatchJudge;
  /** The supervisor runs: its timers fire. */
  readonly awake: () => boolean;
  /** How long the present flight has been open; 0 where there is none. */
  readonly flightOpenMs: () => number;
  onDeaf(): void;
  log(text: string): void;
}

/** The server holds back a 409 for 3 s at most. */
const HELD_BACK_MS = 4_000;

export function createWatch(world: WatchWorld) {
  const { clock, policy, deafAfterMs, judge, awake, flightOpenMs, onDeaf, log } = world;
  let rivalry: Rivalry = atPeace;
  let pollSilence: PollSilence = noSilence;
  let cancelQuiet = () => {};
  let cancelDeaf = () => {};

  function follow([next, sayings]: RivalryStep): void {
    rivalry = next;
    for (const saying of sayings) {
      log(JSON.stringify(saying));
      judge.said(saying);
    }
    cancelQuiet();
    const dueMs = quietAtMs(rivalry);
    // One that is overdue waits until a poll has gone undisturbed.
    const inMs = dueMs === null ? 0 : dueMs - clock.now();
    if (dueMs !== null) cancelQuiet = clock.after(inMs > 0 ? inMs : HELD_BACK_MS, look);
  }

  function look(): void {
    if (!awake()) return;
    if (flightOpenMs() > HELD_BACK_MS) rivalry = undisturbed(rivalry, clock.now(), true);
    follow(looked(rivalry, clock.now(), policy));
  }

  function note(event: SilenceEvent): void {
    const nowMs = clock.now();
    pollSilence = stepSilence(pollSilence, event, nowMs, deafAfterMs);
    arm();
    const dueMs = deafAtMs(pollSilence, deafAfterMs);
    if (event.kind !== 'due' || dueMs === null || dueMs > nowMs) return;
    note({ kind: 'completed' });
    log('deaf: the worker is replaced');
    judge.deaf();
    onDeaf();
  }

  function reached(yes: boolean): void {
    if (yes) judge.answered();
    else judge.failed();
    note({ kind: 'api', down: !yes });
  }

  function arm(): void {
    cancelDeaf();
    const dueMs = deafAtMs(pollSilence, deafAfterMs);
    const inMs = Math.max(1, (dueMs ?? 0) - clock.now());
    if (dueMs !== null) cancelDeaf = clock.after(inMs, () => void (awake() && note({ kind: 'due' })));
  }

  return {
    get rivalry() {
      return rivalry;
    },
    asked: () => note({ kind: 'asked' }),
    answered: () => note({ kind: 'answered' }),
    completed() {
      judge.completed();
      note({ kind: 'completed' });
    },
    /** `answered`: not only waiting, which an API that hangs does as well. */
    accepted(answered: boolean) {
      rivalry = undisturbed(rivalry, clock.now(), answered);
      if (rivalry.overlap !== null) follow(looked(rivalry, clock.now(), policy));
      if (answered) reached(true);
    },
    conflict(livedMs: number) {
      judge.kicked();
      reached(true);
      follow(kicked(rivalry, clock.now(), livedMs, policy));
    },
    webhook: () => reached(true),
    outage() {
      rivalry = interrupted(rivalry);
      reached(false);
    },
    spawned: () => note({ kind: 'spawned', required: false }),
    ended: () => note({ kind: 'ended' }),
    /** The supervisor itself was stopped so long. */
    slept(ms: number) {
      const overdue = (deafAtMs(pollSilence, deafAfterMs) ?? Number.POSITIVE_INFINITY) < clock.now();
      const { sinceMs } = pollSilence;
      // A stop that ends before the time is over is not seen; the judge does not count it as silence.
      if (!overdue && sinceMs !== null) pollSilence = { ...pollSilence, sinceMs: sinceMs + ms };
      if (overdue) note({ kind: 'due' });
      else arm();
      follow([rivalry, []]);
      look();
    },
  };
}
