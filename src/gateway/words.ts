/** The gateway's messages for people. Pure. */
import type { Level } from '../output/words.ts';
import { count, duration, RIVAL_CURE, RIVAL_ELSEWHERE } from '../output/words.ts';
import { CONFLICT_HOLD_MS } from '../telegram/bot-api.ts';
import type { Rhythm, RivalrySaying } from './rivals.ts';

/** `here` describes the rival, if it was found on this machine. */
export function rivalryWords(
  saying: RivalrySaying,
  here: string | null = null,
): { text: string; level: Level; hint?: string; more?: string } {
  if (saying.what === 'overlap') {
    const text = saying.again
      ? 'the other poller of this bot is back (409); polling again'
      : 'another poller of this bot took the poll (409): polling again; the worker does not notice, and an old run that is about to end goes away by itself';
    return { level: 'warn', text };
  }
  if (saying.what === 'overlap-over') {
    const who = saying.wasRival ? 'rival' : 'other poller';
    // One conflict alone has lasted no time.
    const lasted = saying.kicks > 1 ? ` after ${duration(saying.lastedMs)}` : '';
    const text = `the ${who} is gone${lasted} (${count(saying.kicks, 'conflict')})`;
    return { level: 'good', text };
  }
  const { kicks, lastedMs, rhythm, yields, incumbent } = saying;
  const taken = `a rival: another poller has taken the poll ${count(kicks, 'time')} in ${duration(lastedMs)}`;
  const what = yields
    ? incumbent
      ? 'This run yields, as asked (--on-rival yield)'
      : 'This newcomer yields'
    : incumbent
      ? 'This run was here first and insists'
      : 'This run insists, as asked (--on-rival insist)';
  const text = `${[taken, here ?? 'It was not found on this machine', what].join('. ')}.`;
  const more = rhythm ? { more: `it takes the poll ${rhythmWords(rhythm)}` } : {};
  return { level: 'error', text, ...more, ...(here === null ? { hint: RIVAL_CURE } : {}) };
}

/** Our poll was ended by another one, and no process that can be seen here reacted to the next. */
export function nobodyHereWords(isBlind: boolean, isRoot: boolean): { text: string; hint: string } {
  if (isBlind)
    return {
      text: 'nobody can be shown to poll from this machine, as ss (iproute2) does not work here',
      hint: `apt-get install iproute2    # as root; or, if it polls from elsewhere: ${RIVAL_CURE}`,
    };
  if (!isRoot)
    return {
      text: 'another poller: none of the processes that this user may see',
      hint: `sudo singlepoll who --probe    # sees all of this machine; if it is none of them: ${RIVAL_CURE}`,
    };
  return { text: RIVAL_ELSEWHERE, hint: RIVAL_CURE };
}

/** The loser gets its 409 at once or 3 s later, waits as its library does, and polls again. */
export function rhythmWords({ everyMs, reactionMs }: Rhythm): string {
  const retryMs = reactionMs >= CONFLICT_HOLD_MS ? reactionMs - CONFLICT_HOLD_MS : reactionMs;
  return `about every ${duration(everyMs)}: it polls again ${duration(retryMs)} after a 409, ${hintOfRetry(retryMs)}`;
}

const RETRIES: readonly (readonly [belowMs: number, who: string])[] = [
  [150, 'node-telegram-bot-api (0.x, 1.x) does'],
  [350, 'pyTelegramBotAPI and node-telegram-bot-api (0.x, 1.x) do'],
  [900, 'pyTelegramBotAPI does'],
  [2_700, 'python-telegram-bot and aiogram do'],
];

/** A clause to follow "it polls again … after a 409, ". */
export function hintOfRetry(retryMs: number): string {
  const who = RETRIES.find(([belowMs]) => retryMs < belowMs)?.[1];
  return who
    ? `as ${who}, or a hand-written loop`
    : 'as a hand-written loop does, a library that backs off, or a program that ends at the conflict and is started again';
}

export function secondPollerWords(owner: number | null, held: number | null): string {
  if (owner !== null && owner === held)
    return `a second poller in the worker: process ${owner} polls in two loops; one polls, the other is held and answered empty. ${SECOND_CURE_LOOP}`;
  const first = owner === null ? 'one process' : `pid ${owner}`;
  const other = held === null ? 'another' : `pid ${held}`;
  return `a second poller in the worker: ${first} polls, ${other} is held and answered empty. ${SECOND_CURE}`;
}

export function stolenWords(updates: number): string {
  return `${count(updates, 'update')} ${updates === 1 ? 'was' : 'were'} probably taken by somebody who polls without waiting`;
}

export const STOLEN_CURE =
  'find the script that calls getUpdates (cron, a health check, a second consumer) and stop it, or revoke the token with @BotFather';
export const distrustWords = (program: string): string =>
  `${program} does not accept singlepoll's certificate (a CA file of its own, or a pinned certificate)`;

export const SECOND_CURE =
  'Usual cure: one process that polls, so gunicorn --workers=1, no reloader, or the polling started in one worker only';
export const SECOND_CURE_LOOP = 'Usual cure: start polling once, not in each import or thread';
export const WORKERS_WEBHOOK = 'the worker has set a webhook (--allow-set-webhook)';
export const SEALED_PAST =
  'the worker was answered 401: its calls go past the gateway, and the sealed token that it was given is good there only. To do: start it once without --sealed: that says why it goes past';
export const UNSEALED = 'the worker uses the real token, not the sealed one it was given';
export const UNSEALED_CURE =
  'let the environment win over .env (no override in load_dotenv), or take the token out of .env';
export const WEBHOOK_CURE = 'singlepoll who    # one that holds the token calls setWebhook';
