/**
 * What is looked at while the worker runs: late strays, the webhook, signs of polling, the heartbeat. All of it cheap: the
 * look for strays is spaced so that it takes less than a thousandth of one core however many processes there are.
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

const STRAYS_MIN_MS = 5_000;
const STRAYS_MAX_MS = 60_000;
/** Share of one core that looking for strays may take: 1/4000. */
const STRAYS_COST_FACTOR = 4_000;
/** A worker in a fight names a 409 every few seconds; looking at each is enough. */
const CONFLICT_LOOK_EVERY_MS = 2_000;
const NOBODY_HERE_AFTER_MS = 1_500;
/** A 409 may be the echo of a stray that was stopped this short a time ago (the server holds one for 3 s). */
const STOPPED_LATELY_MS = 5_000;
/** What was stopped comes back within seconds, if it does. */
const COMEBACK_LOOKS_MS = [250, 500, 1_000, 2_000];
const WEBHOOK_EVERY_MS = 60_000;
/** Uptimes of a worker at which it is looked at whether it waits for an answer of the Bot API, until it does. */
const SIGN_OF_POLLING_MS = [
  3_200, 4_000, 5_000, 6_500, 8_000, 10_000, 13_000, 17_000, 22_000, 30_000, 45_000, 60_000,
];
/** From then on, where its polls can't be seen otherwise. */
const SIGN_OF_POLLING_EVERY_MS = 15_000;

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

  /** Returns what the look itself cost, in milliseconds of processor time; what was stopped then goes on beside it. */
  function lookForStrays(): number {
    if (stopped || !alive()) return 0;
    const before = process.cpuUsage();
    const answer = options.sweeper.quick(running.loop.abandoned);
    const { user, system } = process.cpuUsage(before);
    Promise.resolve(answer)
      .then((blocked) => {
        if (blocked && alive()) running.loop.send({ kind: 'blocked', ending: blocked });
      })
      .catch((error: unknown) =>
        report.line('stray', `the look for strays failed: ${String(error)}`, 'error'),
      );
    return (user + system) / 1_000;
  }

  function strays(): void {
    const costMs = lookForStrays();
    later(Math.min(STRAYS_MAX_MS, Math.max(STRAYS_MIN_MS, costMs * STRAYS_COST_FACTOR)), strays);
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
    if (alive()) void options.webhook.again(running.loop.abandoned);
    later(WEBHOOK_EVERY_MS, webhook);
  }

  function heartbeat(): void {
    const { state } = running.loop;
    const lease = facts.lease();
    if (state.phase === 'standby' && lease)
      report.line('hb', `standing by: ${leaseWords(lease, Date.now())}`, 'info', { lease });
    if (alive() && state.pid !== null) {
      const since = facts.workerStartedAtMs === null ? 0 : performance.now() - facts.workerStartedAtMs;
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

  /**
   * Past the gateway a poll can be seen from outside only: a request that waits for its answer. Where the system does not
   * tell (no ss of iproute2), a connection to the API root that is there at two looks has to do.
   */
  function signOfPolling(spawn: number, step: number, wasConnected = false): void {
    const at = SIGN_OF_POLLING_MS[step];
    if (at === undefined && options.gateway) return;
    const waitMs = at === undefined ? SIGN_OF_POLLING_EVERY_MS : at - (SIGN_OF_POLLING_MS[step - 1] ?? 0);
    later(waitMs, () => void lookForSign(spawn, step, wasConnected));
  }

  async function lookForSign(spawn: number, step: number, wasConnected: boolean): Promise<void> {
    const isPresent = () => running.loop.state.spawn === spawn && running.loop.state.phase === 'starting';
    if (!isPresent()) return;
    const { pid } = running.loop.state;
    const holds = await options.tree.holdsRequest(pid).catch(() => false);
    const isConnected = holds === null && (await options.tree.connected(pid).catch(() => false));
    if (stopped || !isPresent()) return;
    if (!holds && !(isConnected && wasConnected)) return signOfPolling(spawn, step + 1, isConnected);
    if (options.gateway) sayPast();
    running.loop.send({ kind: 'polled' });
  }

  running.onStep(() => {
    const { state } = running.loop;
    if (state.phase !== 'starting' || state.pid === null || state.spawn === seenSpawn) return;
    seenSpawn = state.spawn;
    signOfPolling(state.spawn, 0);
    if (state.spawn === 1) {
      for (const ms of COMEBACK_LOOKS_MS) later(ms, () => void lookForStrays());
    }
  });
  later(STRAYS_MIN_MS, strays);
  later(WEBHOOK_EVERY_MS, webhook);
  later(options.heartbeatMs, heartbeat);
  return () => {
    stopped = true;
    for (const timer of timers) clearTimeout(timer);
  };
}
