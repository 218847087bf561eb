/**
 * `who --probe`: holds getUpdates for a while to learn whether somebody polls, and who of this machine it is. Beside a supervisor
 * that one renews its own poll instead; with a lease nobody is asked. Refuses where another probe runs, since two would take
 * each other for a rival. Changes nothing at Telegram.
 */
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { claimLock, type Holder, lockKey } from '../lock/lock.ts';
import { probeNotice, probeWords } from '../output/probe-words.ts';
import { createReport } from '../output/report.ts';
import type { Sink } from '../output/sink.ts';
import { whileWaiting } from '../output/wait-line.ts';
import { leaseWords, painter, span } from '../output/words.ts';
import type { Prover } from '../strays/prover.ts';
import { askControl } from '../supervisor/control.ts';
import { presentSupervisor } from '../supervisor/holder.ts';
import type { LeaseEntry } from '../supervisor/status.ts';
import { unseenWords } from '../supervisor/sweep.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import { runProbe, type Verdict } from '../telegram/probe.ts';
import { VERSION } from '../version.ts';
import { timeOf } from './context.ts';

const DEFAULT_MS = 10_000;
/** For a poll to go out and its time to react. */
const RENEWED_MS = 12_000;

export interface Probed {
  readonly entry: ReturnType<typeof entryOf>;
  readonly hints: readonly string[];
  /** The signal that ended it early. */
  readonly interruptedBy: 'SIGINT' | 'SIGTERM' | null;
}

/** `probe` of `who --json`: what was asked for, and what was seen. */
function entryOf(askedMs: number, message: string, result: Verdict['result'], seen?: Verdict) {
  const seconds = (ms: number | null = null) => (ms === null ? null : Math.round(ms / 100) / 10);
  return {
    seconds: askedMs / 1000,
    result,
    /** Why it cannot tell. */
    reason: seen?.reason ?? null,
    /** From the beginning to the first sign of a rival. */
    afterSeconds: seconds(seen?.afterMs),
    /** Between two takings of the poll. */
    rhythmSeconds: seconds(seen?.rhythmMs),
    /** From a conflict to its next poll. */
    retrySeconds: seconds(seen?.retryMs),
    /** The longest time that the poll was held undisturbed. */
    quietSeconds: seconds(seen?.quietMs ?? 0),
    message,
  };
}

/** The value of `--probe`, in milliseconds. Throws 64. */
export function probeTime(value: unknown): number {
  return value === true
    ? DEFAULT_MS
    : timeOf('--probe', value, [1_000, 600_000], 'singlepoll who --probe=40');
}

/** Throws 75 where another probe of this bot runs, or a worker that nobody may take the poll from. */
export async function probe(
  config: Config,
  askedMs: number,
  api: BotApi,
  prover: Prover,
  lease: LeaseEntry | null,
): Promise<Probed> {
  if (lease?.holder) return answered(askedMs, `the lease tells who polls: ${leaseWords(lease, Date.now())}`);
  const holder = await presentSupervisor(config);
  if (!holder)
    return await whileWaiting(
      (sinceMs) => `probing: the poll is held for another ${span(Math.max(0, askedMs - sinceMs))}`,
      async (stderr) => await ask(config, askedMs, api, prover, stderr),
    );
  return await whileWaiting(
    (sinceMs) =>
      `waiting for the supervisor to renew its poll, at most another ${span(Math.max(0, RENEWED_MS - sinceMs))}`,
    async () => await askSupervisor(config, askedMs, holder),
  );
}

/** Beside a supervisor: it renews its own poll, which disturbs nobody but a rival, and sees who loses it. */
async function askSupervisor({ botId }: Config, askedMs: number, holder: Holder): Promise<Probed> {
  const control = holder.answers ? holder.control : null;
  const answer = control ? await askControl(control, { cmd: 'probe' }, { timeoutMs: RENEWED_MS }) : null;
  if (!answer?.ok)
    throw new SinglepollError(
      EXIT.otherPoller,
      `no probe: a supervisor of bot ${botId} (pid ${holder.pid ?? 'unknown'}) runs here: ${answer?.error ?? 'it does not answer'}`,
      'singlepoll status    # it tells of conflicts with others; to probe all the same, first: singlepoll stop',
    );
  const text = String(answer.text ?? '');
  if (text !== '') return answered(askedMs, text, text.startsWith('the lease') ? 'none' : 'rival');
  const nobody = 'nobody on this machine reacted when the supervisor renewed its poll';
  return typeof answer.elsewhere === 'string'
    ? answered(askedMs, `${nobody}; ${answer.elsewhere}`, 'rival')
    : answered(askedMs, `${nobody}, and it holds the poll`);
}

/** Without a poll of our own. */
function answered(askedMs: number, message: string, result: Verdict['result'] = 'none'): Probed {
  return { entry: entryOf(askedMs, message, result), hints: [], interruptedBy: null };
}

async function ask(
  config: Config,
  askedMs: number,
  api: BotApi,
  prover: Prover,
  sink: Sink,
): Promise<Probed> {
  const token = config.token as string;
  const report = createReport('text', [token], await painter(process.stderr), sink);
  const taker = { startedAt: new Date().toISOString(), cwd: config.cwd, version: VERSION, control: null };
  // A lock beside that of `start`, which a probe must not hold.
  const claim = await claimLock(lockKey(String(config.botId), token, 'probe'), taker);
  if (!claim.lock)
    throw new SinglepollError(
      EXIT.otherPoller,
      `another probe of this bot runs${claim.holder?.pid ? ` (pid ${claim.holder.pid})` : ''}: two would take each other for a rival`,
      'singlepoll who --probe    # again, when it has ended',
    );
  // The first signal ends the probe with an answer, the second one ends the program.
  const interrupt = new AbortController();
  let interruptedBy: Probed['interruptedBy'] = null;
  const forget = () => void process.off('SIGINT', listen).off('SIGTERM', listen);
  function listen(name: 'SIGINT' | 'SIGTERM'): void {
    interruptedBy = name;
    forget();
    interrupt.abort();
  }
  process.on('SIGINT', listen).on('SIGTERM', listen);
  const watched: Promise<void>[] = [];
  try {
    const verdict = await runProbe(askedMs, {
      api,
      signal: interrupt.signal,
      supervisor: async () => (await presentSupervisor(config))?.pid ?? null,
      beforeFirstPoll: () => report.line('probe', probeNotice(config.botId, askedMs)),
      async beforePoll() {
        const sent = await prover.spy();
        return (atMs) => void watched.push(sent(atMs));
      },
    });
    await Promise.all(watched);
    const suspects = [...prover.evidence().reactions.keys()];
    const { message, hints } = probeWords(verdict, askedMs, suspects);
    const unseen = prover
      .unseen()
      .map(unseenWords)
      .map(({ text, hint }) => `${text}: ${hint}`);
    return {
      entry: entryOf(askedMs, message, verdict.result, verdict),
      hints: [...unseen, ...hints],
      interruptedBy,
    };
  } finally {
    forget();
    claim.lock.release();
  }
}
