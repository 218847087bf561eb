/**
 * One bot of the sandbox on a virtual clock, where unit/probe.test.ts, which polls it as well, does not come. Each test is a
 * script of one line a step. `ms name: method params` makes a call, `ms text` queues a message, `ms push KIND` another update;
 * `ms name ← answer` is an answer that comes then. Answers that a script does not name must not come before its
 * last line. Updates are 1, 2, 3 …; `offset=+n` is the id of update n.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createArgs } from '../../src/gateway/params.ts';
import { type Answer, CONFLICT, createBot } from '../../src/sandbox/bot.ts';
import { manualClock } from '../support/manual-clock.ts';

const FIRST_ID = 500_000;

/** `409 poller`, `[1, 2]`, `Webhook was set`, `429 retry after 1`, `Logged out` … */
function shown({ status, body, delivered, retryAfter }: Answer): string {
  const { description, result } = body as { description?: string; result?: unknown };
  const conflict = Object.entries(CONFLICT).find(([, text]) => text === description)?.[0];
  if (conflict) return `${status} ${conflict}`;
  if (retryAfter !== undefined) return `${status} retry after ${retryAfter}`;
  if (delivered) return `[${delivered.map((id) => id - FIRST_ID + 1).join(', ')}]`;
  return description ?? JSON.stringify(result);
}

function play(script: string): void {
  const clock = manualClock(0);
  const bot = createBot(clock, FIRST_ID);
  const answers: string[] = [];
  const expected: string[] = [];
  for (const line of script.trim().split('\n')) {
    const [, atMs = '', step = ''] = /^\s*([\d.]+)\s+(.*)$/.exec(line) ?? [];
    clock.advance(Number(atMs) - clock.nowMs());
    const [, name, method, words = ''] = /^(\w+): (\w+) ?(.*)$/.exec(step) ?? [];
    if (name && method) {
      const params = words.split(' ').map((word) => {
        const [key = '', value = ''] = word.split(/=(.*)/);
        return [key, value.startsWith('+') ? String(FIRST_ID - 1 + Number(value)) : value];
      });
      const reply = (answer: Answer) => answers.push(`${clock.nowMs()} ${name} ← ${shown(answer)}`);
      assert.ok(bot.call(method, createArgs(Object.fromEntries(params)), reply));
    } else if (step === 'text') bot.push({ message: { text: 'x' } });
    else if (step.startsWith('push ')) {
      const id = bot.push({ [step.slice(5)]: {} });
      if (id === 0) answers.push(`${clock.nowMs()} ${step.slice(5)} ← kept out`);
    }
    if (step.includes('←')) expected.push(`${Number(atMs)} ${step}`);
    else if (step.startsWith('is ')) assert.equal(`${bot.state().pendingUpdates} waiting`, step.slice(3));
  }
  assert.deepEqual(answers, expected, script);
}

for (const [name, script] of Object.entries({
  'forgets every smaller id at once, even if this request ends in a 409': `
    0     text
    0     text
    0     a: getUpdates offset=+3 timeout=50
    0     is 0 waiting
    0     b: getUpdates offset=+3 timeout=40
    0     a ← 409 poller
    40000 b ← []`,
  'ends 1 ms after a new update, with what has come till then; answers at once when updates wait': `
    0     a: getUpdates timeout=30
    10    text
    10.5  text
    11    a ← [1, 2]
    600   b: getUpdates timeout=30
    600   b ← [1, 2]`,
  'same offset again within 3 s, by anyone, timeout below 3 s: becomes a 3 s long poll': `
    0     a: getUpdates offset=0
    0     a ← []
    2999  b: getUpdates timeout=2
    5999  b ← []
    5999  c: getUpdates offset=-1
    5999  c ← []`,
  'a request that is answered at once disturbs nobody': `
    0     a: getUpdates timeout=30
    3000  b: getUpdates timeout=0
    3000  b ← []
    30000 a ← []`,
  'is set once; updates are kept until it is deleted with the wish to drop them': `
    0     i: getWebhookInfo
    0     i ← {"url":"","has_custom_certificate":false,"pending_update_count":0}
    0     text
    0     w: setWebhook url=https://a.example/
    0     w ← Webhook was set
    1000  w: setWebhook url=https://a.example/
    1000  w ← Webhook is already set
    1000  i: getWebhookInfo
    1000  i ← {"url":"https://a.example/","has_custom_certificate":false,"pending_update_count":1}
    2000  d: deleteWebhook url=https://b.example/
    2000  d ← Webhook was deleted
    2000  is 1 waiting
    2000  d: deleteWebhook drop_pending_updates=True
    2000  d ← Webhook is already deleted
    2000  is 0 waiting`,
  'filter when updates are created, kept for later calls until changed; what is no list changes nothing': `
    0     push poll
    0     push chat_member
    0     chat_member ← kept out
    0     a: getUpdates allowed_updates=["poll","chat_member"]
    0     a ← [1]
    0     push chat_member
    0     push message
    0     message ← kept out
    1     a: getUpdates offset=+3 allowed_updates=["message",1]
    1     a ← []
    1     push message
    1     message ← kept out
    2     a: getUpdates offset=+4 allowed_updates=[]
    2     a ← []
    2     push message
    2     is 1 waiting`,
  'logOut ends it as well': `
    0     a: getUpdates timeout=30
    5     l: logOut
    5     a ← []
    5     l ← true
    6     b: getMe
    6     b ← Logged out`,
}))
  test(name, () => play(script));
