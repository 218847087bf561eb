/**
 * The one owner of "the Bot API is out of reach". Every call that ends tells it how: polls and calls of the worker through the
 * gateway, looks at the webhook, questions of its own. Any answer ends an outage. It never decides about the worker.
 */
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import type { BotApi } from './bot-api.ts';
import { pause } from './retry.ts';

export interface ApiReach {
  /** The Bot API has answered, whatever it said. */
  answered(): void;
  /** A call has not reached it. */
  failed(problem: string): void;
  /** The last call that ended has not reached it. */
  inDoubt(): boolean;
  /** Asks until it answers; true when it did not at first. Rejects when the signal aborts. */
  whenBack(abandoned: AbortSignal): Promise<boolean>;
  /** Asks now whether the outage is over, since a poll that waits may be open in vain. */
  askNow(): void;
  stop(): void;
}

export interface ApiReachOptions {
  readonly api: BotApi;
  readonly report: Report;
  /** What is to be shown as a problem; null: it is over. */
  readonly onProblem: (problem: string | null) => void;
  /** The consequence for the worker, told with an outage. */
  readonly consequence: string;
  /** An outage has begun (true), or is over. */
  readonly onChange: (out: boolean) => void;
}

/** Only an API that fails this long is reported as out of reach. */
const SAID_AFTER_MS = 5_000;
/** Polls fail more often than this during an outage. Without a failure for so long, nobody polls, or a poll is open: ask. */
const SILENT_MS = 7_000;
const ASK_TIMEOUT_MS = 4_000;
/** Between two questions of a start that waits. The longest bounds how late the bot is back. */
const WAIT_MIN_MS = 500;
const WAIT_MAX_MS = 3_000;

export function createApiReach({ api, report, onProblem, consequence, onChange }: ApiReachOptions): ApiReach {
  let downSinceMs: number | null = null;
  let lastProblem = '';
  let isSaid = false;
  let timer: NodeJS.Timeout | undefined;
  let asking: Promise<boolean> | null = null;
  const over = new AbortController();

  function answered(): void {
    if (downSinceMs === null) return;
    const outMs = performance.now() - downSinceMs;
    downSinceMs = null;
    clearTimeout(timer);
    if (isSaid) {
      isSaid = false;
      onProblem(null);
      report.line('api', `the Bot API answers again, after ${duration(outMs)}`, 'good');
    }
    onChange(false);
  }

  function failed(problem: string): void {
    if (over.signal.aborted) return;
    const nowMs = performance.now();
    const isNew = downSinceMs === null;
    downSinceMs ??= nowMs;
    lastProblem = problem;
    if (nowMs - downSinceMs >= SAID_AFTER_MS) say(consequence);
    clearTimeout(timer);
    timer = setTimeout(askNow, isNew ? SAID_AFTER_MS : SILENT_MS);
    timer.unref();
    if (isNew) onChange(true);
  }

  function say(what: string): void {
    const problem = `the Bot API is out of reach: ${lastProblem}`;
    if (!isSaid) report.line('api', `${problem}; ${what}`, 'warn');
    isSaid = true;
    onProblem(problem);
  }

  /** True: it answers. One question at a time; the answer is everybody's. */
  function ask(): Promise<boolean> {
    asking ??= api
      .call('getMe', {}, { timeoutMs: ASK_TIMEOUT_MS, signal: over.signal })
      .then((reply) => {
        if (reply.kind === 'outage') failed(reply.description);
        else answered();
        return reply.kind !== 'outage';
      })
      .finally(() => {
        asking = null;
      });
    return asking;
  }

  function askNow(): void {
    if (downSinceMs !== null && !over.signal.aborted) void ask();
  }

  return {
    answered,
    failed,
    inDoubt: () => downSinceMs !== null,
    async whenBack(abandoned) {
      for (let attempt = 0; ; attempt++) {
        const isBack = await ask();
        abandoned.throwIfAborted();
        if (isBack) return attempt > 0;
        say('the next worker is started once it answers');
        const waitMs = Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** attempt) * (0.8 + 0.2 * Math.random());
        await pause(waitMs, abandoned);
      }
    },
    askNow,
    stop() {
      over.abort();
      clearTimeout(timer);
    },
  };
}
