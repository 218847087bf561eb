/** Judges what is said of rivals and of deafness against what is so. */
import type { Hearing } from '../../src/core/hearing.ts';
import { quietAtMs, type Rivalry, type RivalryPolicy, type RivalrySaying } from '../../src/core/rivalry.ts';
import type { Clock } from './clock.ts';
import type { Weather } from './door-gateway.ts';
import type { DoorJudge } from './door-judge.ts';
import type { DoorWatch } from './door-watch.ts';

export interface WatchJudge {
  kicked(livedMs: number): void;
  rivalBegins(): void;
  rivalEnds(): void;
  said(saying: RivalrySaying, after: Rivalry): void;
  deaf(hearing: Hearing): void;
  slept(ms: number): void;
  always(watch: DoorWatch, asleep: boolean): void;
}

export function createWatchJudge(_: {
  readonly clock: Clock;
  readonly judge: DoorJudge;
  readonly policy: RivalryPolicy;
  readonly deafAfterMs: number;
  readonly weather: () => Weather;
  readonly workerLives: () => boolean;
}): WatchJudge {
  void quietAtMs;
  return {
    kicked() {},
    rivalBegins() {},
    rivalEnds() {},
    said() {},
    deaf() {},
    slept() {},
    always() {},
  };
}
