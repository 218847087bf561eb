/**
 * What the delay between a 409 and the next poll hints at. Pure. The delays are those that the libraries were seen to keep with
 * their default settings; a hint is never a proof, since a hand-written loop may keep any of them.
 * Sources: node-telegram-bot-api 0.67 and 1.2 (at once, or after 0.3 s), pyTelegramBotAPI 4.36 (0.25 s, doubled up to 60 s),
 * python-telegram-bot 13 to 22 (1 s, then half as much again, up to 30 s), aiogram 3 (1 s, a third more each time, up to 5 s).
 */

interface Band {
  /** Delays below this, milliseconds. */
  readonly belowMs: number;
  readonly hint: string;
}

const BANDS: readonly Band[] = [
  { belowMs: 150, hint: 'as node-telegram-bot-api (0.x, 1.x) does, or a hand-written loop' },
  {
    belowMs: 350,
    hint: 'as pyTelegramBotAPI and node-telegram-bot-api (0.x, 1.x) do, or a hand-written loop',
  },
  { belowMs: 900, hint: 'as pyTelegramBotAPI does, or a hand-written loop' },
  { belowMs: 2_700, hint: 'as python-telegram-bot and aiogram do, or a hand-written loop' },
  {
    belowMs: Number.POSITIVE_INFINITY,
    hint: 'as a hand-written loop does, a library that backs off, or a program that ends at the conflict and is started again',
  },
];

/** A clause that goes on after "it polls again … after a 409, ". */
export function hintOfRetry(retryMs: number): string {
  return (BANDS.find(({ belowMs }) => retryMs < belowMs) ?? BANDS.at(-1)!).hint;
}
