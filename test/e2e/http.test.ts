// --http: health, readiness and metrics of a real run in every state, and who gets the port.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { openEngine } from '../support/engines.ts';
import { checkWithPromtool, code, get, httpPort, sampleOf } from '../support/http.ts';
import { assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { storeOf, write } from '../support/lease-bench.ts';
import { openNetwork } from '../support/network.ts';
import { freePort, legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const DIST = join(import.meta.dirname, '../../dist');
const POLITE = ['--', ...node('polite.mjs')];

test('http: a polling run is alive, ready and measured; nothing of it holds a token', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  legacyPoller(b, 'production_polling_bot.py');
  await until('the stray', () => polledBy(b, 'production_polling_bot.py').length > 0);
  const run = await b.polling(['--http', '0', '--stray', 'production_polling_bot', ...POLITE]);
  // The stray polls, too: that alone says nothing of the run.
  await run.waitFor(/^\[bot\] .*\n/m);
  assert.match(run.stderr().split('\n')[0] ?? '', new RegExp(`${b.botId}`), 'the first line names the bot');
  const port = await httpPort(run);
  await until('readiness', async () => (await code(port, '/readyz')) === 200, { seen: run.seen });
  assert.equal((await get(port, '/healthz')).body, 'ok\n');
  // Not before the stray has gone, which might have taken it.
  b.sandbox.text('hello');
  const metrics = await until('the update to be counted', async () => {
    const { body } = await get(port, '/metrics');
    return sampleOf(body, 'singlepoll_updates_total') === 1 ? body : null;
  });
  checkWithPromtool(metrics);
  assert.equal(sampleOf(metrics, 'singlepoll_up'), 1);
  assert.equal(sampleOf(metrics, 'singlepoll_state{state="polling"}'), 1);
  assert.equal(sampleOf(metrics, 'singlepoll_strays_stopped_total'), 1);
  assert.equal(sampleOf(metrics, 'singlepoll_webhooks_cleared_total'), 1);
  assert.equal(sampleOf(metrics, 'singlepoll_worker_restarts_total'), 0);
  const age = Date.now() / 1000 - (sampleOf(metrics, 'singlepoll_last_poll_success_timestamp_seconds') ?? 0);
  assert.ok(age >= 0 && age < 60, String(age));
  const startAge = Date.now() / 1000 - (sampleOf(metrics, 'process_start_time_seconds') ?? 0);
  assert.ok(startAge > 0 && startAge < 60, String(startAge));

  await b.run(['restart']);
  await until('the restart in the metrics', async () => {
    const { body } = await get(port, '/metrics');
    return sampleOf(body, 'singlepoll_worker_restarts_total') === 1;
  });
  const page = await get(port, '/');
  assert.match(page.body, /restart/);
  for (const text of [page.body, metrics]) assertNoToken(text, b.token);

  const head = await get(port, '/', { method: 'HEAD' });
  assert.deepEqual([head.status, head.body], [200, '']);
  assert.ok(Number(head.headers['content-length']) > 1000);
  assert.equal((await get(port, '/readyz', { method: 'POST' })).status, 405);
  assert.equal((await get(port, '/', { headers: { host: 'evil.example' } })).status, 421);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0, run.seen());
  assert.equal(await code(port, '/healthz'), 0, 'the port ends with the supervisor');
});

test('http: open at once, while the Bot API is out of reach; alive, not ready', async (t) => {
  const b = await bed(t);
  const network = await openNetwork(t, b.sandbox.port);
  await network.down();
  const port = await freePort();
  const env = { ...b.env, TELEGRAM_API_ROOT: network.root, SINGLEPOLL_HTTP: `:${port}` };
  const run = b.cli(['start', ...POLITE], { env });
  await until('the port', async () => (await code(port, '/healthz')) === 200, { seen: run.seen });
  assert.equal(starts(b.journal()).length, 0);
  const before = await get(port, '/readyz');
  assert.deepEqual([before.status, before.body], [503, 'not ready: starting\n']);
  const { body } = await get(port, '/metrics');
  checkWithPromtool(body);
  assert.equal(sampleOf(body, 'singlepoll_up'), 0);
  assert.match((await get(port, '/')).body, /starting/);
  await network.up();
  await until('readiness', async () => (await code(port, '/readyz')) === 200, { ms: 30_000, seen: run.seen });
});

