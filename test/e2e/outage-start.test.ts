// The Bot API goes away and comes back: no crash loop for workers that end without it, no outage that is over, and nothing
// is done for a question that nobody asks any more.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { problemOf } from '../support/gateway.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { leaseBed, stateIs } from '../support/lease-bed.ts';
import { openNetwork } from '../support/network.ts';
import { type Handler, openUpstream } from '../support/upstream.ts';
import { staysTrue, until } from '../support/wait.ts';

const failed = (b: Bed) => b.journal().filter(({ ev }) => (ev as string) === 'no getMe').length;

describe('outages and starts', () => {
  // Without the gateway the first exit shows it: what a worker meets is not seen there.
  for (const [args, rounds] of [
    [[], 4],
    [['--no-gateway'], 1],
  ] as [string[], number][]) {
    test(`a worker that ends where getMe fails: waits for the Bot API, is not counted, is back within seconds ${args.join('')}`, async (t) => {
      const b = await bed(t);
      const network = await openNetwork(t, b.sandbox.port);
      b.env.TELEGRAM_API_ROOT = network.root;
      const limits = ['--max-restarts', '2/5m', '--backoff', '60s,90s'];
      const run = await b.polling([...args, ...limits, '--', ...node('getme-first.mjs')]);
      await network.down();
      // Three rounds would be a crash loop, and the back-off a minute.
      for (let round = 1; round <= rounds; round++) {
        process.kill((await b.status()).worker?.pid ?? starts(b.journal()).at(-1)!.pid, 'SIGKILL');
        await until('the wait for the Bot API', () => waits(run.stderr()) >= round, {
          ms: 30_000,
          seen: run.seen,
        });
        const status = await b.status();
        assert.equal(status.state, 'backoff');
        assert.match(problemOf(status, 'api-unreachable') ?? '', /once it answers/);
        assert.equal(problemOf(status, 'crashing'), null);
        const said = waits(run.stderr());
        await staysTrue('said once', 1_500, () => waits(run.stderr()) === said, run.seen);
        const before = starts(b.journal()).length;
        await network.up();
        await until('the next worker', () => starts(b.journal()).length > before, {
          ms: 6_000,
          seen: run.seen,
        });
        await until('status to count its poll', async () => (await b.status()).healthy, {
          ms: 15_000,
          seen: run.seen,
        });
        if (round < rounds) await network.down();
      }
      assert.doesNotMatch(run.stderr(), /crash loop/);
      assertNeverTwo(b);
    });
  }

  test('while the Bot API is away no worker is started again and again', async (t) => {
    const b = await bed(t);
    const network = await openNetwork(t, b.sandbox.port);
    b.env.TELEGRAM_API_ROOT = network.root;
    const run = await b.polling(['--backoff', '10ms,20ms', '--', ...node('getme-first.mjs')]);
    await network.down();
    process.kill((await b.status()).worker?.pid ?? -1, 'SIGKILL');
    await until('the wait', () => waits(run.stderr()) > 0, { ms: 20_000, seen: run.seen });
    const before = failed(b);
    await staysTrue('no further start', 4_000, () => failed(b) === before, run.seen);
    assert.ok(before <= 2, `${before} starts in vain`);
    // A stop does not wait for it.
    run.signal('SIGTERM');
    assert.equal((await run.exit(4_000)).code, 0, run.seen());
  });

  test('a worker that ends where the Bot API answers is a crash loop all the same', async (t) => {
    const b = await bed(t);
    // The worker's own getMe fails, and only that: what the supervisor asks is answered.
    const upstream = await openUpstream(t, b.botId);
    upstream.on('getMe', (response, seen) => {
      const mine = seen.headers.some(([, value]) => value.includes('sp-fixture'));
      response.writeHead(mine ? 502 : 200, { 'Content-Type': 'application/json' });
      response.end(
        mine
          ? '<html>bad gateway</html>'
          : JSON.stringify({
              ok: true,
              result: { id: b.botId, is_bot: true, first_name: 'U', username: 'u' },
            }),
      );
    });
    b.env.TELEGRAM_API_ROOT = upstream.root;
    const run = b.cli([
      'start',
      ...['--max-restarts', '3/5m', '--backoff', '10ms,20ms'],
      '--',
      ...node('getme-first.mjs'),
    ]);
    assert.equal((await run.exit(30_000)).code, 1, run.seen());
    assert.match(run.stderr(), /crash loop: 4 exits/);
    assert.equal(failed(b), 4);
  });

  test('a getWebhookInfo that fails shows no outage while polls succeed', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...node('poll-every.mjs', '1', '0')]);
    b.sandbox.raw.fault({ kind: 'html', method: 'getWebhookInfo', count: 1 });
    // A conflict with a webhook makes it look at once.
    b.sandbox.raw.fault({ kind: 'status', status: 409, method: 'getUpdates', count: 1 });
    process.kill((await b.status()).worker?.pid ?? -1, 'SIGKILL');
    await until('the next worker', () => starts(b.journal()).length === 2, { seen: run.seen });
    await until('its polls', async () => (await b.status()).state === 'polling', { seen: run.seen });
    await staysTrue(
      'no outage',
      8_000,
      async () => problemOf(await b.status(), 'api-unreachable') === null,
      run.seen,
    );
    assert.doesNotMatch(run.stderr(), /out of reach/);
  });
});

