/** What every simulation writes down: its story, what happened how often, and what must not have happened. */

export interface Outcome {
  readonly seed: number;
  /** Empty: all held. */
  readonly violations: readonly string[];
  /** What happened, oldest first, with virtual times. */
  readonly log: readonly string[];
  readonly counts: { readonly [name: string]: number };
}

export type Story = ReturnType<typeof createStory>;

export function createStory(nowMs: () => number) {
  const violations: string[] = [];
  const log: string[] = [];
  const counts: { [name: string]: number } = {};
  return {
    violations,
    say: (text: string) => void log.push(`${String(Math.round(nowMs())).padStart(7)} ${text}`),
    count(name: string) {
      counts[name] = (counts[name] ?? 0) + 1;
    },
    fail: (text: string) => void violations.push(`${Math.round(nowMs())} ms: ${text}`),
    outcome: (seed: number): Outcome => ({ seed, violations, log, counts }),
  };
}
