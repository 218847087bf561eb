/**
 * Somebody who asks without waiting, and what else makes ids missing: updates that expire in the queue, dropped ones, a server that
 * numbers anew. A random of its own, so that the other schedules stay as they are.
 */
import type { Clock, planner } from './clock.ts';
import type { SimGateway } from './door-gateway.ts';
import type { Telegram } from './door-telegram.ts';
import type { TheftJudge } from './door-theft-judge.ts';
import { createRandom, type Random } from './random.ts';

interface Deeds {
  begins(): void;
  steals(id: number): void;
  ends(): void;
}

const LIVES_MS = 30_000;

export function createThieves(seed: number, world: World) {
  const { clock, telegram, thefts, log } = world;
  const random = createRandom(seed ^ 0x5eed);
  const some = random.chance(0.4);
  const may = (probability: number) => some && random.chance(probability);
  const expires = may(0.6) ? random.pick([0.2, 0.9]) : 0;
  const filters = may(0.3);
  const skips = may(0.2);
  const drops = may(0.2);
  const restarts = may(0.2);

  return {
    /** How long the next update lives; undefined: longer than this world. */
    lifeMs: (): number | undefined => (random.chance(expires) ? LIVES_MS : undefined),
    /** `allowed_updates` keeps it out, before it is given a number. */
    filtered: (): boolean => filters && random.chance(0.4),
    firstOffset: (): number => (skips && random.chance(0.5) ? -random.int(1, 3) : 0),
    start(plan: ReturnType<typeof planner>, gateway: SimGateway, on: Deeds) {
      plan(some && !random.chance(0.2), random.pick([5_000, 15_000]), () => {
        log('a thief');
        startThief(world, random, on);
      });
      plan(drops, 20_000, () => {
        log('the worker drops what waits');
        gateway.dropped();
        clock.after(1, telegram.drop);
        clock.after(2, gateway.dropped);
      });
      plan(restarts, 30_000, () => {
        const away = random.int(200_000, 100_000_000);
        const nextId = (telegram.queue.at(-1) ?? FIRST_ID) + (random.chance(0.5) ? away : -away);
        log(`the server is started again, and numbers from ${nextId}`);
        thefts.disturbed();
        telegram.restart(nextId);
      });
    },
  };
}

export const FIRST_ID = 500_000_000;

interface World {
  readonly clock: Clock;
  readonly telegram: Telegram;
  readonly thefts: TheftJudge;
  log(text: string): void;
}

/** One call with an offset, or some of a consumer that is slower than the server's 3 s. */
function startThief({ clock, telegram }: World, random: Random, on: Deeds): void {
  const everyMs = random.pick([200, 3_200, 5_000]);
  let left = everyMs < 3_000 ? 2 : random.int(2, 8);
  let offset = 0;

  function call(): void {
    if (left-- === 0) {
      on.ends();
      return;
    }
    telegram.receive({
      from: 'a thief',
      offset,
      timeoutMs: 0,
      answer(reply) {
        for (const id of reply.kind === 'updates' ? reply.ids : []) {
          on.steals(id);
          offset = id + 1;
        }
        clock.after(everyMs, call);
      },
    });
  }

  on.begins();
  call();
}