test('http: standing by on one machine: ready by default, or not, by option; and then it polls', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(POLITE);
  const waits = (...more: string[]) => b.cli(['start', '--wait', '--http', '0', ...more, ...POLITE]);
  const ready = waits();
  const unready = waits('--ready-in-standby', 'no');
  const ports = [await httpPort(ready), await httpPort(unready)];
  for (const [port, status] of [
    [ports[0], 200],
    [ports[1], 503],
  ] as const)
    await until(`${status} in standby`, async () => {
      const answer = await get(port ?? 0, '/readyz');
      return answer.status === status && answer.body.includes('standing by');
    });
  const { body } = await get(ports[0] ?? 0, '/metrics');
  assert.equal(sampleOf(body, 'singlepoll_state{state="standby"}'), 1);
  assert.equal(sampleOf(body, 'singlepoll_up'), 0);
  ready.signal('SIGTERM');
  assert.equal((await ready.exit()).code, 0);
  holder.signal('SIGTERM');
  await until('the one that waited to poll', async () => (await code(ports[1] ?? 0, '/readyz')) === 200, {
    ms: 30_000,
    seen: unready.seen,
  });
  assertNeverTwo(b);
});

test('http: a lease that another machine holds: standing by, then taken over, in the metrics', async (t) => {
  const engine = await openEngine('redis');
  t.after(() => engine.close());
  const b = await bed(t);
  const store = await storeOf(t, engine.url(), b.botId);
  await write(store, { holder: 'elsewhere', host: 'box-a', pid: 4711, epoch: 5 });
  const run = b.cli(['start', '--http', '0', '--lease', engine.url(), '--lease-profile', 'fast', ...POLITE]);
  const port = await httpPort(run);
  const role = (name: string) =>
    until(
      `the role ${name}`,
      async () => {
        const { body } = await get(port, '/metrics');
        return sampleOf(body, `singlepoll_lease_role{role="${name}"}`) === 1 ? body : null;
      },
      { ms: 40_000, everyMs: 100, seen: run.seen },
    );
  const waiting = await role('standby');
  checkWithPromtool(waiting);
  assert.equal(sampleOf(waiting, 'singlepoll_up'), 0);
  assert.equal(await code(port, '/readyz'), 200);
  const leading = await role('holder');
  checkWithPromtool(leading);
  assert.ok((sampleOf(leading, 'singlepoll_lease_epoch') ?? 0) > 5);
  const left = (sampleOf(leading, 'singlepoll_lease_expiry_timestamp_seconds') ?? 0) - Date.now() / 1000;
  assert.ok(left > 0 && left <= 6.5, String(left));
  await until('it polls', async () => /the worker polls/.test((await get(port, '/readyz')).body), {
    ms: 20_000,
    seen: run.seen,
  });
  assert.match((await get(port, '/')).body, /<dt>lease<\/dt><dd>ours/);
});

test('http: deploy mode is ready while its worker runs', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, POLLING_ENABLED: '0' };
  const run = b.cli(['start', '--http', '0', '--backoff', '20s,30s', ...POLITE], { env });
  const port = await httpPort(run);
  await until('readiness', async () => (await code(port, '/readyz')) === 200, { seen: run.seen });
  const { body } = await get(port, '/metrics');
  checkWithPromtool(body);
  assert.equal(sampleOf(body, 'singlepoll_up'), 1);
  assert.equal(sampleOf(body, 'singlepoll_state{state="disabled"}'), 1);
  assert.equal(sampleOf(body, 'singlepoll_polls_total'), null, 'nobody polls: nothing is counted');
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

