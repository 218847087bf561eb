// What the Bot API answers, before and while the worker runs: who the token is, refused tokens, an API out of reach, one that goes away
// and comes back, one that is none; and the webhook, cleared with updates kept, refused or dropped on request.
import assert from 'node:assert/strict';
import http from 'node:http';
import type { TestContext } from 'node:test';
import { type Bed, node, POLITE, randomToken } from '../support/bed.ts';
import { openEngine } from '../support/engines.ts';
import { problemOf } from '../support/gateway.ts';
import { assertNeverTwo, assertNoToken, handled, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { leaseBed, stateIs } from '../support/lease-bed.ts';
import { listen } from '../support/place.ts';
import { alive } from '../support/proc.ts';
import { openNetwork } from '../support/proxy.ts';
import { freePort, polledBy, pollingStray } from '../support/strays.ts';
import { openUpstream } from '../support/upstream.ts';
import { staysTrue, until } from '../support/wait.ts';

const START = ['start', ...POLITE];
const closed = async (b: Bed) => ({ ...b.env, TELEGRAM_API_ROOT: `http://127.0.0.1:${await freePort()}` });

it('a refused token is 77 and names its source, a wrong root as well; out of reach is 69 after announced retries; nothing is touched', async (b) => {
  const stray = await pollingStray(b, 'poller.py');
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const wrong = randomToken(b.botId);
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  b.file('.env', 'TELEGRAM_BOT_TOKEN: 1234\n');
  const { stderr } = await b.exits(77, START, { env: { ...env, BOT_TOKEN: wrong } });
  assert.match(stderr, /\bBOT_TOKEN\b/);
  assert.match(stderr, /\.env line 1: it is not NAME=value/, 'what may be the reason is said, too');
  assertNoToken(stderr, wrong);
  await b.exits(77, START, { env: { ...b.env, TELEGRAM_API_ROOT: `${b.sandbox.root}/nowhere` } });
  const away = b.start([], { env: await closed(b) });
  const ended = b.start([], { env: await closed(b) });
  await ended.waitFor(/retr|again/i);
  await ended.stop();
  await away.ends(69, 150_000);
  assert.match(away.stderr(), /retr|again/i);
  assert.match(away.stderr(), /\d+ ?(ms|s|m)\b/, 'for a time that is announced');
  assertNoToken(away.stderr(), b.token);
  assert.equal(alive(stray.pid), true);
  assert.notEqual((await b.sandbox.webhookInfo()).url, '');
  assert.equal(polledBy(b, 'polite.mjs').length, 0);
});

xit('trouble that passes is lived through: 502 pages, resets, 429, garbage, a getMe that hangs', async (b) => {
  b.sandbox.raw.fault({ kind: 'html', method: 'getMe', status: 502, count: 1 });
  b.sandbox.raw.fault({ kind: 'reset', method: 'getMe', count: 1 });
  b.sandbox.raw.fault({ kind: 'retry-after', method: 'getMe', retryAfter: 1, count: 1 });
  b.sandbox.raw.fault({ kind: 'hang', method: 'getMe', count: 1 });
  const run = await b.polling([]);
  const first = b.sandbox.methods().findIndex((name) => name !== 'getme');
  assert.equal(first, 5, 'asked until it was answered, and nothing else before');
  assertNoToken(run.stderr(), b.token);
});

/** A server of its own for one test; its root. */
const serve = async (t: TestContext, answer: http.RequestListener): Promise<string> =>
  `http://127.0.0.1:${await listen(t, http.createServer(answer))}`;

xit('an API that echoes the path, or says ok to everything with anything: no token shown, no bug of ours', async (b) => {
  for (const [status, code] of [
    [404, 77],
    [401, 77],
    [400, 69],
  ] as const) {
    const root = await serve(b.t, (request, response) => {
      response.writeHead(status);
      const description = `no \x1b[31m such path: ${request.url}\nfake line`;
      response.end(JSON.stringify({ ok: false, error_code: status, description }));
    });
    const env = { ...b.env, TELEGRAM_API_ROOT: root, ASSISTANT_ADMIN_TELEGRAM_ID: '1' };
    const answers = [await b.exits(code, START, { env })];
    for (const command of ['status', 'status --json', 'ping']) answers.push(await b.run(command, { env }));
    for (const { text } of answers) {
      assertNoToken(text, b.token);
      assert.doesNotMatch(text, /\x1b|^fake line/m);
    }
  }
  for (const result of [undefined, { id: 1, username: 'red\x1b[31m\nline' }, 'yes']) {
    const root = await serve(b.t, (_request, response) => response.end(JSON.stringify({ ok: true, result })));
    const env = { ...b.env, TELEGRAM_API_ROOT: root };
    const run = b.start([], { env });
    await run.waitFor(/an answer that is none to getMe; trying again/);
    await run.stop();
    await b.exits(3, 'status', { env });
  }
});

const waits = (stderr: string) => stderr.split('the next worker is started once it answers').length - 1;

// Without the gateway the first exit shows it: what a worker meets is not seen there.
for (const [args, rounds] of [
  [[], 4],
  [['--no-gateway'], 1],
] as [string[], number][])
  it(`an outage is no crash loop: a worker that ends where getMe fails waits for the Bot API, and is back ${args.join('')}`, async (b) => {
    const network = await openNetwork(b.t, b.sandbox.port);
    b.env.TELEGRAM_API_ROOT = network.root;
    // Three rounds would be a crash loop, and the back-off a minute.
    const limits = ['--max-restarts', '2/5m', '--backoff', '600s,900s'];
    const run = await b.polling([...args, ...limits, '--', ...node('getme-first.mjs')]);
    for (let round = 1; round <= rounds; round++) {
      await network.down();
      process.kill((await b.status()).worker?.pid ?? -1, 'SIGKILL');
      await until('the wait for the Bot API', () => waits(run.stderr()) >= round, run);
      const status = await b.status();
      assert.equal(status.state, 'backoff');
      assert.match(problemOf(status, 'api-unreachable') ?? '', /once it answers/);
      assert.equal(problemOf(status, 'crashing'), null);
      const before = starts(b.journal()).length;
      await staysTrue(
        'said once, and nobody is started in vain',
        1_000,
        () => waits(run.stderr()) === round && starts(b.journal()).length === before,
        run.seen,
      );
      await network.up();
      await until('the next worker', () => starts(b.journal()).length > before, run);
      await until('status to count its poll', async () => (await b.status()).healthy, run);
    }
    assert.doesNotMatch(run.stderr(), /crash loop/);
    assertNeverTwo(b);
    if (args.length > 0) return;
    // A stop does not wait for it.
    await network.down();
    process.kill((await b.status()).worker?.pid ?? -1, 'SIGKILL');
    await until('the wait', () => waits(run.stderr()) > rounds, run);
    await run.stop();
  });

/** An API whose getWebhookInfo answers, with a webhook set, when the test says so. */
async function slowWebhook(t: TestContext, b: Bed) {
  const upstream = await openUpstream(t, b.botId);
  const result = { url: 'https://example.com/hook', has_custom_certificate: false, pending_update_count: 3 };
  const waiting: http.ServerResponse[] = [];
  upstream.on('getWebhookInfo', (response) => void waiting.push(response));
  b.env.TELEGRAM_API_ROOT = upstream.root;
  return {
    asked: () => upstream.of('getWebhookInfo').length > 0,
    answer: () => {
      for (const it of waiting.splice(0)) it.end(JSON.stringify({ ok: true, result }));
    },
    deleted: () => upstream.of('deleteWebhook').length,
  };
}

xit('a question that nobody asks any more does nothing: Ctrl-C, or the lease lost, while the webhook is looked at', async (b) => {
  const slow = await slowWebhook(b.t, b);
  const run = b.start('--drop-pending');
  await until('the look at the webhook', slow.asked, run);
  run.signal('SIGINT');
  await run.waitFor(/\[stop\] stopping/);
  slow.answer();
  await run.ends(0);
  assert.deepEqual([starts(b.journal()).length, slow.deleted()], [0, 0]);

  const engine = await openEngine('redis');
  b.t.after(() => engine.close());
  const two = await leaseBed(b.t, engine);
  const later = await slowWebhook(b.t, two);
  await two.vacate();
  const holder = two.start([...two.fast, '--drop-pending', ...POLITE]);
  await until('the look at the webhook', later.asked, holder);
  await two.another({ epoch: ((await two.record())?.epoch ?? 0) + 1 });
  await stateIs(two, 'standby', holder);
  later.answer();
  await staysTrue('nothing is deleted', 700, () => later.deleted() === 0, holder.seen);
  assert.equal(starts(two.journal()).length, 0);
});

it('webhook: --keep-webhook refuses with 78 where one is set, names the host, leaves it, and starts where none is', async (b) => {
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  const { stderr } = await b.exits(78, ['start', '--keep-webhook', ...POLITE]);
  assert.match(stderr, /hooks\.example\.com/);
  assert.doesNotMatch(stderr, /4711/);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/s3cret-path-4711');
  assert.deepEqual(b.journal(), []);
  await b.sandbox.call('deleteWebhook');
  await b.polling('--keep-webhook');
});

for (const set of [true, false])
  it(`webhook ${set ? 'set' : 'not set'}: what waits is dropped with --drop-pending, and only then`, async (b) => {
    if (set) await b.sandbox.setWebhook('https://hooks.example.com/a');
    const ids = Array.from({ length: 120 }, (_, index) => b.sandbox.text(`m${index}`));
    const run = await b.polling();
    await until('all of them', () => ids.every((id) => handled(b.journal()).has(id)), run);
    for (const { params } of b.sandbox.requests())
      assert.doesNotMatch(params.drop_pending_updates ?? 'false', /^(true|1|yes)$/i);
    await b.exits(0, 'stop');
    if (set) await b.sandbox.setWebhook('https://hooks.example.com/a');
    const old = b.sandbox.text('old');
    const last = await b.polling('--drop-pending');
    assert.match(last.stderr(), /^\[webhook\] .*; waiting updates dropped, as asked$/m);
    await b.serves(last);
    await last.waitFor(/^\[poll\] \d+ updates? received$/m);
    assert.equal(handled(b.journal()).has(old), false, 'the old one was dropped');
  });

it('webhook: where the worker ends while it is being cleared, it is told of all the same', async (b) => {
  const ends = `'${process.execPath}' '${node('ends-on-409.mjs')[1]}'; sleep 0.7; exit 1`;
  const run = await b.polling(['--no-gateway', '--', 'sh', '-c', ends]);
  // So soon after a look the words of a worker bring no other.
  await staysTrue('the worker polls', 2_100, () => run.ended() === null);
  b.sandbox.raw.fault({ kind: 'slow', method: 'deleteWebhook', ms: 1_500, count: 1 });
  await b.sandbox.setWebhook('https://thief.example.com/x');
  await run.waitFor(/somebody set a webhook while we poll: https:\/\/thief\.example\.com\/.*; cleared again/);
  await b.serves(run);
});

xit('webhook: without the gateway one that ends the worker is cleared before the next spawn; a failing deleteWebhook is repeated', async (b) => {
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  b.sandbox.raw.fault({ kind: 'html', method: 'deleteWebhook', status: 502, count: 2 });
  b.sandbox.raw.fault({ kind: 'retry-after', method: 'getWebhookInfo', retryAfter: 1, count: 1 });
  const ends = ['--no-gateway', '--backoff', '10ms,50ms', '--', ...node('ends-on-409.mjs')];
  const run = await b.polling(ends);
  // A worker that ends at a 409 would have ended, had the webhook still been set.
  assert.ok(
    b.journal().every(({ ev }) => ev !== 'conflict'),
    run.seen(),
  );
  await b.sandbox.setWebhook('https://thief.example.com/x');
  await b.serves(run);
  assert.equal(new Set(polledBy(b, 'ends-on-409.mjs')).size, 2);
  assert.equal((await b.sandbox.webhookInfo()).url, '');
  await run.waitFor(/thief\.example\.com/);
  assertNoToken(run.stderr(), b.token);
});
