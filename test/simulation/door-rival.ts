/** A poller elsewhere: polls as long as it is there, waits after a 409 as its library does, and handles what it gets. */
import type { Clock } from './clock.ts';
import type { Telegram } from './door-telegram.ts';
import type { Random } from './random.ts';

export function startRival(
  { clock, random, telegram }: { clock: Clock; random: Random; telegram: Telegram },
  forMs: number,
  on: { handled(id: number): void; ended(): void },
): void {
  const endMs = clock.now() + forMs;
  const timeoutMs = random.pick([0, 10, 30, 50]) * 1_000;
  const waitMs = random.pick([0, 250, 1_000, 5_000, 20_000]);
  let offset = 0;

  function poll(): void {
    if (clock.now() >= endMs) return;
    telegram.receive({
      from: 'a rival',
      offset,
      timeoutMs,
      answer(reply) {
        if (clock.now() >= endMs) return;
        if (reply.kind !== 'updates') return void clock.after(Math.max(10, waitMs), poll);
        for (const id of reply.ids) {
          on.handled(id);
          offset = id + 1;
        }
        clock.after(random.int(1, 100), poll);
      },
    });
  }

  poll();
  clock.after(forMs, on.ended);
}
