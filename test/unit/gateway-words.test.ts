/** How the gateway's findings are told: plainly, with what to do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rhythmWords, rivalryWords, secondPollerWords } from '../../src/gateway/words.ts';

const OVER = { what: 'overlap-over', lastedMs: 12_000, kicks: 3, wasRival: false } as const;
const RIVAL = {
  what: 'rival',
  kicks: 19,
  lastedMs: 90_000,
  rhythm: { everyMs: 5_000, reactionMs: 4_000 },
  yields: true,
  incumbent: false,
} as const;
const rival = (change: Partial<{ yields: boolean; incumbent: boolean; rhythm: null }> = {}) =>
  (({ text, more = '' }) => `${text} ${more}`)(rivalryWords({ ...RIVAL, ...change }));

for (const [text, ...patterns] of [
  [rivalryWords({ what: 'overlap', again: false }).text, /another poller .*took the poll \(409\)/],
  [rivalryWords({ what: 'overlap', again: true }).text, /is back \(409\)/],
  [rivalryWords({ ...OVER, kicks: 1, lastedMs: 0 }).text, /the other poller is gone \(1 conflict\)/],
  [rivalryWords(OVER).text, /the other poller is gone after 12 ?s \(3 conflicts\)/],
  [rivalryWords({ ...OVER, kicks: 1, wasRival: true }).text, /the rival is gone .*\(1 conflict\)/],
  [rival(), /taken the poll 19 times in (90 ?s|1m ?30s)/, /about every 5\.0 s/, /newcomer yields/],
  [rival({ yields: false, incumbent: true }), /here first.*insists/],
  [rival({ yields: false }), /--on-rival insist/],
  [rival({ incumbent: true, rhythm: null }), /409 times|19 times in [\dm s]+\. /, /--on-rival yield/],
  // One that was held back for 3 s was not waiting.
  [rhythmWords({ everyMs: 5_000, reactionMs: 4_000 }), /every 5\.0 s: it polls again 1\.0 s .*and aiogram/],
  [rhythmWords({ everyMs: 3_500, reactionMs: 3_250 }), /0\.3 s .*pyTelegramBotAPI/],
  [rhythmWords({ everyMs: 3_100, reactionMs: 3_050 }), /node-telegram-bot-api/],
  [rhythmWords({ everyMs: 60_000, reactionMs: 60_000 }), /every 60 s: .*backs off|started again/],
  [secondPollerWords(10, 11), /pid 10 polls, pid 11 is held and answered empty/, /gunicorn --workers=1/],
  [secondPollerWords(10, 10), /process 10 polls in two loops/],
  [secondPollerWords(null, null), /one process polls, another is held/],
] as const)
  test(text, () => {
    for (const pattern of patterns) assert.match(text, pattern);
  });
