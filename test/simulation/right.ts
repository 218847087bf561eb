/** The right to poll as a simulated supervisor has it: won after a while, in doubt, lost with a deadline, asked for, given back. */
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

interface SimRightOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** No trouble any more: it is won soon. */
  readonly healed: () => boolean;
  readonly graceMs: number;
  onWon(): void;
  /** `killByMs` null: asked for, and still ours. */
  onUnleased(reason: string, killByMs: number | null): void;
  onKill(): void;
  onReleased(): void;
  log(text: string): void;
}

export function createSimRight(options: SimRightOptions) {
  const { clock, random, log } = options;
  let term = 0;
  let searches = 0;
  let held = false;
  let doubtUntilMs = 0;
  let ended = false;
  const valid = () => held && clock.now() >= doubtUntilMs;

  async function settle(): Promise<void> {
    const mine = term;
    while (held && term === mine && !valid())
      await new Promise<void>((resolve) => {
        clock.after(20, () => {
          clock.stir();
          resolve();
        });
      });
  }

  return {
    seek(won: () => void) {
      searches += 1;
      const mine = searches;
      clock.after(options.healed() ? 300 : random.pick([0, 0, 10, 700, 4_000]), () => {
        if (ended || mine !== searches) return;
        term += 1;
        held = true;
        log(`  the lease is won (term ${term})`);
        options.onWon();
        won();
      });
    },
    /** Where it was only sought, that ends. */
    release() {
      searches += 1;
      held = false;
      log('  the lease is given back');
      options.onReleased();
    },
    valid,
    /** Null where there is nothing to wait for. */
    settled: (): Promise<void> | null => (held && !valid() ? settle() : null),
    /** Some trouble with the term; nothing without one. */
    trouble() {
      if (!held || ended) return;
      const what = random.pick(['lost', 'lost', 'taken', 'asked', 'doubt'] as const);
      log(`* the lease: ${what}`);
      if (what === 'doubt') {
        doubtUntilMs = clock.now() + random.pick([20, 300, 1_200]);
        return;
      }
      const mine = term;
      if (what === 'asked') return options.onUnleased('asked for', null);
      held = false;
      const killByMs = clock.now() + (what === 'taken' ? 0 : options.graceMs);
      options.onUnleased(what, killByMs);
      clock.after(killByMs - clock.now(), () => {
        if (term === mine && !ended) options.onKill();
      });
    },
    end() {
      ended = true;
      held = false;
    },
  };
}
