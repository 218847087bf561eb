/** What is done about a rival, what its rhythm tells, and who the second poller is. An overlap: test/e2e/gateway-rival.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rhythmWords, rivalryWords, secondPollerWords } from '../../src/gateway/words.ts';

const rival = (yields: boolean, incumbent: boolean) =>
  rivalryWords({ what: 'rival', kicks: 19, lastedMs: 90_000, rhythm: null, yields, incumbent }).text;

for (const [text, ...patterns] of [
  [rival(true, false), /taken the poll 19 times in .*newcomer yields/],
  [rival(false, true), /here first and insists/],
  [rival(false, false), /--on-rival insist/],
  [rival(true, true), /--on-rival yield/],
  // One that was held back for 3 s was not waiting.
  [rhythmWords({ everyMs: 5_000, reactionMs: 4_000 }), /every 5 s: it polls again 1 s .*and aiogram/],
  [rhythmWords({ everyMs: 3_500, reactionMs: 3_250 }), /250 ms .*pyTelegramBotAPI/],
  [rhythmWords({ everyMs: 3_100, reactionMs: 3_050 }), /node-telegram-bot-api/],
  [rhythmWords({ everyMs: 60_000, reactionMs: 60_000 }), /every 60 s: .*backs off|started again/],
  [secondPollerWords(10, 11), /pid 10 polls, pid 11 is held and answered empty/, /gunicorn --workers=1/],
  [secondPollerWords(10, 10), /process 10 polls in two loops/],
  [secondPollerWords(null, null), /one process polls, another is held/],
] as const)
  test(text, () => {
    for (const pattern of patterns) assert.match(text, pattern);
  });
