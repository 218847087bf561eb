/** What an answer to getUpdates means: for the worker, to be retried, or the end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { landingOf } from '../../src/gateway/landing.ts';

const answer = (status: number, body: unknown) =>
  landingOf({ status, body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)) });
const error = (code: number, description: string, parameters?: object) =>
  answer(code, { ok: false, error_code: code, description, ...(parameters ? { parameters } : {}) });

test('200: updates, also none', () => {
  assert.deepEqual(answer(200, { ok: true, result: [{ update_id: 1 }, { update_id: 2 }] }).result, {
    kind: 'updates',
    count: 2,
  });
  assert.deepEqual(answer(200, { ok: true, result: [{ update_id: 7 }, { update_id: 9 }] }).updates, [7, 9]);
  assert.equal(answer(502, '<html>').updates, null);
  assert.deepEqual(answer(200, { ok: true, result: [] }).result, { kind: 'updates', count: 0 });
});

test('409: another poller, or a webhook', () => {
  const other =
    'Conflict: terminated by other getUpdates request; make sure that only one bot instance is running';
  assert.equal(error(409, other).result.kind, 'conflict');
  const older = 'Conflict: terminated by other long poll or webhook';
  assert.equal(error(409, older).result.kind, 'conflict');
  for (const text of [
    'Conflict: terminated by setWebhook request',
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
    'Conflict: terminated by other setWebhook',
  ])
    assert.equal(error(409, text).result.kind, 'webhook', text);
});

test('429: the pause that it names; a second where it names none', () => {
  const named = error(429, 'Too Many Requests: retry after 5', { retry_after: 5 });
  assert.deepEqual(named.result, { kind: 'flood', retryAfterMs: 5_000 });
  assert.deepEqual(answer(429, '<html>').result, { kind: 'flood', retryAfterMs: 1_000 });
});

test('401 is passed on and ends the supervisor; 400 and 404 are passed on', () => {
  assert.deepEqual(error(401, 'Unauthorized'), {
    result: { kind: 'verdict' },
    updates: null,
    problem: 'Unauthorized',
    refused: true,
  });
  for (const [code, text] of [
    [400, 'Logged out'],
    [404, 'Not Found'],
  ] as const) {
    const it = error(code, text);
    assert.deepEqual([it.result.kind, it.refused], ['verdict', false]);
  }
});

test('5xx, HTML, what is cut off, and 200 that is no answer to getUpdates: an outage, with its reason', () => {
  const outages = [
    answer(502, '<html>Bad Gateway</html>'),
    answer(504, ''),
    error(500, 'Internal Server Error: restart'),
    answer(200, '{"ok":true,"result":[{"upd'),
    answer(200, '<html>captive portal</html>'),
    answer(200, { ok: true, result: true }),
    answer(200, 'null'),
  ];
  for (const it of outages) {
    assert.equal(it.result.kind, 'outage');
    assert.ok(it.problem);
    assert.equal(it.refused, false);
  }
});
