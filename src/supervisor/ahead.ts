/**
 * What is done ahead of each spawn: what the worker needs is made, and whoever is in the way is stopped. Answers at once where nothing
 * is, since after a crash the next worker waits for it.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { EXIT } from '../errors.ts';
import type { GatewayWatch } from '../gateway/events.ts';
import type { Gateway } from '../gateway/server.ts';
import type { Intercept } from '../intercept/intercept.ts';
import type { Lease } from '../lease/lease.ts';
import type { Prover } from '../strays/prover.ts';
import type { ApiReach } from '../telegram/reach.ts';
import type { Sweeper } from './sweep.ts';
import type { Ending } from './table.ts';
import type { NextWorker } from './worker.ts';
import type { WorkerStopOptions, WorkerTree } from './worker-tree.ts';

const WEBHOOK_PATIENCE_MS = 3_000;
/** How often we look whether another poller of this machine is still there; nobody is asked for that. */
const LOOK_EVERY_MS = 5_000;
/** A poller elsewhere can be noticed only by polling, which disturbs it: so rarely. */
const RIVAL_PAUSE_MS = 5 * 60_000;

export interface WebhookWatch {
  /** Retried on outages, verified. The reason to end, or null. `mayDrop`: waiting updates, where that was asked for. */
  first(mayDrop: boolean, abandoned: AbortSignal): Promise<Ending | null>;
  /** A look while running; never two at once. `hurry`: sooner than 2 s after the last one, too. */
  again(abandoned: AbortSignal, hurry?: boolean): Promise<void>;
}

/** What keeps others from polling. */
export interface Guarding {
  readonly sweeper: Sweeper;
  readonly prover: Prover;
  readonly webhook: WebhookWatch;
}

export interface GivenGateway {
  readonly port: Gateway;
  readonly watch: GatewayWatch;
  /** The worker's: the real one, or where it is sealed one of no other use. */
  readonly token: () => string;
  /** Null: only a worker that uses the gateway's address comes to it. */
  readonly intercept: Intercept | null;
}

/** The parts of a run that speak to its loop. */
export interface Parts {
  /** Null: the worker gets the API root itself. */
  readonly gateway: GivenGateway | null;
  /** Null: no other machine shares this bot. */
  readonly lease: Lease | null;
  /** Null in deploy mode: no stray is touched, no webhook looked at. */
  readonly guarding: Guarding | null;
  /** Null in deploy mode, where the Bot API is not asked. */
  readonly reach: ApiReach | null;
}

/** The run owns these, and these steps use them. */
interface Own {
  readonly gatewayPort: number | null;
  readonly nextWorker: NextWorker;
  readonly tree: WorkerTree;
  readonly stopOptions: () => WorkerStopOptions;
  /** There was no worker yet, nor anybody who was waited for. */
  readonly isFirst: () => boolean;
  /** The last worker ended because of a webhook. */
  readonly wasWebhook: () => boolean;
  readonly broken: (error: unknown) => void;
}

export type Ahead = ReturnType<typeof createAhead>;

