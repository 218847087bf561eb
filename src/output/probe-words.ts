/** The active probe in sentences: what it disturbs, what it found, what to do about it. Pure. */
import { hintOfRetry } from '../gateway/words.ts';
import type { Reason, Verdict } from '../telegram/probe.ts';
import { RIVAL_CURE, RIVAL_ELSEWHERE } from './words.ts';

/** Said before anything is disturbed. */
export function probeNotice(botId: number | null, askedMs: number): string {
  return (
    `holding getUpdates of bot ${botId} for ${seconds(askedMs)}: whoever polls it gets a 409 Conflict ` +
    '(grammY, Telegraf end at that); updates may come late, none is lost'
  );
}

/** One sentence, without a full stop, and hints. `suspects`: pids of processes of this machine that may be the rival. */
export function probeWords(verdict: Verdict, askedMs: number, suspects: readonly number[]) {
  const { result, reason, detail, tookMs, quietMs } = verdict;
  if (result === 'rival') return { message: rival(verdict), hints: rivalHints(verdict, suspects) };
  if (result === 'none')
    return {
      message: `none seen in ${seconds(quietMs)}: nobody took the poll from us`,
      hints: [
        `not ruled out: one that ended at the 409 it got from us (grammY, Telegraf), one that comes back more slowly${askedMs < THOROUGH_MS ? ' (--probe=40 is thorough)' : ''}, one that polls seldom and without waiting`,
      ],
    };
  const cannotTell: Record<Reason, readonly [message: string, ...hints: string[]]> = {
    updates: [
      `, updates are waiting: every poll is answered at once, which takes the poll from nobody; nobody fetched them in ${seconds(tookMs)}`,
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
    interrupted: [`: interrupted after ${seconds(tookMs)}`],
    api: [`: the Bot API failed: ${detail}`, 'singlepoll who --probe    # again, when it is back'],
  };
  const [message, ...hints] = cannotTell[reason ?? 'api'];
  return { message: `cannot tell${message}`, hints };
}

const THOROUGH_MS = 40_000;

function rival({ afterMs, conflicts, rhythmMs, retryMs, tookMs }: Verdict): string {
  const seen = `rival seen after ${seconds(afterMs ?? 0)}`;
  if (conflicts === 0) return `${seen}: an update that waited was fetched by somebody else`;
  const taken = `${seen}: it took the poll from us ${['', 'once', 'twice'][conflicts] ?? `${conflicts} times`}`;
  if (rhythmMs === null)
    return `${taken} in ${seconds(tookMs)} (409), too ${conflicts === 1 ? 'seldom' : 'irregularly'} for a rhythm`;
  const rhythm = `${taken} (409), about every ${seconds(rhythmMs)}`;
  return retryMs === null
    ? `${rhythm}; that is faster than one poller can be, so there are several`
    : `${rhythm}; it polls again ${seconds(retryMs)} after a conflict, ${hintOfRetry(retryMs)}`;
}

function rivalHints({ rhythmMs, conflicts }: Verdict, suspects: readonly number[]): string[] {
  const it = suspects.length === 1 ? 'the process' : 'one of the processes';
  const local = `it may be ${it} above (pid ${suspects.join(', ')}), of which singlepoll start stops what is proven; else it is on another machine, or another user's, or in a container`;
  const hints = [suspects.length > 0 ? local : `${RIVAL_ELSEWHERE}: ${RIVAL_CURE}`];
  if (rhythmMs === null && conflicts > 0) hints.push('singlepoll who --probe=40    # for its rhythm');
  return hints;
}

/** `3.3 s`, `10 s`. */
const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;
