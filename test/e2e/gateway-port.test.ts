// What the worker is given of the gateway: its port, fresh for each worker or of the user's choice; with --sealed a token that is good
// there only, while the real one is nowhere in what it was given; and what --no-gateway leaves.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Bed, node, POLITE, PYTHON, worker } from '../support/bed.ts';
import { assertOnePoll } from '../support/gateway.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { it, test, xit } from '../support/kinds.ts';
import { listen } from '../support/place.ts';
import { allPids, commandOf, environOf, listenersAt, readProc } from '../support/proc.ts';
import { type Gate, nextGate, onUpstream, relay } from '../support/relay.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';
import { ask, call, json } from '../support/wire.ts';

const served = async (gate: Gate) =>
  until('it to be served', async () => (await call(gate, 'getMe')).status === 200, gate.run);

xit('without --gateway-port each worker has a fresh port, and the old one is shut', async (b) => {
  const first = await relay(b);
  await b.exits(0, 'restart');
  const second = await nextGate(b, first);
  assert.notEqual(second.port, first.port);
  await until('the old port to be shut', () => listenersAt(first.port).length === 0);
  await served(second);
  assertOnePoll(b);
});

it('--gateway-port, its twin or its TOML key: the same for every worker of the run', async (b) => {
  const port = await freePort();
  b.env.SINGLEPOLL_GATEWAY_PORT = String(port);
  const options = ['--backoff', '10ms,100ms'];
  const first = await relay(b, { options });
  assert.equal(first.told.root, `http://127.0.0.1:${port}`);
  assert.deepEqual(
    listenersAt(port).map(({ address }) => address),
    ['0100007F'],
  );
  await b.exits(0, 'restart');
  const second = await nextGate(b, first);
  await served(second);
  process.kill(second.told.pid, 'SIGKILL');
  const third = await nextGate(b, second);
  assert.deepEqual([second.port, third.port], [port, port]);
  await served(third);
  assertOnePoll(b);
  await first.run.stop();
  assert.deepEqual(listenersAt(port), [], 'closed with the supervisor');
});

it('a port that is taken, or is none, for the gateway or --http: 78, named with who has it; no worker, nothing touched', async (b) => {
  await b.sandbox.setWebhook('https://hooks.example.com/a');
  const server = createServer(() => {});
  const port = await listen(b.t, server);
  for (const [option, POLLING_ENABLED, who] of [
    ['--gateway-port', '1', 'another program has it'],
    ['--http', '1', `taken by pid ${process.pid}\\b`],
    ['--http', '0', `taken by pid ${process.pid}\\b`],
  ] as const) {
    const env = { ...b.env, POLLING_ENABLED };
    const { stderr } = await b.exits(78, ['start', option, String(port), ...POLITE], { env });
    assert.match(stderr, new RegExp(`port ${port} .*${who}[\\s\\S]*→ singlepoll start ${option}`));
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
  }
  for (const bad of ['abc', '65536', '-1', ''])
    assert.match(
      (await b.exits([64, 78], ['start', `--gateway-port=${bad}`, ...POLITE])).stderr,
      /--gateway-port/,
    );
  for (const [bad, words] of [
    ['203.0.113.7:8080', /203\.0\.113\.7:8080.*no such address/],
    ['65536', /--http/],
    ['bot.example.com:80', /--http/],
  ] as const)
    assert.match((await b.exits(78, ['start', '--http', bad, ...POLITE])).stderr, words);
  assert.equal((await b.sandbox.webhookInfo()).url, 'https://hooks.example.com/a', 'the webhook stays');
  assert.equal(starts(b.journal()).length, 0);
  await b.exits(3, 'status');
});

it('--no-gateway, and deploy mode: the worker gets the API root itself, and its own token', async (b) => {
  const direct = await relay(b, { options: ['--no-gateway'] });
  assert.deepEqual([direct.told.root, direct.token], [b.sandbox.root, b.token]);
  assert.equal((await b.status()).polling?.via, 'direct');
  assert.doesNotMatch(direct.run.stderr(), /\[gateway\] open/i);
  await direct.run.stop();
  writeFileSync(join(b.dir, 'relay.json'), 'null');
  b.env.POLLING_ENABLED = '0';
  const deployed = await relay(b, { worker: ['--idle'] });
  assert.equal(deployed.told.root, b.sandbox.root);
  assert.doesNotMatch(deployed.run.stderr(), /\[gateway\] open/i);
});

