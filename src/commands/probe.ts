/**
 * `who --probe`: holds getUpdates for a while to learn whether somebody polls, and who of this machine it is. Beside a supervisor
 * that one renews its own poll instead; with a lease nobody is asked. Refuses where another probe runs, since two would take
 * each other for a rival. Changes nothing at Telegram.
 */
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError, VERSION } from '../errors.ts';
import { hintOfRetry } from '../gateway/words.ts';
import { claimLock, lockKey } from '../lock/lock.ts';
import { createReport } from '../output/report.ts';
import type { Sink } from '../output/sink.ts';
import { whileWaiting } from '../output/wait-line.ts';
import { duration, leaseWords, painter, RIVAL_CURE, RIVAL_ELSEWHERE, span } from '../output/words.ts';
import { askControl } from '../supervisor/control.ts';
import { presentSupervisor } from '../supervisor/holder.ts';
import type { LeaseEntry } from '../supervisor/status.ts';
import { unseenWords } from '../supervisor/sweep.ts';
import { type Reason, runProbe, type Verdict } from '../telegram/probe.ts';
import { timeOf } from './context.ts';
import type { Supervisor } from './find.ts';
import type { Tools } from './look.ts';

const DEFAULT_MS = 10_000;
/** For a poll to go out and its time to react. */
const RENEWED_MS = 12_000;

export interface Probed {
  readonly entry: ReturnType<typeof entryOf>;
  readonly hints: readonly string[];
  /** Processes of this machine that reacted to a poll of ours: their pids, and whether this user may not see one of them. */
  readonly reacted: { readonly pids: readonly number[]; readonly unseen: boolean };
  /** The signal that ended it early. */
  readonly interruptedBy: 'SIGINT' | 'SIGTERM' | null;
}

