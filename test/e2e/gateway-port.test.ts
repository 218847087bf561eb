// --gateway-port: the door at a port of the user's choice, or a fresh one for each worker; and what --no-gateway leaves.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { bed, node, PYTHON, worker } from '../support/bed.ts';
import { assertSingleFlight } from '../support/gateway-judge.ts';
import { listenersAt } from '../support/gateway-process.ts';
import { handled, starts } from '../support/judge.ts';
import { gateOf, relay, toldBy } from '../support/relay.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';
import { ask } from '../support/wire.ts';

const spawned = (count: number, told: ReturnType<typeof toldBy>) =>
  told?.env.SINGLEPOLL_SPAWN === String(count);

test('--gateway-port, its twin and its TOML key are used', async (t) => {
  for (const way of ['flag', 'twin', 'toml']) {
    const b = await bed(t);
    const port = await freePort();
    if (way === 'twin') b.env.SINGLEPOLL_GATEWAY_PORT = String(port);
    if (way === 'toml') b.file('singlepoll.toml', `gatewayPort = ${port}\n`);
    const gate = await relay(b, { options: way === 'flag' ? ['--gateway-port', String(port)] : [] });
    assert.equal(gate.told.root, `http://127.0.0.1:${port}`, way);
    assert.deepEqual(
      listenersAt(port).map(({ address }) => address),
      ['0100007F'],
    );
    assert.equal((await ask(gate, { target: '/bot{token}/getMe' })).status, 200);
    gate.run.signal('SIGTERM');
    assert.equal((await gate.run.exit()).code, 0);
    assert.deepEqual(listenersAt(port), [], 'closed with the supervisor');
  }
});

test('--gateway-port: the same port for every worker of the run', async (t) => {
  const b = await bed(t);
  const port = await freePort();
  const gate = await relay(b, { options: ['--gateway-port', String(port), '--backoff', '10ms,100ms'] });
  assert.equal((await b.run(['restart'])).code, 0);
  await until('the second worker', () => spawned(2, toldBy(b)), { seen: gate.run.seen });
  assert.equal(toldBy(b)?.root, `http://127.0.0.1:${port}`);
  const second = gateOf(b, gate.run);
  const served = async () => (await ask(second, { target: '/bot{token}/getMe' })).status === 200;
  await until('it to be served', served, { seen: gate.run.seen });
  process.kill(second.told.pid, 'SIGKILL');
  await until('the third worker', () => spawned(3, toldBy(b)), { seen: gate.run.seen });
  const third = gateOf(b, gate.run);
  assert.equal(third.port, port);
  const before = b.sandbox.polls().length;
  await until(
    'it to poll',
    () => b.sandbox.polls().length > before || b.sandbox.polls().at(-1)?.pid === third.told.pid,
    {
      seen: gate.run.seen,
    },
  );
  assertSingleFlight(b);
});

test('without it each worker has a fresh port, and the old one is shut', async (t) => {
  const b = await bed(t);
  const first = await relay(b);
  assert.equal((await b.run(['restart'])).code, 0);
  await until('the second worker', () => spawned(2, toldBy(b)), { seen: first.run.seen });
  const second = gateOf(b, first.run);
  assert.notEqual(second.port, first.port);
  await until('the old port to be shut', () => listenersAt(first.port).length === 0, { ms: 5000 });
  assert.equal((await ask(second, { target: '/bot{token}/getMe' })).status, 200);
  assertSingleFlight(b);
});

async function takenPort(t: TestContext): Promise<number> {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return (server.address() as { port: number }).port;
}

test('a port that is taken: an error that names it and what to do; no worker, nothing touched', async (t) => {
  const b = await bed(t);
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const port = await takenPort(t);
  const result = await b.run(['start', '--gateway-port', String(port), '--', ...node('polite.mjs')]);
  assert.ok([69, 75, 78].includes(result.code ?? -1), `${result.code} ${result.stderr}`);
  assert.match(result.stderr, new RegExp(`\\b${port}\\b`));
  assert.match(result.stderr, /in use|taken|busy/i);
  assert.match(result.stderr, /--gateway-port|ss -|lsof|fuser/, 'the next command');
  assert.doesNotMatch(result.stderr, /EADDRINUSE.*\n\s+at /, 'no stack trace');
  assert.equal(starts(b.journal()).length, 0);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/a', 'the webhook stays');
  assert.equal((await b.run(['status'])).code, 3);
});

test('a privileged port, where it may not be had', async (t) => {
  const b = await bed(t);
  const result = b.cli(['start', '--gateway-port', '1', '--', ...node('polite.mjs')]);
  if (process.getuid?.() === 0) {
    await until('the worker to poll', () => b.sandbox.polls().length > 0, { seen: result.seen });
    return;
  }
  const { code } = await result.exit();
  assert.ok([69, 77, 78].includes(code ?? -1), result.seen());
  assert.match(result.stderr(), /\b1\b/);
});

test('ports that are none', async (t) => {
  const b = await bed(t);
  for (const bad of [
    'abc',
    '65536',
    '70000',
    '-1',
    '1.5',
    '',
    ' ',
    '0x50',
    '80,81',
    '１２３',
    '99999999999999999999',
  ]) {
    const flag = await b.run(['start', `--gateway-port=${bad}`, '--', ...node('polite.mjs')]);
    assert.ok([64, 78].includes(flag.code ?? -1), `"${bad}": ${flag.code} ${flag.stderr}`);
    assert.match(flag.stderr, /--gateway-port/, bad);
    assert.doesNotMatch(flag.stderr, /\n\s+at .*:\d+:\d+/, bad);
    if (bad.trim() === '') continue;
    const twin = await b.run(['start', '--', ...node('polite.mjs')], {
      env: { ...b.env, SINGLEPOLL_GATEWAY_PORT: bad },
    });
    assert.ok([64, 78].includes(twin.code ?? -1), `twin "${bad}": ${twin.code}`);
    assert.match(twin.stderr, /SINGLEPOLL_GATEWAY_PORT/, bad);
  }
  assert.equal(starts(b.journal()).length, 0);
  assert.equal(b.sandbox.requests().length, 0);
});

test('--no-gateway: the worker gets the API root itself, and its own token', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { options: ['--no-gateway'] });
  assert.equal(gate.told.root, b.sandbox.root);
  assert.equal(gate.token, b.token);
  assert.equal((await b.status()).polling?.via, 'direct');
  assert.doesNotMatch(gate.run.stderr(), /\[gateway\] open/i);
});

test('deploy mode: no gateway', async (t) => {
  const b = await bed(t);
  b.env.POLLING_ENABLED = '0';
  const gate = await relay(b, { worker: ['--idle'] });
  assert.equal(gate.told.root, b.sandbox.root);
  assert.doesNotMatch(gate.run.stderr(), /\[gateway\] open/i);
});

test('a proxy in the environment is not asked for the gateway', async (t) => {
  const b = await bed(t);
  // Nobody listens at the proxy. The API is reached without it; the worker's own gateway must be, too.
  const proxy = `http://127.0.0.1:${await freePort()}`;
  Object.assign(b.env, {
    TELEGRAM_API_ROOT: b.sandbox.root.replace('127.0.0.1', 'localhost'),
    http_proxy: proxy,
    HTTP_PROXY: proxy,
    no_proxy: 'localhost',
    NO_PROXY: 'localhost',
  });
  const run = b.cli(['start', '--', PYTHON, worker('poller.py')]);
  const id = b.sandbox.text('through no proxy');
  await until('the Python worker to serve', () => handled(b.journal()).has(id), {
    seen: () => run.seen() + JSON.stringify(b.journal().slice(-3)),
  });
});