xit('a proxy in the environment is not asked for the gateway', async (b) => {
  // Nobody listens at the proxy. The API is reached without it; the worker's own gateway must be, too.
  const proxy = `http://127.0.0.1:${await freePort()}`;
  const TELEGRAM_API_ROOT = b.sandbox.root.replace('127.0.0.1', 'localhost');
  const proxies = { http_proxy: proxy, HTTP_PROXY: proxy, no_proxy: 'localhost', NO_PROXY: 'localhost' };
  Object.assign(b.env, { TELEGRAM_API_ROOT, ...proxies });
  await b.serves(b.start(['--', PYTHON, worker('poller.py')]));
});

const secretOf = (token: string): string => token.slice(token.indexOf(':') + 1);

/** Neither environment nor arguments of the worker (nor of what stands between it and the supervisor) hold the secret. */
function assertSealed(b: Bed, gate: Gate): void {
  const secret = secretOf(b.token);
  assert.match(gate.token, new RegExp(`^${b.botId}:[A-Za-z0-9_-]{35}$`));
  assert.notEqual(gate.token, b.token);
  const holding = Object.entries(gate.told.env).filter(([, value]) => value.includes(secret));
  assert.deepEqual(
    holding.map(([name]) => name),
    [],
    'variables of the worker with the real secret',
  );
  const tree = [gate.told.pid];
  for (const parent of tree) tree.push(...allPids().filter((pid) => readProc(pid)?.ppid === parent));
  const above = (pid: number): number => readProc(pid)?.ppid ?? 0;
  for (let pid = above(gate.told.pid); pid > 1 && pid !== gate.run.pid; pid = above(pid)) tree.push(pid);
  for (const pid of tree) {
    assert.ok(!(environOf(pid) ?? []).join('\n').includes(secret), `environment of ${commandOf(pid)}`);
    assert.ok(!commandOf(pid).includes(secret), `arguments of ${pid}`);
  }
  for (const token of [b.token, gate.token])
    assertNoToken(gate.run.stdout() + gate.run.stderr() + JSON.stringify(gate.told.argv), token);
}

it('sealed: the real token is nowhere in what the worker gets, wherever it was configured; the .env is left alone', async (b) => {
  const { TELEGRAM_BOT_TOKEN: token = '', ...env } = b.env;
  const list = { GRAMMY_KEY: token, HOOK: `https://a.example/bot${token}/x`, LIST: `a,${token},b` };
  const file = `TELEGRAM_BOT_TOKEN=${token}\nexport BOT_TOKEN='${token}'\nURL=https://a/${token.replace(':', '%3A')}\n`;
  const places: [string, Record<string, string>, string[], string?][] = [
    ['--token-env', { MY_OWN_TOKEN: token, BOT_TOKEN: token }, ['--token-env', 'MY_OWN_TOKEN']],
    ['variables, URLs and lists, and the env file', { TELEGRAM_TOKEN: token, ...list }, [], file],
    ['the token file', {}, ['--token-file', b.file('token.txt', token, 0o600)]],
  ];
  for (const [name, variables, words, envFile = ''] of places) {
    b.file('.env', envFile);
    const before = b.sandbox.polls().length;
    const gate = await relay(b, {
      options: ['--sealed', ...words],
      env: { ...env, ...variables },
      polled: () => b.sandbox.polls().length > before,
    });
    assertSealed(b, gate);
    // What held the token holds the sealed one, so that whatever name the bot reads works; and so a .env that is read later has no say.
    for (const [key, value] of Object.entries(variables))
      if (value === token) assert.equal(gate.told.env[key], gate.token, `${name}: ${key}`);
    if (envFile)
      for (const key of ['TELEGRAM_BOT_TOKEN', 'BOT_TOKEN', 'TELEGRAM_API_ROOT'])
        assert.ok(gate.told.env[key]);
    const grep = b.spawn('grep', ['-rlE', `${secretOf(token)}|${secretOf(gate.token)}`, b.stateDir]);
    await grep.ends(1);
    await gate.run.stop();
    assertNoToken(gate.run.stdout() + gate.run.stderr(), gate.token);
    writeFileSync(join(b.dir, 'relay.json'), 'null');
  }
});