/** `probe` of `who --json`: what was asked for, and what was seen. */
function entryOf(askedMs: number, message: string, result: Verdict['result'], seen?: Verdict) {
  const inSeconds = (ms: number | null = null) => (ms === null ? null : Math.round(ms / 100) / 10);
  return {
    seconds: askedMs / 1000,
    result,
    /** Why it cannot tell. */
    reason: seen?.reason ?? null,
    /** From the beginning to the first sign of a rival. */
    afterSeconds: inSeconds(seen?.afterMs),
    /** Between two takings of the poll. */
    rhythmSeconds: inSeconds(seen?.rhythmMs),
    /** From a conflict to its next poll. */
    retrySeconds: inSeconds(seen?.retryMs),
    /** The longest time that the poll was held undisturbed. */
    quietSeconds: inSeconds(seen?.quietMs ?? 0),
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
  tools: Tools,
  lease: LeaseEntry | null,
  supervisor: Supervisor | null,
): Promise<Probed> {
  if (lease?.holder) return answered(askedMs, `the lease tells who polls: ${leaseWords(lease, Date.now())}`);
  // In deploy mode nobody polls here.
  if (!supervisor?.holder)
    return await whileWaiting(
      (sinceMs) => `probing: the poll is held for another ${span(Math.max(0, askedMs - sinceMs))}`,
      async (stderr) => await ask(config, askedMs, tools, stderr),
    );
  return await whileWaiting(
    (sinceMs) =>
      `waiting for the supervisor to renew its poll, at most another ${span(Math.max(0, RENEWED_MS - sinceMs))}`,
    async () => await askSupervisor(config, askedMs, supervisor),
  );
}

/** Beside a supervisor: it renews its own poll, which disturbs nobody but a rival, and sees who loses it. */
async function askSupervisor(
  { botId }: Config,
  askedMs: number,
  { control, holder }: Supervisor,
): Promise<Probed> {
  const answer = control ? await askControl(control, { cmd: 'probe' }, { timeoutMs: RENEWED_MS }) : null;
  if (!answer?.ok)
    throw new SinglepollError(
      EXIT.otherPoller,
      `no probe: a supervisor of bot ${botId} (pid ${holder?.pid ?? 'unknown'}) runs here: ${answer?.error ?? 'it does not answer'}`,
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
  const reacted = { pids: [], unseen: false };
  return { entry: entryOf(askedMs, message, result), hints: [], reacted, interruptedBy: null };
}

async function ask(config: Config, askedMs: number, { api, prover }: Tools, sink: Sink): Promise<Probed> {
  const token = config.token as string;
  const report = createReport('text', [token], await painter(process.stderr), sink);
  const taker = { startedAt: new Date().toISOString(), cwd: config.cwd, version: VERSION, control: null };
  // A lock beside that of `start`, which a probe must not hold.
  const claim = await claimLock(lockKey(token, 'probe'), taker);
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
    const unseen = prover
      .unseen()
      .map(unseenWords)
      .map(({ text, hint }) => `${text}: ${hint}`);
    const reacted = { pids: [...prover.evidence().reactions.keys()], unseen: unseen.length > 0 };
    const { message, hints } = probeWords(verdict, askedMs, reacted);
    return {
      entry: entryOf(askedMs, message, verdict.result, verdict),
      hints: [...unseen, ...hints],
      reacted,
      interruptedBy,
    };
  } finally {
    forget();
    claim.lock.release();
  }
}

/** Said before anything is disturbed. */
function probeNotice(botId: number | null, askedMs: number): string {
  return (
    `holding getUpdates of bot ${botId} for ${duration(askedMs)}: whoever polls it gets a 409 Conflict ` +
    '(grammY, Telegraf end at that); updates may come late, none is lost'
  );
}

/** Says what the probe has found in one sentence without a full stop, with hints. */
function probeWords(verdict: Verdict, askedMs: number, reacted: Probed['reacted']) {
  const { result, reason, detail, tookMs, quietMs } = verdict;
  if (result === 'rival') return { message: rival(verdict), hints: rivalHints(verdict, reacted) };
  if (result === 'none')
    return {
      message: `none seen in ${duration(quietMs)}: nobody took the poll from us`,
      hints: [
        `not ruled out: one that ended at the 409 it got from us (grammY, Telegraf), one that comes back more slowly${askedMs < THOROUGH_MS ? ' (--probe=40 is thorough)' : ''}, one that polls seldom and without waiting`,
      ],
    };
  const cannotTell: Record<Reason, readonly [message: string, ...hints: string[]]> = {
    updates: [
      `, updates are waiting: every poll is answered at once, which takes the poll from nobody; nobody fetched them in ${duration(tookMs)}`,
      'so whoever polls, if anybody does, is busy or hangs. Again when they are fetched: singlepoll who --probe',
    ],
    webhook: [
      `: a webhook is set (${detail}), and while it is, getUpdates is impossible: nobody can poll`,
      'singlepoll start clears it, with the updates kept',
    ],
    token: [`: the token is refused: ${detail}`, 'copy the token again from @BotFather (/mybots)'],
    supervisor: [
      `: a supervisor of this bot (pid ${detail}) started on this machine meanwhile, and its worker is not to be disturbed`,
      'singlepoll status',
    ],
    interrupted: [`: interrupted after ${duration(tookMs)}`],
    api: [`: the Bot API failed: ${detail}`, 'singlepoll who --probe    # again, when it is back'],
  };
  const [message, ...hints] = cannotTell[reason ?? 'api'];
  return { message: `cannot tell${message}`, hints };
}

const THOROUGH_MS = 40_000;

function rival({ afterMs, conflicts, rhythmMs, retryMs, tookMs }: Verdict): string {
  const seen = `rival seen after ${duration(afterMs ?? 0)}`;
  if (conflicts === 0) return `${seen}: an update that waited was fetched by somebody else`;
  const taken = `${seen}: it took the poll from us ${['', 'once', 'twice'][conflicts] ?? `${conflicts} times`}`;
  if (rhythmMs === null)
    return `${taken} in ${duration(tookMs)} (409), too ${conflicts === 1 ? 'seldom' : 'irregularly'} for a rhythm`;
  const rhythm = `${taken} (409), about every ${duration(rhythmMs)}`;
  return retryMs === null
    ? `${rhythm}; that is faster than one poller can be, so there are several`
    : `${rhythm}; it polls again ${duration(retryMs)} after a conflict, ${hintOfRetry(retryMs)}`;
}

function rivalHints({ rhythmMs, conflicts }: Verdict, { pids, unseen }: Probed['reacted']): string[] {
  const it = pids.length === 1 ? 'the process' : 'one of the processes';
  const local = `it may be ${it} above (pid ${pids.join(', ')}); singlepoll start stops what is proven. Whoever takes the poll after that is on another machine, in a container, or another user's`;
  const hints: string[] = [];
  if (pids.length > 0) hints.push(local);
  else if (!unseen) hints.push(`${RIVAL_ELSEWHERE}: ${RIVAL_CURE}`);
  if (rhythmMs === null && conflicts > 0) hints.push('singlepoll who --probe=40    # for its rhythm');
  return hints;
}
