/** What the Bot API's answers mean to the probe, and how its verdict is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeNotice, probeWords } from '../../src/output/probe-words.ts';
import { CONFLICT } from '../../src/sandbox/bot.ts';
import { classify } from '../../src/telegram/bot-api.ts';
import { afterLook, afterPoll } from '../../src/telegram/probe.ts';
import type { Verdict } from '../../src/telegram/probe-table.ts';

const NOW_S = 1_800_000_000;

function answered(status: number, body: object | string) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return afterPoll(classify<never>(status, text, 0), 5, NOW_S);
}

test('409: by its text a poller or a webhook', () => {
  const conflict = (description: string) => answered(409, { ok: false, error_code: 409, description }).kind;
  assert.equal(conflict(CONFLICT.poller), 'conflict');
  assert.equal(conflict('Conflict: terminated by other long poll or webhook'), 'conflict');
  assert.equal(conflict('Conflict'), 'conflict');
  assert.equal(conflict(CONFLICT.setWebhook), 'webhook-conflict');
  assert.equal(conflict(CONFLICT.webhookActive), 'webhook-conflict');
});

test('what is worth another try, and what is not', () => {
  assert.deepEqual(answered(502, '<html>'), { kind: 'fault', text: 'HTTP 502', retryAfterMs: null });
  const flood = { ok: false, description: 'Too Many Requests', parameters: { retry_after: 7 } };
  assert.deepEqual(answered(429, flood), { kind: 'fault', text: 'Too Many Requests', retryAfterMs: 7_000 });
  for (const [status, reason] of [
    [401, 'token'],
    [404, 'token'],
    [400, 'api'],
  ] as const) {
    const event = answered(status, { ok: false, description: 'Logged out' });
    assert.deepEqual(event, { kind: 'refused', reason, text: `${status} Logged out` });
  }
  assert.equal(afterLook(classify(502, '', 0)).kind, 'fault');
});

test('an update stays while we look when it carries a date of the last 23 hours', () => {
  const lasting = (update: object) => {
    const event = answered(200, { ok: true, result: [{ update_id: 4, ...update }] });
    assert.ok(event.kind === 'updates' && event.firstId === 4);
    return event.lasting;
  };
  assert.equal(lasting({ message: { date: NOW_S - 60 } }), true);
  assert.equal(lasting({ message: { date: NOW_S + 300 } }), true, 'a clock that is behind');
  assert.equal(lasting({ message: { date: NOW_S - 23.5 * 3600 } }), false);
  assert.equal(lasting({ callback_query: { message: { date: NOW_S } } }), false);
  assert.equal(lasting({ inline_query: { id: '1' } }), false);
  assert.deepEqual(answered(200, { ok: true, result: [] }), { kind: 'empty', sentAtMs: 5 });
});

const VERDICT: Verdict = {
  result: 'rival',
  reason: null,
  detail: '',
  afterMs: 4_012,
  conflicts: 3,
  rhythmMs: 4_498,
  retryMs: 1_498,
  quietMs: 1_000,
  tookMs: 9_000,
};
const told = (change: Partial<Verdict>, suspects: readonly number[] = []) =>
  probeWords({ ...VERDICT, ...change }, 10_000, suspects, (url) => `<${url}>`);

test('a rival: when, how often, its rhythm, what to do', () => {
  assert.equal(
    told({}).message,
    'rival seen after 4 s: it took the poll from us 3 times (409), about every 4.5 s; it polls again 1.5 s after a conflict, as python-telegram-bot and aiogram do, or a hand-written loop',
  );
  assert.match(told({}).hints.join('\n'), /polls from elsewhere/);
  assert.match(told({}, [12, 13]).hints.join('\n'), /one of the processes above \(pid 12, 13\)/);
  assert.match(told({ retryMs: null, rhythmMs: 1_200 }).message, /there are several/);
  const once = told({ conflicts: 1, rhythmMs: null, retryMs: null });
  assert.match(once.message, /took the poll from us once in 9 s \(409\), too seldom for a rhythm/);
  assert.match(once.hints.join('\n'), /--probe=40/);
  const fetched = told({ conflicts: 0, rhythmMs: null, retryMs: null });
  assert.match(fetched.message, /an update that waited was fetched by somebody else/);
});

test('nobody, and what cannot be told', () => {
  const none = { result: 'none', afterMs: null, conflicts: 0, rhythmMs: null, retryMs: null } as const;
  assert.match(told({ ...none, quietMs: 7_040 }).message, /^none seen in 7 s/);
  const cannot = (reason: Verdict['reason'], detail = '') =>
    told({ ...none, result: 'cannot-tell', reason, detail }).message;
  assert.match(cannot('updates'), /^cannot tell, updates are waiting/);
  assert.match(cannot('webhook', 'u'), /^cannot tell: a webhook is set \(<u>\)/);
  assert.match(cannot('api', 'HTTP 502'), /^cannot tell: the Bot API failed: HTTP 502$/);
  assert.match(cannot('token', '401'), /refused: 401/);
  assert.match(cannot('supervisor', '77'), /\(pid 77\) started on this machine meanwhile/);
  assert.match(cannot('interrupted'), /interrupted after 9 s/);
});

test('the notice says what is disturbed and what is not', () => {
  assert.match(probeNotice(5, 40_000), /bot 5 for 40 s.*409 Conflict.*none is lost/);
});