test('sealed: calls, uploads and downloads work, the API sees the real token only; at the gateway that one is refused', async (t) => {
  const { b, up, gate } = await onUpstream(t, { options: ['--sealed'] });
  assertSealed(b, gate);
  const form = {
    headers: [['Content-Type', 'application/x-www-form-urlencoded']] as const,
    body: 'chat_id=1',
  };
  for (const target of [
    `/bot${gate.token.replace(':', '%3A')}/getChat?chat_id=1`,
    '/bot{token}/test/getChat',
    '/file/bot{token}/documents/a.txt',
  ])
    assert.equal((await ask(gate, { target })).status, 200, target);
  assert.equal((await ask(gate, { target: '/bot{token}/sendMessage', ...form })).status, 200);
  for (const seen of up.seen) {
    assert.ok(decodeURIComponent(seen.target).includes(`bot${b.token}/`), 'the real token goes up');
    assert.ok(!JSON.stringify(seen).includes(secretOf(gate.token)), 'the sealed one does not');
  }
  const before = up.seen.length;
  for (const side of ['inside', 'outside'] as const)
    for (const path of [
      'bot{}/getMe',
      'bot{}/getUpdates?timeout=1',
      'bot{}/test/getMe',
      'file/bot{}/documents/x',
    ]) {
      const answer = await ask(gate, { target: `/${path.replace('{}', b.token)}`, side });
      assert.deepEqual([answer.status, json(answer).error_code], [401, 401], `${side} ${path}`);
    }
  assert.deepEqual(
    up.seen.slice(before).filter(({ method }) => method !== 'getupdates'),
    [],
  );
  await gate.run.waitFor(/real token, not the sealed one/);
  assert.ok((await b.status()).problems.some(({ code }) => code === 'not-sealed'));
  assert.equal(
    (await fetch(`${b.sandbox.root}/bot${gate.token}/getMe`)).status,
    401,
    'good at the gateway only',
  );
});

xit('sealed: one token for a run, through restarts; another run has another', async (b) => {
  b.env.SINGLEPOLL_SEALED = '1';
  const first = await relay(b);
  await b.exits(0, 'restart');
  const second = await nextGate(b, first);
  assert.equal(second.token, first.token);
  await served(second);
  assertSealed(b, second);
  first.run.signal('SIGTERM');
  await first.run.exit();
  writeFileSync(join(b.dir, 'relay.json'), 'null');
  const polls = b.sandbox.polls().length;
  const third = await relay(b, { polled: () => b.sandbox.polls().length > polls });
  assert.notEqual(third.token, first.token);
  assertSealed(b, third);
  assert.equal((await ask(third, { target: `/bot${first.token}/getMe` })).status, 401, 'of the run before');
});

it('sealed: neither token is printed, whoever prints it', async (b) => {
  const env = { ...b.env, SP_TEST_OTHER_TOKEN: `${b.botId}:${'AAother'.padEnd(35, 'x')}` };
  const run = b.start(['--sealed', '--', ...node('prints-token.mjs')], { env });
  await run.waitFor('all printed');
  await until('it to poll', () => b.sandbox.polls().length > 0, run);
  const pid = await until('its pid', async () => (await b.status()).worker?.pid);
  const sealed = [pid, ...allPids().filter((one) => readProc(one)?.ppid === pid)]
    .flatMap((one) => environOf(one) ?? [])
    .find((entry) => entry.startsWith('TELEGRAM_BOT_TOKEN='))
    ?.slice('TELEGRAM_BOT_TOKEN='.length);
  assert.ok(sealed && sealed !== b.token);
  const commands = ['status', 'status --json', 'who', 'who --json', 'start --dry-run --sealed -- true'];
  const answers = await Promise.all(commands.map((args) => b.run(args)));
  const text = run.stdout() + run.stderr() + answers.map((it) => it.text).join('');
  for (const token of [b.token, sealed]) assertNoToken(text, token);
  assert.match(run.stdout(), new RegExp(`whole ${b.botId}:… end`));
});
