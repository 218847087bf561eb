/** How the gateway's findings are told to people. Pure. */

import type { Level } from '../output/words.ts';
import { count, duration, RIVAL_ELSEWHERE } from '../output/words.ts';
import { CONFLICT_HOLD_MS } from '../telegram/bot-api.ts';
import type { Rhythm, RivalrySaying } from './rivals.ts';
import { hintOfRetry } from './rivals.ts';

/** `here`: what is known of it, where it was found on this machine. */
export function rivalryWords(
  saying: RivalrySaying,
  here: string | null = null,
): { text: string; level: Level } {
  switch (saying.what) {
    case 'overlap':
      return {
        level: 'warn',
        text: saying.again
          ? 'the other poller of this bot is back (409); polling again'
          : 'another poller of this bot took the poll (409): polling again; the worker does not notice, and an old run that is about to end goes away by itself',
      };
    case 'overlap-over':
      return {
        level: 'good',
        text: `the ${saying.wasRival ? 'rival' : 'other poller'} is gone after ${duration(saying.lastedMs)} (${count(saying.kicks, 'conflict')})`,
      };
    case 'rival':
      return {
        level: 'error',
        text:
          `a rival: another poller has taken the poll ${count(saying.kicks, 'time')} in ${duration(saying.lastedMs)}` +
          `${saying.rhythm ? `, ${rhythmWords(saying.rhythm)}` : ''}. ${here ?? 'It was not found on this machine'}. ` +
          `${saying.yields ? (saying.incumbent ? 'This run yields, as asked (--on-rival yield)' : 'This newcomer yields') : saying.incumbent ? 'This run was here first and insists' : 'This run insists, as asked (--on-rival insist)'}. ` +
          `${here === null ? RIVAL_CURE : ''}`.trimEnd(),
      };
  }
}

/** A poll of ours was taken, and nobody who can be seen here reacted to the next one. */
export function nobodyHereWords(isBlind: boolean, isRoot: boolean): string {
  if (isBlind)
    return `nobody can be shown to poll from this machine, as ss does not work here: apt-get install iproute2. ${RIVAL_ELSEWHERE}`;
  if (!isRoot)
    return `nobody among the processes that this user can see reacts; other users' and containers' connections can't be seen: sudo singlepoll who --probe. If it is nobody here: ${RIVAL_ELSEWHERE}`;
  return RIVAL_ELSEWHERE;
}

export const RIVAL_CURE =
  'Stop the other one (a laptop, an old server, another container), or revoke the token with @BotFather';

export function stolenWords(updates: number): string {
  return `${count(updates, 'update')} ${updates === 1 ? 'was' : 'were'} probably taken by somebody who polls without waiting`;
}

export const STOLEN_CURE =
  'find the script that calls getUpdates (cron, a health check, a second consumer) and stop it, or revoke the token with @BotFather';

/** The loser of a fight hears of it at once or 3 s later, waits as its library does, and polls again. */
export function rhythmWords({ everyMs, reactionMs }: Rhythm): string {
  const retryMs = reactionMs >= CONFLICT_HOLD_MS ? reactionMs - CONFLICT_HOLD_MS : reactionMs;
  return `about every ${seconds(everyMs)}: it polls again ${seconds(retryMs)} after a 409, ${hintOfRetry(retryMs)}`;
}

export function secondPollerWords(owner: number | null, held: number | null): string {
  if (owner !== null && owner === held) {
    return `a second poller in the worker: process ${owner} polls in two loops; one polls, the other is held and answered empty. ${SECOND_CURE_LOOP}`;
  }
  const [first, other] = [
    owner === null ? 'one process' : `pid ${owner}`,
    held === null ? 'another' : `pid ${held}`,
  ];
  return `a second poller in the worker: ${first} polls, ${other} is held and answered empty. ${SECOND_CURE}`;
}

export const WORKERS_WEBHOOK = 'the worker has set a webhook (--allow-set-webhook)';
export const UNSEALED =
  'the worker uses the real token, not the sealed one it was given: let the environment win over .env (no override in load_dotenv), or take the token out of .env';

export const SECOND_CURE =
  'Usual cure: one process that polls, so gunicorn --workers=1, no reloader, or the polling started in one worker only';
export const SECOND_CURE_LOOP = 'Usual cure: start polling once, not in each import or thread';

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}
