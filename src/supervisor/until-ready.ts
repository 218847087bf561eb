/** The start of a detached run as who started it sees it: ready, or what went wrong and the code for that. */
import { constants } from 'node:os';
import type { Config } from '../config/load.ts';
import { EXIT } from '../errors.ts';
import type { Report, RunOutput } from '../output/report.ts';
import { duration, leaseWords } from '../output/words.ts';
import type { Running } from './run.ts';
import type { StatusRecord } from './status.ts';
import type { Status } from './status-document.ts';
import type { Ending, State } from './table.ts';

/** Who waits wants to know soon: one that cannot start ends at once, some 7 s in all with the usual --backoff. */
const EXITS_MAX = 5;
/** What the lease engine says of others comes outside of the table. */
const LEASE_LOOK_MS = 50;

interface Parts {
  /** Who waits for it. */
  readonly link: { readonly isReady: boolean; ready(text: string): void };
  readonly running: Running;
  readonly config: Config;
  readonly status: Status;
  readonly report: Report;
  readonly output: RunOutput;
}

export interface UntilReady {
  /** The run has ended: an unready one shows what its worker said last. */
  end(): void;
  /** What `start` ends with. */
  code(ending: Ending): number;
}

/** Watches from now on. */
export function untilReady({ link, running, config, status, report, output }: Parts): UntilReady {
  const { loop } = running;
  let timer: NodeJS.Timeout | null = null;
  let late = false;
  /** How the worker had ended before, where it had. */
  let last: State['lastExit'] = null;

  function look(): void {
    if (link.isReady) return;
    const { phase, pid, headed, failures } = loop.state;
    if (headed?.to === 'exit') return;
    const standby = phase === 'standby' ? reasonToStandBy(status) : null;
    if (phase === 'standby' && standby === null) {
      setTimeout(look, LEASE_LOOK_MS).unref();
      return;
    }
    if (phase === 'standby' || phase === 'polling') {
      if (timer !== null) clearTimeout(timer);
      const what =
        phase === 'standby'
          ? `stands by (${standby})`
          : config.polling
            ? 'polls'
            : 'runs; nobody polls, as asked (POLLING_ENABLED!=1)';
      const log = output.logFacts();
      const worker = phase === 'polling' ? `, worker ${pid}` : '';
      link.ready(
        `${name(status.record)} ${what}: supervisor ${process.pid}${worker}${log ? `; log ${log.path}` : ''}`,
      );
      output.leaveStarter();
    } else if (phase === 'backoff' && failures + 1 >= EXITS_MAX)
      giveUp(`the worker has ended ${failures + 1} times in a row without a poll`);
    else if (pid !== null)
      timer ??= setTimeout(
        giveUp,
        config.startTimeoutMs,
        `the worker has not polled within ${duration(config.startTimeoutMs)} (--start-timeout)`,
      );
  }

  function giveUp(why: string): void {
    if (late) return;
    late = true;
    last = loop.state.lastExit;
    report.line('start', `${why}; everything is stopped again`, 'error');
    loop.send({ kind: 'ask-stop', reason: 'not started in time' });
  }

  running.onStep(look);
  look();
  return {
    end() {
      if (timer !== null) clearTimeout(timer);
      // What has been printed already is not said again.
      if (!link.isReady && loop.state.spawn > 0 && !output.showsWorker) running.sayLastLines(report);
    },
    code(ending) {
      if (!late) return ending.code;
      const signal = last?.signal as keyof typeof constants.signals | undefined;
      const code = signal ? 128 + constants.signals[signal] : (last?.code ?? 0);
      return code === 0 ? EXIT.unreachable : code;
    },
  };
}

/** Null: nobody else is known to have the lease, so it may be ours soon. */
function reasonToStandBy({ sources }: Status): string | null {
  const lease = sources.lease?.status();
  if (!lease || lease.mine || (lease.holder === null && lease.unreachable === null)) return null;
  return leaseWords(lease, Date.now());
}

/** Before the lock is ours. */
export function standsBy(botId: number | null): string {
  return `bot ${botId} stands by until the present supervisor leaves: pid ${process.pid}; kill ${process.pid} ends it`;
}

function name({ bot }: StatusRecord): string {
  if (!bot) return 'the worker';
  return bot.username ? `@${bot.username} (${bot.id})` : `bot ${bot.id}`;
}
