/**
 * Decides whether the Bot API is out of reach. The end of every call is reported here: polls and calls of the worker through
 * the gateway, looks at the webhook, its own questions. Any answer ends an outage. It never decides about the worker.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import type { Ending } from '../supervisor/table.ts';
import { shared, spread } from '../turns.ts';
import type { BotApi, Reply } from './bot-api.ts';

export type ApiReach = ReturnType<typeof createApiReach>;

interface ApiReachOptions {
  readonly api: BotApi;
  readonly report: Report;
  /** Receives the problem to show; null: it is over. */
  readonly onProblem: (problem: string | null) => void;
  /** The consequence for the worker, to be shown with an outage. */
  readonly consequence: string;
  /** An outage has begun (true) or is over (false). */
  readonly onChange: (out: boolean) => void;
}

/** Only an API that fails this long is reported as out of reach. */
const SAID_AFTER_MS = 5_000;
/** In an outage each poll fails within this time. After so long without a failure nobody polls, or a poll hangs: then we ask. */
const SILENT_MS = 7_000;
const ASK_TIMEOUT_MS = 4_000;
/** Longest pause between two questions: so long after the end of an outage the next worker may be started. */
const BACK_WAIT_MAX_MS = 3_000;

export function createApiReach({ api, report, onProblem, consequence, onChange }: ApiReachOptions) {
  let downSinceMs: number | null = null;
  let lastProblem = '';
  let isSaid = false;
  let timer: NodeJS.Timeout | undefined;
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
    timer = setTimeout(askNow, isNew ? SAID_AFTER_MS : SILENT_MS).unref();
    if (isNew) onChange(true);
  }

  function say(what: string): void {
    const problem = `the Bot API is out of reach: ${lastProblem}`;
    if (!isSaid) report.line('api', `${problem}; ${what}`, 'warn');
    isSaid = true;
    onProblem(problem);
  }

  /** True: the API answers. */
  const ask = shared(async () => {
    const reply = await api.call('getMe', {}, { timeoutMs: ASK_TIMEOUT_MS, signal: over.signal });
    if (reply.kind === 'outage') failed(reply.description);
    else answered();
    return reply.kind !== 'outage';
  });

  function askNow(): void {
    if (downSinceMs !== null && !over.signal.aborted) void ask();
  }

  return {
    answered,
    failed,
    /** The last call that ended has not reached the Bot API. */
    inDoubt: () => downSinceMs !== null,
    /** Asks until the API answers; true if it did not at first. Rejects when the signal aborts. */
    async whenBack(abandoned: AbortSignal): Promise<boolean> {
      for (let attempt = 0; ; attempt++) {
        const isBack = await ask();
        abandoned.throwIfAborted();
        if (isBack) return attempt > 0;
        say('the next worker is started once it answers');
        await pause(Math.min(backoffMs(attempt), BACK_WAIT_MAX_MS), abandoned);
      }
    },
    /** Asks now whether the outage is over, since the poll that waits may never be answered. */
    askNow,
    stop(): void {
      over.abort();
      clearTimeout(timer);
    },
  };
}

const RETRY_FOR_MS = 30_000;

type Asked = Pick<Config, 'apiRoot' | 'tokenSource'>;

/** Repeats the question for 30 s during outages and floods; any other error ends this at once. */
export async function retrying<T>(
  what: string,
  ask: () => Promise<Reply<T>>,
  config: Asked,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<T> {
  const { apiRoot } = config;
  const giveUpAtMs = performance.now() + RETRY_FOR_MS;
  for (let attempt = 0; ; attempt++) {
    const reply = await ask();
    signal.throwIfAborted();
    if (reply.kind === 'ok') return reply.result;
    if (reply.kind === 'refused') {
      const { code, reason, hint } = tokenRefused(config, reply);
      throw new SinglepollError(code, reason, hint);
    }
    if (reply.kind === 'error')
      throw new SinglepollError(
        EXIT.unreachable,
        `${what} was turned down by ${apiRoot}: ${reply.description}`,
        'set TELEGRAM_API_ROOT, or --api-root, to the server that the bot lives on',
      );
    const leftMs = giveUpAtMs - performance.now();
    if (leftMs <= 0)
      throw new SinglepollError(
        EXIT.unreachable,
        `the Bot API at ${apiRoot} stayed out of reach for ${duration(RETRY_FOR_MS)}: ${reply.description}`,
        `curl -sS -o /dev/null -w '%{http_code}\\n' ${apiRoot}/`,
      );
    if (attempt === 0) say(`${what}: ${reply.description}; trying again for ${duration(RETRY_FOR_MS)}`);
    const asksMs = reply.kind === 'flood' ? reply.retryAfterMs : 0;
    await pause(Math.min(Math.max(asksMs, backoffMs(attempt)), leftMs), signal);
  }
}

export function tokenRefused(
  { apiRoot, tokenSource }: Asked,
  { status, description }: { readonly status: number; readonly description: string },
): Ending {
  const reason = `${apiRoot} refuses the token from ${tokenSource ?? 'unknown'}: ${status} ${description}`;
  const hint =
    'copy the token again from @BotFather (/mybots), or set TELEGRAM_API_ROOT if the bot lives on a server of your own';
  return { code: EXIT.refused, reason, hint };
}

function backoffMs(attempt: number): number {
  return spread(Math.min(5_000, 500 * 2 ** attempt), Math.random());
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}