const waits = (stderr: string) => stderr.split('the next worker is started once it answers').length - 1;

describe('abandoned questions', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  /** Answers getWebhookInfo, with a webhook set, when the test says so. */
  function slowWebhook(): { handler: Handler; answer: () => void; asked: () => number } {
    const waiting: (() => void)[] = [];
    let asked = 0;
    const info = { url: 'https://example.com/hook', has_custom_certificate: false, pending_update_count: 3 };
    return {
      handler(response) {
        asked += 1;
        waiting.push(() => {
          response.writeHead(200, { 'Content-Type': 'application/json' });
          response.end(JSON.stringify({ ok: true, result: info }));
        });
      },
      answer() {
        for (const it of waiting.splice(0)) it();
      },
      asked: () => asked,
    };
  }

  test('the lease is lost while the webhook is looked at: nothing is deleted, nothing is dropped', async (t) => {
    const b = await leaseBed(t, engine);
    const upstream = await openUpstream(t, b.botId);
    const slow = slowWebhook();
    upstream.on('getWebhookInfo', slow.handler);
    b.env.TELEGRAM_API_ROOT = upstream.root;
    await b.vacate();
    const run = b.cli(['start', ...b.fast, '--drop-pending', '--', ...node('polite.mjs')]);
    await until('the look at the webhook', () => slow.asked() > 0, { ms: 20_000, seen: run.seen });
    const mine = await b.record();
    await b.another({ epoch: (mine?.epoch ?? 0) + 1 });
    await stateIs(b, 'standby', run);
    slow.answer();
    await staysTrue('nothing is deleted', 1_500, () => upstream.of('deleteWebhook').length === 0, run.seen);
    assert.equal(starts(b.journal()).length, 0);
    run.signal('SIGTERM');
    await run.exit();
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} while the webhook is looked at: nothing is deleted, and the end does not wait`, async (t) => {
      const b = await bed(t);
      const upstream = await openUpstream(t, b.botId);
      const slow = slowWebhook();
      upstream.on('getWebhookInfo', slow.handler);
      b.env.TELEGRAM_API_ROOT = upstream.root;
      const run = b.cli(['start', '--drop-pending', '--', ...node('polite.mjs')]);
      await until('the look at the webhook', () => slow.asked() > 0, { ms: 20_000, seen: run.seen });
      run.signal(signal);
      await run.waitFor(/\[stop\] stopping/);
      slow.answer();
      assert.equal((await run.exit(5_000)).code, 0, run.seen());
      assert.equal(starts(b.journal()).length, 0);
      assert.equal(upstream.of('deleteWebhook').length, 0);
    });
  }
});
