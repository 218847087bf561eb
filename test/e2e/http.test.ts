// --http: health, readiness and metrics of a real run in every state, who gets the port, and readers that are slow, many, huge or broken:
// supervision goes on, and a health check gets through.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { POLITE } from '../support/bed.ts';
import { openEngine } from '../support/engines.ts';
import { checkWithPromtool, code, get, httpPort, sampleOf } from '../support/http.ts';
import { assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { it, test, xit } from '../support/kinds.ts';
import { leaseBed } from '../support/lease-bed.ts';
import { allPids, commandOf } from '../support/proc.ts';
import { openNetwork } from '../support/proxy.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const DIST = join(import.meta.dirname, '../../dist');
const metricsOf = async (port: number): Promise<string> => (await get(port, '/metrics')).body;
/** A series gets a value; gives all metrics of that moment. */
const sample = (port: number, series: string, value: number, seen?: { seen: () => string }) =>
  until(
    `${series} to be ${value}`,
    async () => {
      const text = await metricsOf(port);
      return sampleOf(text, series) === value ? text : null;
    },
    { ms: 40_000, everyMs: 50, ...seen },
  );
const answers = (port: number, path: string, status: number, seen?: { seen: () => string }) =>
  until(`${status} at ${path}`, async () => (await code(port, path)) === status, { ms: 30_000, ...seen });

it('a polling run is alive, ready and measured; nothing of it holds a token; the page tells of a restart', async (b) => {
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const run = await b.polling('--http 0');
  const port = await httpPort(run);
  await answers(port, '/readyz', 200, run);
  assert.equal((await get(port, '/healthz')).body, 'ok\n');
  b.sandbox.text('hello');
  const metrics = await sample(port, 'singlepoll_updates_total', 1, run);
  checkWithPromtool(metrics);
  for (const [series, value] of Object.entries({
    singlepoll_up: 1,
    'singlepoll_state{state="polling"}': 1,
    singlepoll_webhooks_cleared_total: 1,
    singlepoll_worker_restarts_total: 0,
  }))
    assert.equal(sampleOf(metrics, series), value, series);
  for (const series of ['singlepoll_last_poll_success_timestamp_seconds', 'process_start_time_seconds']) {
    const age = Date.now() / 1000 - (sampleOf(metrics, series) ?? 0);
    assert.ok(age >= 0 && age < 120, `${series} ${age}`);
  }
  await b.exits(0, 'restart');
  await sample(port, 'singlepoll_worker_restarts_total', 1, run);
  const page = await get(port, '/');
  assert.match(page.body, /restart/);
  for (const text of [page.body, metrics]) assertNoToken(text, b.token);
  const head = await get(port, '/', { method: 'HEAD' });
  assert.deepEqual([head.status, head.body, Number(head.headers['content-length']) > 1000], [200, '', true]);
  assert.equal((await get(port, '/readyz', { method: 'POST' })).status, 405);
  assert.equal((await get(port, '/', { headers: { host: 'evil.example' } })).status, 421);
  await run.stop();
  assert.equal(await code(port, '/healthz'), 0, 'the port ends with the supervisor');
});

it('open at once, while the Bot API is out of reach: alive, not ready', async (b) => {
  const network = await openNetwork(b.t, b.sandbox.port);
  await network.down();
  const port = await freePort();
  const run = b.start([], {
    env: { ...b.env, TELEGRAM_API_ROOT: network.root, SINGLEPOLL_HTTP: `:${port}` },
  });
  await answers(port, '/healthz', 200, run);
  assert.equal(starts(b.journal()).length, 0);
  const before = await get(port, '/readyz');
  assert.deepEqual([before.status, before.body], [503, 'not ready: starting\n']);
  assert.equal(sampleOf(await metricsOf(port), 'singlepoll_up'), 0);
  await network.up();
  await answers(port, '/readyz', 200, run);
});

it('standing by on one machine: ready by default, or not, by option; and then it polls', async (b) => {
  const holder = await b.polling();
  const ready = b.start('--wait --http 0');
  const unready = b.start('--wait --http 0 --ready-in-standby no');
  const [one, two] = [await httpPort(ready), await httpPort(unready)];
  await answers(one, '/readyz', 200);
  await answers(two, '/readyz', 503);
  for (const port of [one, two])
    await until('standing by', async () => /standing by/.test((await get(port, '/readyz')).body), unready);
  const body = await sample(one, 'singlepoll_state{state="standby"}', 1);
  assert.equal(sampleOf(body, 'singlepoll_up'), 0);
  await ready.stop();
  holder.signal('SIGTERM');
  await answers(two, '/readyz', 200, unready);
  assertNeverTwo(b);
});

test('a lease that another machine holds: standing by, then taken over, in the metrics; deploy mode is ready, and counts nothing', async (t) => {
  const engine = await openEngine('redis');
  t.after(() => engine.close());
  const b = await leaseBed(t, engine);
  const other = await b.another();
  const run = b.start(['--http', '0', ...b.fast, ...POLITE]);
  const port = await httpPort(run);
  const waiting = await sample(port, 'singlepoll_lease_role{role="standby"}', 1, run);
  assert.equal(sampleOf(waiting, 'singlepoll_up'), 0);
  assert.equal(await code(port, '/readyz'), 200);
  await other.free();
  const freedS = Date.now() / 1000;
  const leading = await sample(port, 'singlepoll_lease_role{role="holder"}', 1, run);
  const expiryS = sampleOf(leading, 'singlepoll_lease_expiry_timestamp_seconds') ?? 0;
  assert.ok(expiryS > freedS && expiryS <= Date.now() / 1000 + 6.5, `${expiryS} after ${freedS}`);
  for (const text of [waiting, leading]) checkWithPromtool(text);
  assert.ok((sampleOf(leading, 'singlepoll_lease_epoch') ?? 0) > other.rec.epoch);
  await until('it polls', async () => /the worker polls/.test((await get(port, '/readyz')).body), run);
  assert.match((await get(port, '/')).body, /<dt>lease<\/dt><dd>ours/);

  const deployed = b.start('--http 0', { env: { ...b.env, POLLING_ENABLED: '0' } });
  const second = await httpPort(deployed);
  await answers(second, '/readyz', 200, deployed);
  const body = await metricsOf(second);
  checkWithPromtool(body);
  assert.equal(sampleOf(body, 'singlepoll_state{state="disabled"}'), 1);
  assert.equal(sampleOf(body, 'singlepoll_polls_total'), null, 'nobody polls: nothing is counted');
});

it('two starts with the same port: the second is told of the supervisor, a take-over gets both', async (b) => {
  const port = await freePort();
  const first = await b.polling(`--http ${port}`);
  const { stderr } = await b.exits(75, ['start', '--http', String(port), ...POLITE]);
  assert.match(stderr, new RegExp(`pid ${first.pid}\\b`));
  const third = await b.polling(`--takeover --http ${port}`);
  await first.ends(0);
  const isNew = async () => (await get(port, '/').catch(() => null))?.body.includes(`pid ${third.pid},`);
  await until('the page of the new one', isNew, third);
  await answers(port, '/readyz', 200, third);
});

it('seen from outside only when asked, and then without arguments and folders; not loaded where it was not asked for', async (b) => {
  const env = { ...b.env, NODE_DEBUG: 'module' };
  const bundles = readdirSync(DIST).filter((name) => name.startsWith('service-'));
  const bundle = bundles.find((name) => readFileSync(join(DIST, name), 'utf8').includes('/healthz')) ?? '?';
  const secret = [...POLITE, '--password=hunter2'];
  const without = await b.polling([], { env });
  assert.ok(!without.stderr().includes(bundle));
  await b.exits(0, 'stop');
  const inside = await b.polling(['--http', '[::1]:0', ...secret], { env });
  assert.ok(inside.stderr().includes(bundle), 'this test would see it');
  const port = await httpPort(inside);
  assert.equal(await code(port, '/healthz'), 0, 'not on IPv4');
  // Who is on this machine sees it in the process list, too.
  assert.ok((await get(port, '/', { host: '::1' })).body.includes('--password=hunter2'));
  await b.exits(0, 'stop');
  const outside = await b.polling(['--http', '0.0.0.0:0', ...secret]);
  assert.match(outside.stderr(), /\[http\] open at http:\/\/0\.0\.0\.0:\d+.*whoever reaches this port/);
  const page = await get(await httpPort(outside), '/', { headers: { host: 'bot.example.com' } });
  assert.equal(page.status, 200);
  for (const it of ['hunter2', b.project, 'polite.mjs']) assert.ok(!page.body.includes(it), it);
});

xit('crowds that never ask, heads that are huge, endless or no HTTP, a flood, a stop: the worker is served, a check gets through', async (b) => {
  const run = await b.polling('--http 0');
  const port = await httpPort(run);
  const dial = (text: string): Socket => {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    b.t.after(() => socket.destroy());
    socket.write(text);
    return socket;
  };
  const answerOf = (text: string): Promise<string> =>
    new Promise((resolve) => {
      let answer = '';
      const socket = dial(text).setEncoding('latin1');
      socket.on('data', (chunk: string) => {
        answer += chunk;
      });
      socket.on('close', () => resolve(answer));
    });

  const idle = Array.from({ length: 400 }, () => dial('GET /metrics HTTP/1.1\r\nX-Slow: '));
  const drip = dial('GET /metrics HTTP/1.1\r\nX-Drip: ');
  const dripping = setInterval(() => drip.write('x'), 250);
  b.t.after(() => clearInterval(dripping));
  await until('most of the crowd to be sent away', () => idle.filter((it) => it.closed).length >= 300);
  for (let i = 0; i < 5; i++) assert.equal(await code(port, '/healthz'), 200);
  await b.serves(run);
  await until('the rest to be sent away for its slowness', () => [...idle, drip].every((it) => it.closed));

  const GET = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n';
  for (const [text, expected] of [
    [`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(1_000_000)}\r\n\r\n`, /^(HTTP\/1\.1 431 |$)/],
    [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, /^HTTP\/1\.1 431 /],
    ['\x16\x03\x01\x02\x00\x01garbage\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nabc', /^HTTP\/1\.1 405 /],
    [`${GET}Transfer-Encoding: chunked\r\n\r\n5\r\n`, /^HTTP\/1\.1 200 /],
    // Without a Host, as probes of load balancers do.
    ['GET /healthz HTTP/1.0\r\n\r\n', /^HTTP\/1\.1 200 /],
    // One connection is one answer.
    [`${GET}\r\n`.repeat(2_000), /^HTTP\/1\.1 200 (?![\s\S]*HTTP\/1\.1 200 )/],
  ] as const)
    assert.match(await answerOf(text), expected, text.slice(0, 80));

  const paths = ['/', '/metrics', '/readyz', '/?refresh=off'];
  const flood = async (path: string) => {
    let good = 0;
    for (let i = 0; i < 100; i++) if ((await code(port, path)) === 200) good += 1;
    return good;
  };
  const floods = Promise.all([...paths, ...paths, ...paths].map(flood));
  await b.serves(run);
  const good = (await floods).reduce((sum, one) => sum + one, 0);
  assert.ok(good > 1_000, `${good} answers`);
  assert.equal(starts(b.journal()).length, 1, 'the first worker');
  const readers = Array.from({ length: 20 }, () => dial('GET / HTTP/1.1\r\n'));
  await until('them to be connected', () => readers.every((it) => it.readyState === 'open'));
  await run.stop();
});

xit('history: across ends and kills, on the page and in status; a disk that hangs or is full matters to nobody', async (b) => {
  const file = join(b.stateDir, String(b.botId), 'history.json');
  const none = await b.exits(3, 'status --history');
  assert.match(none.stderr, /no history is kept of bot \d+/);
  assert.match(
    (await b.exits(64, 'status --history 99d')).stderr,
    /it is longer than 7d; accepted: a time from 1m to 7d/,
  );
  await b.exits(64, 'status --history --all');
  const run = await b.polling('--http 0');
  const polls = async (restarts: number) => {
    const { state, worker } = await b.status();
    return (state === 'polling' && worker?.restarts === restarts && worker.pid) || null;
  };
  process.kill(await until('the worker to poll', () => polls(0)), 'SIGKILL');
  await until('the next worker to poll', () => polls(1));
  const { body } = await get(await httpPort(run), '/');
  assert.match(body, /<svg .*<rect class="restart".*restart .*the worker ended by SIGKILL/s);
  await b.exits(0, 'stop');
  const writers = () => allPids().filter((it) => commandOf(it).includes(file));
  await until('the end to be written', () => writers().length === 0);
  const written = readFileSync(file, 'utf8');
  assert.match(written, /"end":"no/);
  const tools = join(b.dir, 'tools');
  mkdirSync(tools);
  const env = { ...b.env, PATH: `${tools}:${b.env.PATH}` };
  // The writer hangs as on a dead disk; the end does not wait for it.
  execFileSync('mkfifo', [join(b.dir, 'never')]);
  b.file('../tools/mv', `#!/bin/sh\nread line <${b.dir}/never\n`, 0o755);
  const second = await b.polling([], { env });
  await b.exits(0, 'stop');
  await second.ends(0);
  await until('one that hangs in writing', () => writers().length > 0);
  for (const it of writers()) process.kill(it, 'SIGKILL');
  await until('it to be gone', () => writers().length === 0);
  rmSync(join(tools, 'mv'));
  // A disk without room takes the beginning of a file: what was there stays.
  b.file('../tools/cat', '#!/bin/sh\nhead -c 100\nexit 1\n', 0o755);
  const third = await b.polling([], { env });
  await b.exits(0, 'stop');
  await third.ends(0);
  await until(
    'the failed write to be cleared away',
    () => !existsSync(`${file}.new`) && writers().length === 0,
  );
  assert.equal(readFileSync(file, 'utf8'), written);
  const told = JSON.parse((await b.exits(0, 'status --history 1h --json')).stdout);
  assert.equal(told.timeline.length, 60);
  const causes = told.spans.map(({ cause }: { cause: string }) => cause);
  for (const cause of ['the worker ended by SIGKILL', 'no supervisor ran: asked to by singlepoll stop'])
    assert.ok(causes.includes(cause), String(causes));
  assert.match((await b.exits(0, 'status --history')).stdout, /: the last 24 h, nobody polled for .*\n\n·+▂/);
});