test('http: a port that is taken: 78, named with who has it; no worker, nothing touched', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  for (const env of [b.env, { ...b.env, POLLING_ENABLED: '0' }]) {
    const result = await b.run(['start', '--http', String(port), ...POLITE], { env });
    assert.equal(result.code, 78, result.stderr);
    assert.match(result.stderr, new RegExp(`port ${port} .*taken by pid ${process.pid}\\b`));
    assert.match(result.stderr, /→ singlepoll start --http/);
    assert.doesNotMatch(result.stderr, /\n\s+at /, 'no stack trace');
  }
  assert.equal(starts(b.journal()).length, 0);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/a');
  const elsewhere = await b.run(['start', '--http', '203.0.113.7:8080', ...POLITE]);
  assert.equal(elsewhere.code, 78);
  assert.match(elsewhere.stderr, /203\.0\.113\.7:8080.*no such address/);
  for (const bad of ['abc', '65536', 'bot.example.com:80', '']) {
    const result = await b.run(['start', '--http', bad, ...POLITE]);
    assert.equal(result.code, 78, bad);
    assert.match(result.stderr, /--http/);
  }
});

test('http: two starts with the same port: the second is told of the supervisor, a take-over gets both', async (t) => {
  const b = await bed(t);
  const port = await freePort();
  const args = ['--http', String(port), ...POLITE];
  const first = await b.polling(args);
  const second = await b.run(['start', ...args]);
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`pid ${first.pid}\\b`));
  const third = await b.polling(['--takeover', ...args]);
  assert.equal((await first.exit()).code, 0, first.seen());
  await until('the page of the new one', async () =>
    (await get(port, '/').catch(() => null))?.body.includes(`pid ${third.pid},`),
  );
  await until('readiness', async () => (await code(port, '/readyz')) === 200, { seen: third.seen });
  assertNeverTwo(b);
});

test('http: seen from outside only when asked, and then without arguments and folders', async (t) => {
  const b = await bed(t);
  const inside = await b.polling(['--http', '[::1]:0', ...POLITE, '--password=hunter2']);
  const port = await httpPort(inside);
  assert.equal(await code(port, '/healthz'), 0, 'not on IPv4');
  const own = await get(port, '/', { host: '::1' });
  assert.ok(
    own.body.includes('--password=hunter2'),
    'who is on this machine sees it in the process list, too',
  );
  inside.signal('SIGTERM');
  await inside.exit();
  const outside = await b.polling(['--http', '0.0.0.0:0', ...POLITE, '--password=hunter2']);
  assert.match(outside.stderr(), /\[http\] open at http:\/\/0\.0\.0\.0:\d+.*whoever reaches this port/);
  const open = await httpPort(outside);
  const page = await get(open, '/', { headers: { host: 'bot.example.com' } });
  assert.equal(page.status, 200);
  for (const secret of ['hunter2', b.project, 'polite.mjs']) assert.ok(!page.body.includes(secret), secret);
});

test('http: nothing listens, and nothing is loaded for it, where it was not asked for', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, NODE_DEBUG: 'module' };
  const bundles = readdirSync(DIST).filter((name) => name.startsWith('service-'));
  const [bundle = ''] = bundles.filter((name) => readFileSync(join(DIST, name), 'utf8').includes('/healthz'));
  const loaded = (text: string) => text.includes(bundle);
  assert.notEqual(bundle, '');
  const without = await b.polling(POLITE, { env });
  assert.equal(loaded(without.stderr()), false);
  without.signal('SIGTERM');
  await without.exit();
  const dry = await b.run(['start', '--dry-run', '--http', '0', ...POLITE], { env });
  assert.equal(loaded(dry.stderr), false, 'a dry run opens no port');
  const asked = await b.polling(['--http', '0', ...POLITE], { env });
  assert.equal(loaded(asked.stderr()), true, 'this test would see it');
});
