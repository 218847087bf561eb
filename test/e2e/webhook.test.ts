// The webhook step: cleared with updates kept, refused or dropped on request, watched while running.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { assertNoToken, handled } from '../support/judge.ts';
import { until } from '../support/wait.ts';

test('webhook: --keep-webhook refuses with 78, names the host, leaves it set, starts nothing', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  const result = await b.run(['start', '--keep-webhook', '--', ...node('polite.mjs')]);
  assert.equal(result.code, 78, result.stderr);
  assert.match(result.stderr, /hooks\.example\.com/);
  assert.doesNotMatch(result.stderr, /4711/);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/s3cret-path-4711');
  assert.deepEqual(b.journal(), []);
});

test('webhook: --keep-webhook starts where none is set', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--keep-webhook', '--', ...node('polite.mjs')]);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

for (const set of [true, false]) {
  test(`webhook: --drop-pending drops what waits, webhook ${set ? 'set' : 'not set'}`, async (t) => {
    const b = await bed(t);
    if (set) await b.sandbox.setWebhook('https://hooks.example.com/a');
    const old = b.sandbox.text('old');
    const run = await b.polling(['--drop-pending', '--', ...node('polite.mjs')]);
    const fresh = b.sandbox.text('fresh');
    await until('the new update', () => handled(b.journal()).has(fresh), { seen: run.seen });
    assert.equal(handled(b.journal()).has(old), false, 'the old one was dropped');
  });
}

test('webhook: no update is dropped without being asked', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const ids = Array.from({ length: 150 }, (_, index) => b.sandbox.text(`m${index}`));
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await until('all 150', () => ids.every((id) => handled(b.journal()).has(id)), { seen: run.seen });
  for (const request of b.sandbox.requests()) {
    if (/webhook/i.test(request.method)) {
      assert.doesNotMatch(request.params.drop_pending_updates ?? 'false', /^(true|1|yes)$/i);
    }
  }
});

test('webhook: set while the worker runs, it is cleared again before the next spawn and named', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--no-gateway', '--backoff', '10ms,50ms', '--', ...node('ends-on-409.mjs')]);
  const first = b.sandbox.polls()[0]?.pid ?? -1;
  await b.sandbox.setWebhook('https://thief.example.com/x');
  // setWebhook ends the waiting poll with 409, and this worker ends on 409.
  const id = b.sandbox.text('late');
  await until('the update at a new worker', () => handled(b.journal()).has(id), {
    ms: 30_000,
    seen: run.seen,
  });
  assert.ok(b.sandbox.polls().some((poll) => poll.pid !== first));
  assert.equal((await b.sandbox.webhookInfo()).url, '');
  assert.match(run.stderr(), /thief\.example\.com/);
  assertNoToken(run.stderr(), b.token);
});

test('webhook: set while a worker that retries runs, it is cleared again by itself', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await b.sandbox.setWebhook('https://thief.example.com/x');
  const id = b.sandbox.text('late');
  await until('the update to arrive all the same', () => handled(b.journal()).has(id), {
    ms: 120_000,
    everyMs: 100,
    seen: run.seen,
  });
  assert.match(run.stderr(), /thief\.example\.com/);
  assert.equal(run.ended(), null);
});

test('webhook: a failing deleteWebhook is repeated before the worker starts', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  b.sandbox.raw.fault({ kind: 'html', method: 'deleteWebhook', status: 502, count: 2 });
  b.sandbox.raw.fault({ kind: 'retry-after', method: 'getWebhookInfo', retryAfter: 1, count: 1 });
  const run = await b.polling(['--', ...node('ends-on-409.mjs')], { ms: 40_000 });
  assert.equal((await b.sandbox.webhookInfo()).url, '');
  // A worker that ends at a 409 would have ended, had the webhook still been set.
  assert.deepEqual(
    b.journal().filter(({ ev }) => ev === 'conflict'),
    [],
    run.seen(),
  );
});
