/** What a simulated supervisor is to the world around it, and the world to it. */

import type { Loop } from '../../src/supervisor/loop.ts';
import type { Ending, Policy } from '../../src/supervisor/table.ts';
import type { Checker } from './check.ts';
import type { Surround } from './lives.ts';
import type { Body } from './machine.ts';
import type { Random } from './random.ts';
import type { planWorker } from './world.ts';

export interface Timing {
  readonly policy: Policy;
  readonly stopTimeoutMs: number;
  readonly onRival: 'yield' | 'insist' | null;
  /** Who has polled for so long is an incumbent. */
  readonly incumbentAfterMs: number;
}

export interface SupervisorWorld extends Surround {
  readonly check: Checker;
  readonly timing: Timing;
  /** 1, 2, 3 … */
  nextRun(): number;
  planWorker(): ReturnType<typeof planWorker>;
  /** A generator of its own, so that worlds without a lease stay as they are. */
  readonly leaseRandom: Random;
  /** What the webhook's first look answers. */
  firstWebhook(): { readonly tookMs: number; readonly ending: Ending | null };
  /** The lock is free again. */
  onGone(sim: Sim): void;
  /** The lock is free for a newcomer, which may come or not. */
  onHandedOver(): void;
  /** Who has the lock. */
  holder(): Sim | null;
  onTakenBack(sim: Sim): void;
  /** After every step of the table, and when a worker has ended. */
  stepped(sim: Sim): void;
  log(text: string): void;
}

export interface Sim {
  readonly run: string;
  readonly loop: Loop;
  /** Its process exists: it holds the lock. */
  readonly there: boolean;
  worker(): Body | null;
  mayPoll(): boolean;
  /** By a signal, or over the control channel. */
  stop(by: 'signal' | 'control'): void;
  restart(): void;
  /** A newcomer asks for the lock. */
  handOver(): void;
  /** Trouble with the lease; nothing where there is none. */
  unlease(): void;
  block(ending: Ending): void;
  /** SIGKILL. */
  die(): void;
}
