/** What every simulation writes down: its story, what happened how often, and what must not have happened. */

export interface Outcome {
  readonly seed: number;
  /** Empty: all held. */
  readonly violations: readonly string[];
  /** What happened, oldest first, with virtual times. */
  readonly log: readonly string[];
  readonly counts: { readonly [name: string]: number };
  readonly virtualMs: number;
}

export interface Story {
  readonly violations: string[];
  readonly log: string[];
  readonly counts: { [name: string]: number };
  say(text: string): void;
  count(name: string, by?: number): void;
  fail(text: string): void;
  outcome(seed: number): Outcome;
}

export function createStory(nowMs: () => number): Story {
  const violations: string[] = [];
  const log: string[] = [];
  const counts: { [name: string]: number } = {};
  return {
    violations,
    log,
    counts,
    say: (text) => void log.push(`${String(Math.round(nowMs())).padStart(7)} ${text}`),
    count(name, by = 1) {
      counts[name] = (counts[name] ?? 0) + by;
    },
    fail: (text) => void violations.push(`${Math.round(nowMs())} ms: ${text}`),
    outcome: (seed) => ({ seed, violations, log, counts, virtualMs: nowMs() }),
  };
}
