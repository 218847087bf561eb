/** How the gateway's findings are told: plainly, with what to do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RivalrySaying } from '../../src/gateway/rivals.ts';
import { rhythmWords, rivalryWords, secondPollerWords } from '../../src/gateway/words.ts';

const RIVAL: Extract<RivalrySaying, { what: 'rival' }> = {
  what: 'rival',
  kicks: 19,
  lastedMs: 90_000,
  rhythm: { everyMs: 5_000, reactionMs: 4_000 },
  yields: true,
  incumbent: false,
};

test('an overlap: one line at its start, another when it comes back, one at its end', () => {
  assert.match(
    rivalryWords({ what: 'overlap', again: false }).text,
    /another poller .*took the poll \(409\)/,
  );
  assert.match(rivalryWords({ what: 'overlap', again: true }).text, /is back \(409\)/);
  const over = { what: 'overlap-over', lastedMs: 12_000, kicks: 3, wasRival: false } as const;
  assert.match(rivalryWords(over).text, /the other poller is gone after 12 ?s \(3 conflicts\)/);
  assert.match(rivalryWords({ ...over, kicks: 1 }).text, /\(1 conflict\)/);
  assert.match(rivalryWords({ ...over, wasRival: true }).text, /the rival is gone/);
  assert.equal(rivalryWords(over).level, 'good');
});

test('a rival: how often, how long, its rhythm, who gives way, what to do', () => {
  const { text, level } = rivalryWords(RIVAL);
  assert.equal(level, 'error');
  assert.match(text, /rival: another poller has taken the poll 19 times in (90 ?s|1m ?30s)/);
  assert.match(text, /about every 5\.0 s/);
  assert.match(text, /newcomer yields/);
  assert.match(text, /revoke the token/);
});

test('who yields and who insists', () => {
  assert.match(rivalryWords({ ...RIVAL, yields: false, incumbent: true }).text, /here first.*insists/);
  assert.match(rivalryWords({ ...RIVAL, yields: false }).text, /--on-rival insist/);
  assert.doesNotMatch(rivalryWords({ ...RIVAL, yields: true, incumbent: true }).text, /newcomer/);
  assert.doesNotMatch(rivalryWords({ ...RIVAL, rhythm: null }).text, /about every/);
});

test('the rhythm hints at what waits so long after a 409; one that was held for 3 s is not waiting', () => {
  assert.match(
    rhythmWords({ everyMs: 5_000, reactionMs: 4_000 }),
    /every 5\.0 s: it polls again 1\.0 s .*python-telegram-bot and aiogram/,
  );
  assert.match(rhythmWords({ everyMs: 3_500, reactionMs: 3_250 }), /0\.3 s .*pyTelegramBotAPI/);
  assert.match(rhythmWords({ everyMs: 3_100, reactionMs: 3_050 }), /node-telegram-bot-api/);
  assert.match(rhythmWords({ everyMs: 60_000, reactionMs: 60_000 }), /every 60 s: .*backs off|started again/);
});

test('a second poller: both pids and the usual cure; where pids are not known, it says so much', () => {
  const two = secondPollerWords(10, 11);
  assert.match(two, /second poller in the worker: pid 10 polls, pid 11 is held and answered empty/);
  assert.match(two, /gunicorn --workers=1/);
  assert.match(secondPollerWords(10, 10), /process 10 polls in two loops/);
  assert.match(secondPollerWords(null, null), /one process polls, another is held/);
});
