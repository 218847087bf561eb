/**
 * What is looked at while the worker runs: strays at its start and at a 409, the webhook, signs of polling, the heartbeat.
 */
import type { WorkerTree } from '../machine/worker-tree.ts';
import type { Report } from '../output/report.ts';
import { duration, leaseWords, PAST_WITH_LEASE, RIVAL_ELSEWHERE } from '../output/words.ts';
import type { Facts } from './facts.ts';
import type { Running } from './run.ts';
import type { Sweeper } from './sweep.ts';
import type { WebhookWatch } from './webhook-watch.ts';

export interface WatchOptions {
  readonly running: Running;
  readonly report: Report;
  readonly facts: Facts;
  readonly tree: WorkerTree;
  readonly sweeper: Sweeper;
  readonly webhook: WebhookWatch;
  readonly heartbeatMs: number;
  /** Polls are seen there, so a connection to the API root is a sign only that the worker passes it by. */
  readonly gateway: boolean;
}

/** What an earlier worker left behind and has moved to a session of its own is looked for beside the next one. */
const MOVED_AWAY_LOOK_MS = 100;
/** A worker in a fight names a 409 every few seconds; looking at each is enough. */
const CONFLICT_LOOK_EVERY_MS = 2_000;
const NOBODY_HERE_AFTER_MS = 1_500;
/** A 409 may be the echo of a stray that was stopped this short a time ago (the server holds one for 3 s). */
const STOPPED_LATELY_MS = 5_000;
/** What was stopped comes back within seconds, if it does. */
const COMEBACK_LOOKS_MS = [250, 500, 1_000, 2_000];
const WEBHOOK_EVERY_MS = 60_000;
/** Uptimes of a worker at which its connections are looked at, until one to the Bot API is seen. */
const SIGN_OF_POLLING_MS = [1_000, 1_500, 2_500, 4_000];
const PAST_THE_GATEWAY_MS = [2_000, 4_000, 8_000, 15_000, 30_000, 60_000];

/** Starts watching; returns the way to stop it. */
export function watch(options: WatchOptions): () => void {
  const { running, report, facts } = options;
  const timers = new Set<NodeJS.Timeout>();
  let stopped = false;
  let seenSpawn = 0;

  function later(ms: number, act: () => void): void {
    if (stopped) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
  }

  const alive = () => ['starting', 'polling'].includes(running.loop.state.phase);

  function lookForStrays(): void {
    if (stopped || !alive()) return;
    options.sweeper
      .beside()
      .then((blocked) => {
        if (blocked && alive()) running.loop.send({ kind: 'blocked', ending: blocked });
      })
      .catch((error: unknown) =>
        report.line('stray', `the look for strays failed: ${String(error)}`, 'error'),
      );
  }

  let conflictLookAtMs = Number.NEGATIVE_INFINITY;
  running.onConflict((named) => {
    if (performance.now() - conflictLookAtMs < CONFLICT_LOOK_EVERY_MS) return;
    conflictLookAtMs = performance.now();
    lookForStrays();
    // Said beside the worker's own line, not into the middle of it.
    if (named) later(NOBODY_HERE_AFTER_MS, sayNobodyHere);
  });

  /** The search that a 409 has started found nobody: the one thing that can't be cured from here. */
  function sayNobodyHere(): void {
    const guilty = facts.strays.some(
      ({ grade }) => grade === 'own' || grade === 'proven' || grade === 'declared',
    );
    if (guilty || performance.now() - strayStoppedAtMs() < STOPPED_LATELY_MS) return;
    if (!facts.rivalElsewhere) report.line('conflict', RIVAL_ELSEWHERE, 'error');
    facts.rivalElsewhere = true;
  }

  const strayStoppedAtMs = () => options.sweeper.lastStopAtMs();

  function webhook(): void {
    if (alive()) void options.webhook.again();
    later(WEBHOOK_EVERY_MS, webhook);
  }

  function heartbeat(): void {
    const { state } = running.loop;
    const lease = facts.lease();
    if (state.phase === 'standby' && lease)
      report.line('hb', `standing by: ${leaseWords(lease, Date.now())}`, 'info', { lease });
    if (alive() && state.pid !== null) {
      const since = facts.workerStartedAt === null ? 0 : Date.now() - Date.parse(facts.workerStartedAt);
      const offset = facts.offset === null ? 'unknown' : String(facts.offset);
      report.line(
        'hb',
        `alive offset=${offset} worker=${state.pid} up=${duration(since).replaceAll(' ', '')}`,
        'info',
        {
          offset: facts.offset,
          worker: state.pid,
          polls: facts.polls,
          updates: facts.updates,
          restarts: state.restarts,
          conflicts: facts.conflicts,
        },
      );
    }
    later(options.heartbeatMs, heartbeat);
  }

  function sayPast(): void {
    if (facts.via === 'direct') return;
    facts.via = 'direct';
    report.line(
      'gateway',
      `the worker polls past the gateway: it does not use TELEGRAM_API_ROOT as its API root, so its polls are neither seen nor kept apart${facts.lease() ? `; ${PAST_WITH_LEASE}` : ''} (one line in the bot; the README shows it for each library)`,
      'warn',
    );
  }

  /** A connection to the Bot API is the only sign of polling that can be seen from outside in direct mode. */
  function signOfPolling(spawn: number, step: number): void {
    const times = options.gateway ? PAST_THE_GATEWAY_MS : SIGN_OF_POLLING_MS;
    const at = times[step];
    if (at === undefined) return;
    later(at - (times[step - 1] ?? 0), () => {
      const { state } = running.loop;
      if (state.spawn !== spawn || state.phase !== 'starting') return;
      options.tree.connected(state.pid).then(
        (yes) => {
          if (!yes || running.loop.state.spawn !== spawn) return signOfPolling(spawn, step + 1);
          if (options.gateway) sayPast();
          running.loop.send({ kind: 'polled' });
        },
        () => {},
      );
    });
  }

  running.onStep(() => {
    const { state } = running.loop;
    if (state.phase !== 'starting' || state.pid === null || state.spawn === seenSpawn) return;
    seenSpawn = state.spawn;
    signOfPolling(state.spawn, 0);
    for (const ms of state.spawn === 1 ? COMEBACK_LOOKS_MS : [MOVED_AWAY_LOOK_MS]) later(ms, lookForStrays);
  });
  later(WEBHOOK_EVERY_MS, webhook);
  later(options.heartbeatMs, heartbeat);
  return () => {
    stopped = true;
    for (const timer of timers) clearTimeout(timer);
  };
}
