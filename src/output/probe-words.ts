/** The active probe in sentences: what it disturbs, what it found, what to do about it. Pure. */

import { hintOfRetry } from '../gateway/rivals.ts';
import type { Verdict } from '../telegram/probe-table.ts';
import { RIVAL_ELSEWHERE } from './words.ts';

export interface ProbeWords {
  /** One sentence, without a full stop. */
  readonly message: string;
  /** Each a line of its own. */
  readonly hints: readonly string[];
}

/** Said before anything is disturbed. */
export function probeNotice(botId: number | null, askedMs: number): string {
  return (
    `holding getUpdates of bot ${botId} for ${seconds(askedMs)}: who polls it elsewhere loses the poll with a 409 Conflict ` +
    '(grammY, Telegraf and others end at that, most come back), and its updates may come some seconds late; ' +
    'nothing is confirmed, so none is lost'
  );
}

/** `suspects`: pids of processes of this machine that may be the rival. `webhook`: masks a webhook's URL for display. */
export function probeWords(
  verdict: Verdict,
  askedMs: number,
  suspects: readonly number[],
  showWebhook: (url: string) => string,
): ProbeWords {
  switch (verdict.result) {
    case 'rival':
      return { message: rival(verdict), hints: rivalHints(verdict, suspects) };
    case 'none':
      return {
        message: `none seen in ${seconds(verdict.quietMs)}: nobody took the poll from us`,
        hints: [
          `not ruled out: one that ended at the 409 it got from us (grammY, Telegraf), one that comes back more slowly${askedMs < THOROUGH_MS ? ' (--probe=40 is thorough)' : ''}, one that polls seldom and without waiting`,
        ],
      };
    case 'cannot-tell':
      return cannotTell(verdict, showWebhook);
  }
}

const THOROUGH_MS = 40_000;

function rival({ afterMs, conflicts, rhythmMs, retryMs, tookMs }: Verdict): string {
  const seen = `rival seen after ${seconds(afterMs ?? 0)}`;
  if (conflicts === 0) return `${seen}: an update that waited was fetched by somebody else`;
  const taken = `it took the poll from us ${times(conflicts)}`;
  if (rhythmMs === null) {
    return `${seen}: ${taken} in ${seconds(tookMs)} (409), too ${conflicts === 1 ? 'seldom' : 'irregularly'} for a rhythm`;
  }
  if (retryMs === null) {
    return `${seen}: ${taken} (409), about every ${seconds(rhythmMs)}; that is faster than one poller can be, so there are several`;
  }
  return `${seen}: ${taken} (409), about every ${seconds(rhythmMs)}; it polls again ${seconds(retryMs)} after a conflict, ${hintOfRetry(retryMs)}`;
}

function rivalHints(verdict: Verdict, suspects: readonly number[]): string[] {
  const hints: string[] = [];
  if (suspects.length > 0) {
    const it = suspects.length === 1 ? 'the process' : 'one of the processes';
    hints.push(
      `it may be ${it} above (pid ${suspects.join(', ')}), of which singlepoll start stops what is proven; else it is on another machine, or another user's, or in a container`,
    );
  } else hints.push(RIVAL_ELSEWHERE);
  if (verdict.rhythmMs === null && verdict.conflicts > 0)
    hints.push('singlepoll who --probe=40    # for its rhythm');
  return hints;
}

function cannotTell(verdict: Verdict, showWebhook: (url: string) => string): ProbeWords {
  const { reason, detail, tookMs } = verdict;
  switch (reason) {
    case 'updates':
      return {
        message: `cannot tell, updates are waiting: every poll is answered at once, which takes the poll from nobody; nobody fetched them in ${seconds(tookMs)}`,
        hints: [
          'so whoever polls, if anybody does, is busy or hangs. Again when they are fetched: singlepoll who --probe',
        ],
      };
    case 'webhook':
      return {
        message: `cannot tell: a webhook is set${detail === '' ? '' : ` (${showWebhook(detail)})`}, and while it is, getUpdates is impossible: nobody can poll`,
        hints: ['singlepoll start clears it, with the updates kept'],
      };
    case 'token':
      return {
        message: `cannot tell: the token is refused: ${detail}`,
        hints: ['copy the token again from @BotFather (/mybots)'],
      };
    case 'supervisor':
      return {
        message: `cannot tell: a supervisor of this bot (pid ${detail}) started on this machine meanwhile, and its worker is not to be disturbed`,
        hints: ['singlepoll status'],
      };
    case 'interrupted':
      return { message: `cannot tell: interrupted after ${seconds(tookMs)}`, hints: [] };
    default:
      return {
        message: `cannot tell: the Bot API failed: ${detail}`,
        hints: ['singlepoll who --probe    # again, when it is back'],
      };
  }
}

function times(count: number): string {
  return count === 1 ? 'once' : count === 2 ? 'twice' : `${count} times`;
}

/** `3.3 s`, `10 s`. */
function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}
