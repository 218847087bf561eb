/**
 * `who --probe`: holds getUpdates for a while to learn whether somebody polls from elsewhere. Refuses where a worker of ours
 * polls, and where another probe runs, since two would take each other for a rival. Changes nothing at Telegram.
 */
import type { Config } from '../config/config.ts';
import { formatDuration, parseDuration } from '../config/duration.ts';
import type { Verdict } from '../core/probe.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { claimLock, lockKey } from '../machine/lock.ts';
import { painter } from '../output/paint.ts';
import { probeNotice, probeWords } from '../output/probe-words.ts';
import { createReport } from '../output/report.ts';
import { presentSupervisor } from '../supervise/present.ts';
import { openBotApi } from '../telegram/api.ts';
import { runProbe } from '../telegram/probe.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import { VERSION } from '../version.ts';

const DEFAULT_MS = 10_000;
const SHORTEST_MS = 1_000;
const LONGEST_MS = 10 * 60_000;

/** `probe` of `who --json`. */
export interface ProbeEntry {
  /** What was asked for. */
  readonly seconds: number;
  readonly result: Verdict['result'];
  /** Why it cannot tell. */
  readonly reason: Verdict['reason'];
  /** From the beginning to the first sign of a rival. */
  readonly afterSeconds: number | null;
  /** Between two takings of the poll. */
  readonly rhythmSeconds: number | null;
  /** From a conflict to its next poll. */
  readonly retrySeconds: number | null;
  /** The longest time that the poll was held undisturbed. */
  readonly quietSeconds: number;
  readonly message: string;
}

export interface Probed {
  readonly entry: ProbeEntry;
  readonly hints: readonly string[];
  /** The signal that ended it early. */
  readonly interruptedBy: 'SIGINT' | 'SIGTERM' | null;
}

/** The value of `--probe`, in milliseconds; null where it was not given. Throws 64. */
export function probeTime(value: unknown): number | null {
  if (value === undefined || value === false) return null;
  if (value === true) return DEFAULT_MS;
  const text = String(value);
  const time = parseDuration(text);
  const problem = !time.ok
    ? time.problem
    : time.value < SHORTEST_MS
      ? 'it is shorter than a second'
      : time.value > LONGEST_MS
        ? `it is longer than ${formatDuration(LONGEST_MS)}`
        : null;
  if (time.ok && problem === null) return time.value;
  throw new SinglepollError(
    EXIT.usage,
    `--probe=${text.slice(0, 40)}: ${problem}; accepted: a time from 1s to 10m (a number alone is seconds)`,
    'singlepoll who --probe=40',
  );
}

/** Throws 75 where a worker of this bot may poll on this machine: a probe would take the poll from it. */
export async function refuseBesideWorker(config: Config): Promise<void> {
  const holder = await presentSupervisor(config);
  if (!holder) return;
  throw new SinglepollError(
    EXIT.otherPoller,
    `no probe: a supervisor of this bot (pid ${holder.pid ?? 'unknown'}) runs here, and a probe would take the poll from its own worker`,
    'singlepoll status    # it tells of conflicts with others; to probe all the same, first: singlepoll stop',
  );
}

/** `suspects`: pids found on this machine that may be what the probe meets. Throws 75 where another probe of this bot runs. */
export async function probe(config: Config, askedMs: number, suspects: readonly number[]): Promise<Probed> {
  const token = config.token as string;
  const report = createReport('text', [token], await painter(process.stderr, process.env));
  // A lock beside that of `start`, which a probe must not hold.
  const claim = await claimLock(lockKey(String(config.botId), token, 'probe'), {
    startedAt: new Date().toISOString(),
    cwd: config.cwd,
    version: VERSION,
    control: null,
  });
  if (!claim.held) {
    throw new SinglepollError(
      EXIT.otherPoller,
      `another probe of this bot runs${claim.holder?.pid ? ` (pid ${claim.holder.pid})` : ''}: two would take each other for a rival`,
      'singlepoll who --probe    # again, when it has ended',
    );
  }
  const api = openBotApi(config.apiRoot, token);
  const interrupt = interruption();
  try {
    const verdict = await runProbe(askedMs, {
      api,
      signal: interrupt.signal,
      supervisor: async () => (await presentSupervisor(config))?.pid ?? null,
      beforeFirstPoll: () => report.line('probe', probeNotice(config.botId, askedMs)),
    });
    const { message, hints } = probeWords(verdict, askedMs, suspects, (url) => maskWebhookUrl(url, token));
    return { entry: toEntry(verdict, askedMs, message), hints, interruptedBy: interrupt.by() };
  } finally {
    interrupt.restore();
    api.close();
    claim.lock.release();
  }
}

function toEntry(verdict: Verdict, askedMs: number, message: string): ProbeEntry {
  const seconds = (ms: number | null) => (ms === null ? null : Math.round(ms / 100) / 10);
  return {
    seconds: askedMs / 1000,
    result: verdict.result,
    reason: verdict.reason,
    afterSeconds: seconds(verdict.afterMs),
    rhythmSeconds: seconds(verdict.rhythmMs),
    retrySeconds: seconds(verdict.retryMs),
    quietSeconds: seconds(verdict.quietMs) as number,
    message,
  };
}

/** The first SIGINT or SIGTERM ends the probe with an answer, the second one ends the program. */
function interruption() {
  const controller = new AbortController();
  let by: 'SIGINT' | 'SIGTERM' | null = null;
  const listeners = (['SIGINT', 'SIGTERM'] as const).map((name) => {
    const listener = () => {
      by = name;
      controller.abort();
      restore();
    };
    process.on(name, listener);
    return { name, listener };
  });
  function restore(): void {
    for (const { name, listener } of listeners) process.off(name, listener);
  }
  return { signal: controller.signal, by: () => by, restore };
}
