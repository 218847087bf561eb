/** What a simulated supervisor is to the world around it, and the world to it. */

import type { Loop } from '../../src/supervisor/loop.ts';
import type { Ending, Policy } from '../../src/supervisor/table.ts';
import type { Checker } from './check.ts';
import type { Clock } from './clock.ts';
import type { Body, Ended, Machine } from './machine.ts';
import type { Random } from './random.ts';

export interface WorkerPlan {
  /** 126 or 127: it can't be started. */
  readonly failsWith: number | null;
  /** From its start to its end by itself; null: it stays. */
  readonly livesMs: number | null;
  readonly ended: Ended;
  readonly conflict: boolean;
  /** It ends while the Bot API is in doubt: so long it is out of reach; 0: it is not. Null: nobody doubts it. */
  readonly outMs: number | null;
  /** From its start to its first poll; null: its polls can't be seen. */
  readonly pollsAfterMs: number | null;
  /** From its end to the moment in which the supervisor hears of it. */
  readonly heardMs: number;
  /** How long its last words are waited for when it has ended by itself. */
  readonly wordsMs: number;
  /** How it and its children take signals, what else it starts. */
  furnish(leader: Body): void;
  readonly termMs: number | null;
  readonly killMs: number | null;
}

export interface Timing {
  readonly policy: Policy;
  readonly stopTimeoutMs: number;
  readonly onRival: 'yield' | 'insist' | null;
  /** Who has polled for so long is an incumbent. */
  readonly incumbentAfterMs: number;
}

export interface SupervisorWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly machine: Machine;
  readonly check: Checker;
  readonly shellPid: number;
  readonly timing: Timing;
  /** 1, 2, 3 … */
  nextRun(): number;
  planWorker(): WorkerPlan;
  /** A generator of its own, so that worlds without a lease stay as they are. */
  readonly leaseRandom: Random;
  readonly healed: () => boolean;
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
