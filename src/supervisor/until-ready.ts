/**
 * Tells whoever waits for a run (its starter, or the one that has handed over to it) that it is ready, or what went wrong, with the code for
 * that; and the person at the terminal what the run itself waits for.
 */
import { EXIT } from '../errors.ts';
import { botName } from '../output/status-rows.ts';
import { duration, leaseWords, span } from '../output/words.ts';
import type { Link } from '../service/link.ts';
import type { StatusRecord } from './record.ts';
import type { Run } from './run.ts';
import type { StatusSources } from './status-document.ts';
import { type Ending, type State, workerCode } from './table.ts';

/** A worker that cannot start ends at once: so many exits take some 7 s with the usual --backoff. */
const EXITS_MAX = 5;
/** How long until a standby looks at the lease again: news of other machines changes no state of the loop, so no event tells of it. */
const LEASE_LOOK_MS = 50;
/** Before this nobody wonders why the worker has not polled. */
const SLOW_MS = 3_000;

/** `link`: to who started it. Watches from now on. */
export function untilReady(run: Run, link: Link | null) {
  const { loop, config, status, output, standbys } = run;
  /** True also where nobody waits for it. */
  let isReady = standbys.length === 0 && (link?.isReady ?? true);
  let [timer, leaseTimer]: (NodeJS.Timeout | undefined)[] = [];
  const late = `the worker has not polled within ${duration(config.startTimeoutMs)} (--start-timeout)`;
  /** How the worker had ended when it was given up; undefined: it was not. */
  let lateExit: State['lastExit'] | undefined;

  function look(): void {
    const { phase, pid, headed, failures } = loop.state;
    if (isReady || headed?.to === 'exit') return;
    // The time limit runs as soon as a worker does; after a hand-over at once, as nobody polls while the old supervisors stand by.
    if (pid !== null || standbys.length > 0) timer ??= setTimeout(giveUp, config.startTimeoutMs, late);
    if (status.runState() === 'standby') standBy();
    else if (phase === 'polling')
      ready(
        config.polling ? 'polls' : 'runs; nobody polls, as asked (POLLING_ENABLED!=1)',
        `, worker ${pid}`,
      );
    else if (phase === 'backoff' && failures + 1 >= EXITS_MAX)
      giveUp(`the worker has ended ${failures + 1} times in a row without a poll`);
  }

  function standBy(): void {
    const { obstacle } = loop.state;
    const lease = status.sources.lease?.status();
    // Where nobody else is known to have it, it may be ours soon.
    const isOthers = lease && !lease.mine && (lease.holder !== null || lease.unreachable !== null);
    if (obstacle !== null) ready(`stands by, as ${obstacle.reason}`, '');
    else if (isOthers) ready(`stands by (${leaseWords(lease, Date.now())})`, '');
    else {
      clearTimeout(leaseTimer);
      leaseTimer = setTimeout(look, LEASE_LOOK_MS).unref();
    }
  }

  function ready(what: string, worker: string): void {
    clearTimeout(timer);
    const log = output.logFacts();
    const where = log ? `; log ${log.path}` : '';
    isReady = true;
    const name = status.record.bot ? botName(status.record) : 'the worker';
    link?.ready(`${name} ${what}: supervisor ${process.pid}${worker}${where}`);
    output.leaveStarter();
  }

  function giveUp(why: string): void {
    if (lateExit !== undefined) return;
    lateExit = loop.state.lastExit;
    const others = standbys.map(({ pid }) => `; pid ${pid} goes on`).join('');
    loop.send({ kind: 'ask-stop', reason: `${why}${others}` });
  }

  run.status.onNote(look);
  look();
  return {
    /** The run has ended: an unready one shows what its worker said last. */
    end(): void {
      clearTimeout(timer);
      // What has been printed already is not said again.
      if (!isReady && loop.state.spawn > 0 && !output.showsWorker) run.sayLastLines();
    },
    /** What `start` ends with. */
    code(ending: Ending): number {
      if (lateExit === undefined) return ending.code;
      return (lateExit && workerCode(lateExit)) || EXIT.unreachable;
    },
  };
}

/** What a run says that stands by before the lock is ours. */
export function standsBy(botId: number | null): string {
  return `bot ${botId} stands by until the present supervisor leaves: pid ${process.pid}; kill ${process.pid} ends it`;
}

/** What a run waits for at present, for the last line of a terminal; null: nothing. `nowMs` monotonic, `unixMs` the wall clock. */
export function waitWords(
  { state, stepMs, polls, pausedUntilMs, apiProblem }: StatusRecord,
  sources: StatusSources,
  stopTimeoutMs: number,
  nowMs: number,
  unixMs: number,
): string | null {
  const lease = sources.lease?.status();
  const { phase, next, delayMs, pid, obstacle, spawn } = state;
  const sinceMs = nowMs - stepMs;
  const soFar = `for ${span(sinceMs)} so far`;
  if (phase === 'standby' && obstacle !== null) return `standing by until the other poller is gone, ${soFar}`;
  if (phase === 'standby')
    return lease
      ? `standing by: ${leaseWords(lease, unixMs)}`
      : `standing by until ${spawn === 0 ? 'that supervisor ends' : 'the worker of the new supervisor polls'}, ${soFar}`;
  if (phase === 'backoff')
    return next === 'probe'
      ? `waiting until the Bot API answers, ${soFar}`
      : `the next worker is started in ${span(Math.max(0, delayMs - sinceMs))}`;
  if (phase === 'stopping') {
    const leftMs = stopTimeoutMs - sinceMs;
    return leftMs > 0
      ? `waiting for the worker to end; SIGKILL in ${span(leftMs)}`
      : `waiting for the worker to be gone, ${soFar}`;
  }
  if (pausedUntilMs > nowMs)
    return `the Bot API asked for a pause (429), ${span(pausedUntilMs - nowMs)} left`;
  if (phase === 'starting' && polls && pid !== null && sinceMs > SLOW_MS)
    return apiProblem ?? `waiting for the worker's first poll, ${soFar}`;
  return null;
}