export function createAhead({ gateway, lease, guarding }: Parts, own: Own) {
  const { nextWorker, tree, isFirst } = own;
  let sweeping: Promise<void> | null = null;

  /** What the worker after the present one needs. */
  function prepareNext(): void {
    gateway?.port.prepare().catch(() => {});
    void nextWorker.prepare();
  }

  /** What the first worker needs; it can't do without the gateway. As a standby it is made ahead. */
  async function prepare(): Promise<Ending | null> {
    try {
      await Promise.all([gateway?.port.prepare(), nextWorker.prepare()]);
      return null;
    } catch (error) {
      return noGatewayEnding(error as NodeJS.ErrnoException, own.gatewayPort);
    }
  }

  async function firstSweep(abandoned: AbortSignal): Promise<Ending | null> {
    // Nobody can hold a poll while a webhook is set, so both are looked at at once.
    const peek = guarding?.sweeper.peek(abandoned);
    // An error shows when the result is awaited.
    peek?.catch(() => {});
    const noGateway = await prepare();
    if (noGateway || !guarding) return noGateway;
    // Only where nobody can have polled since the start: what has come in while another machine left is to be answered.
    const mayDrop = isFirst() && (lease?.wasFree() ?? true);
    const blocked = await guarding.webhook.first(mayDrop, abandoned);
    if (blocked) return blocked;
    const { ending, disturbed } = await guarding.sweeper.first(abandoned, peek);
    // Some libraries set their webhook when they lose the poll.
    return ending ?? (disturbed ? await guarding.webhook.first(false, abandoned) : null);
  }

  /** Answers at once, if it can: the next spawn waits for it. */
  function laterSweep(abandoned: AbortSignal): Ending | null | Promise<Ending | null> {
    if (!guarding) return tree.list(null).length === 0 ? null : stopRest();
    const { webhook, sweeper } = guarding;
    // Beside the spawn, not before it, for speed; but where a webhook ended the worker, the next would only follow it.
    const look = () => webhook.again(abandoned, true);
    const cleared = own.wasWebhook() ? Promise.race([look(), pause(WEBHOOK_PATIENCE_MS)]) : null;
    if (!cleared) setImmediate(look);
    const opened = gateway && !gateway.port.ready() ? gateway.port.prepare().catch(() => {}) : null;
    const swept =
      opened || cleared
        ? Promise.all([opened, cleared]).then(() => sweeper.quick(abandoned))
        : sweeper.quick(abandoned);
    return swept instanceof Promise ? swept.then(stopLost) : stopLost(swept);
  }

  /** A child of the last worker without a trace of this run is no stray to a sweep. */
  function stopLost(blocked: Ending | null): Ending | null | Promise<Ending | null> {
    // The sweep may have ended what was left, and then the number of its group can become a stranger's.
    tree.checkLeft();
    return blocked || tree.offspring.list().length === 0 ? blocked : stopRest();
  }

  const stopRest = () => tree.stop(null, own.stopOptions()).then(() => null);

  /** Resolves when this other poller may be gone. One that is known is seen without asking who polls. */
  async function outlast(rival: Ending, abandoned: AbortSignal): Promise<void> {
    let pauseMs = guarding?.sweeper.hasSaid(rival.reason) ? LOOK_EVERY_MS : RIVAL_PAUSE_MS;
    do {
      await pause(pauseMs, undefined, { signal: abandoned }).catch(() => {});
      pauseMs = LOOK_EVERY_MS;
    } while (!abandoned.aborted && (await guarding?.sweeper.isBlocked(abandoned)));
  }

  /** One at a time, also where a term ended during the last one. */
  function sweep(first: boolean, abandoned: AbortSignal, done: (blocked: Ending | null) => void): void {
    const begin = () => (first ? firstSweep(abandoned) : laterSweep(abandoned));
    const answer = sweeping ? sweeping.then(begin) : begin();
    if (!(answer instanceof Promise) && !lease?.settled()) return void done(answer);
    const mine = Promise.resolve(answer)
      .then((swept) => settle(swept, abandoned))
      .then((blocked) => {
        if (sweeping === mine) sweeping = null;
        done(blocked);
      })
      .catch(own.broken);
    sweeping = mine;
  }

  /** Answers only once polling is allowed, after a fresh look, or lost for good. */
  async function settle(swept: Ending | null, abandoned: AbortSignal): Promise<Ending | null> {
    let blocked = swept;
    for (let doubt = lease?.settled(); doubt && !blocked && !abandoned.aborted; doubt = lease?.settled()) {
      await doubt;
      blocked = await (guarding?.sweeper.quick(abandoned) ?? null);
    }
    return blocked;
  }

  return { prepare, prepareNext, outlast, sweep };
}

function noGatewayEnding({ code, message }: NodeJS.ErrnoException, port: number | null): Ending {
  const taken = code === 'EADDRINUSE' ? 'another program has it' : (code ?? message);
  return {
    code: EXIT.config,
    reason:
      port === null
        ? `the gateway can't be opened on 127.0.0.1: ${taken}`
        : `the gateway can't be opened at port ${port} of 127.0.0.1: ${taken}`,
    ...(port === null
      ? {}
      : { hint: 'singlepoll start --gateway-port PORT …    # another one, or none: any that is free' }),
  };
}
