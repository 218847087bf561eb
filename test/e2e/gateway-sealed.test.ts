// --sealed: the worker holds a token that is good at the gateway only. The real one is nowhere in what it was given.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import { onUpstream } from '../support/gateway-bed.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { allPids, commandOf, environOf, readProc } from '../support/proc.ts';
import { type Gate, gateOf, relay, toldBy } from '../support/relay.ts';
import { until } from '../support/wait.ts';
import { ask, json } from '../support/wire.ts';

const secretOf = (token: string): string => token.slice(token.indexOf(':') + 1);

/** The worker's own process and its descendants. */
function workerTree(gate: Gate): number[] {
  const pids = [gate.told.pid];
  for (let grown = true; grown; ) {
    const more = allPids().filter((pid) => !pids.includes(pid) && pids.includes(readProc(pid)?.ppid ?? -1));
    pids.push(...more);
    grown = more.length > 0;
  }
  return pids;
}

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
  for (const pid of workerTree(gate)) {
    assert.ok(!(environOf(pid) ?? []).join('\n').includes(secret), `environment of ${commandOf(pid)}`);
    assert.ok(!commandOf(pid).includes(secret), `arguments of ${pid}`);
  }
  for (
    let pid = readProc(gate.told.pid)?.ppid ?? 0;
    pid > 1 && pid !== gate.run.pid;
    pid = readProc(pid)?.ppid ?? 0
  ) {
    assert.ok(!(environOf(pid) ?? []).join('\n').includes(secret), `environment of ${commandOf(pid)}`);
  }
}

function assertQuiet(b: Bed, gate: Gate, more = ''): void {
  const output = gate.run.stdout() + gate.run.stderr() + more;
  assertNoToken(output, b.token);
  assertNoToken(output, gate.token);
}

test('sealed: the real token is nowhere in what the worker gets', async (t) => {
  const b = await bed(t);
  const places: [string, Record<string, string>, string[], string?][] = [
    ['the usual variable', { TELEGRAM_BOT_TOKEN: b.token }, []],
    ['--token-env', { MY_OWN_TOKEN: b.token, BOT_TOKEN: b.token }, ['--token-env', 'MY_OWN_TOKEN']],
    [
      'the env file and the environment',
      { TELEGRAM_TOKEN: b.token },
      [],
      `TELEGRAM_BOT_TOKEN=${b.token}\nexport BOT_TOKEN='${b.token}'\n`,
    ],
    [
      'variables of other names, in URLs and lists',
      {
        TELEGRAM_BOT_TOKEN: b.token,
        GRAMMY_KEY: b.token,
        HOOK: `https://a.example/bot${b.token}/x`,
        LIST: `a,${b.token},b`,
      },
      [],
      `FROM_FILE=${b.token}\nFILE_URL=https://a.example/${b.token.replace(':', '%3A')}\n`,
    ],
    ['the token file', {}, ['--token-file', b.file('token.txt', b.token, 0o600)]],
  ];
  for (const [name, variables, words, envFile] of places) {
    const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
    writeFileSync(join(b.project, '.env'), envFile ?? '');
    const before = b.sandbox.polls().length;
    const gate = await relay(b, {
      options: ['--sealed', ...words],
      env: { ...env, ...variables },
      polled: () => b.sandbox.polls().length > before,
    });
    await t.test(name, () => {
      assertSealed(b, gate);
      // What held the token holds the sealed one, so that whatever name the bot reads works.
      for (const [key, value] of Object.entries(variables))
        if (value === b.token) assert.equal(gate.told.env[key], gate.token, key);
      if (envFile?.includes('OTHER')) assert.equal(gate.told.env.OTHER, '1');
      assertQuiet(b, gate);
    });
    gate.run.signal('SIGTERM');
    assert.equal((await gate.run.exit()).code, 0, gate.run.seen());
    assertQuiet(b, gate);
    writeFileSync(join(b.dir, 'relay.json'), 'null');
  }
});

test('sealed: calls, uploads and downloads work; the API sees the real token only', async (t) => {
  const { b, up, gate } = await onUpstream(t, { options: ['--sealed'] });
  assertSealed(b, gate);
  for (const [target, body] of [
    ['/bot{token}/getMe', undefined],
    [`/bot${gate.token.replace(':', '%3A')}/getChat?chat_id=1`, undefined],
    ['/bot{token}/sendMessage', 'chat_id=1&text=x'],
    ['/bot{token}/test/getChat', undefined],
    ['/file/bot{token}/documents/a.txt', undefined],
  ] as const) {
    const headers = [['Content-Type', 'application/x-www-form-urlencoded']] as const;
    const answer = await ask(gate, { target, ...(body && { body, headers }) });
    assert.equal(answer.status, 200, target);
  }
  for (const seen of up.seen) {
    assert.ok(decodeURIComponent(seen.target).includes(`bot${b.token}/`), 'the real token goes up');
    assert.ok(!JSON.stringify(seen).includes(secretOf(gate.token)), 'the sealed one does not');
  }
  assert.equal(up.of('getChat').length, 2);
  assert.ok(up.of('getUpdates').length >= 1);
});

test('sealed: the real token is refused at the gateway, the sealed one at the API', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { options: ['--sealed'] });
  for (const side of ['inside', 'outside'] as const) {
    for (const path of ['getMe', 'getUpdates?timeout=1', 'sendMessage?chat_id=1&text=x', 'test/getMe']) {
      const answer = await ask(gate, { target: `/bot${b.token}/${path}`, side });
      assert.equal(answer.status, 401, `${side} ${path}`);
      assert.equal(json(answer).error_code, 401);
    }
    const file = await ask(gate, { target: `/file/bot${b.token}/documents/x`, side });
    assert.equal(file.status, 401, side);
  }
  for (const method of ['getMe', 'getUpdates', 'sendMessage']) {
    const direct = await fetch(`${b.sandbox.root}/bot${gate.token}/${method}`);
    assert.equal(direct.status, 401, method);
  }
  assert.ok(!b.sandbox.sentTexts().includes('x'));
  assertQuiet(b, gate);
});

test('sealed: one token for a run, through restarts; another run has another', async (t) => {
  const b = await bed(t);
  b.env.SINGLEPOLL_SEALED = '1';
  const first = await relay(b);
  assertSealed(b, first);
  const restart = await b.run(['restart']);
  assert.equal(restart.code, 0, restart.stderr);
  await until('the second worker', () => toldBy(b)?.env.SINGLEPOLL_SPAWN === '2', { seen: first.run.seen });
  const second = gateOf(b, first.run);
  assert.equal(second.token, first.token, 'good only for this run, but for all of it');
  await until(
    'it to be served',
    async () => (await ask(second, { target: '/bot{token}/getMe' })).status === 200,
  );
  assertSealed(b, second);
  first.run.signal('SIGTERM');
  await first.run.exit();
  writeFileSync(join(b.dir, 'relay.json'), 'null');
  const polls = b.sandbox.polls().length;
  const third = await relay(b, { polled: () => b.sandbox.polls().length > polls });
  assert.notEqual(third.token, first.token);
  assertSealed(b, third);
  const old = await ask(third, { target: `/bot${first.token}/getMe` });
  assert.equal(old.status, 401, 'the token of the run before');
  assertQuiet(b, third);
  assertQuiet(b, first);
});

test('sealed: neither token is printed, whoever prints it', async (t) => {
  const b = await bed(t);
  const other = `${b.botId}:${'AAother'.padEnd(35, 'x')}`;
  const run = b.cli(['start', '--sealed', '--', ...node('prints-token.mjs')], {
    env: { ...b.env, SP_TEST_OTHER_TOKEN: other },
  });
  await run.waitFor('all printed', 30_000);
  await until('it to poll', () => b.sandbox.polls().length > 0, { seen: run.seen });
  const pid = await until('its pid', async () => (await b.status()).worker?.pid);
  const pids = [pid, ...allPids().filter((one) => readProc(one)?.ppid === pid)];
  const sealed = pids
    .flatMap((one) => environOf(one) ?? [])
    .find((entry) => entry.startsWith('TELEGRAM_BOT_TOKEN='))
    ?.slice('TELEGRAM_BOT_TOKEN='.length);
  assert.ok(sealed && sealed !== b.token);
  const answers = await Promise.all(
    [
      ['status'],
      ['status', '--json'],
      ['who'],
      ['who', '--json'],
      ['start', '--dry-run', '--sealed', '--', 'true'],
    ].map((args) => b.run(args)),
  );
  const text = run.stdout() + run.stderr() + answers.map(({ stdout, stderr }) => stdout + stderr).join('');
  assertNoToken(text, b.token);
  assertNoToken(text, sealed);
  assert.match(run.stdout(), new RegExp(`whole ${b.botId}:… end`));
});

test('sealed: no file of the state folder holds either token', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { options: ['--sealed'] });
  const grep = b.spawn('grep', ['-rlE', `${secretOf(b.token)}|${secretOf(gate.token)}`, b.stateDir]);
  assert.equal((await grep.exit()).code, 1, `found in ${grep.stdout()}`);
});

test('sealed: the worker’s environment wins over a .env with the real token', async (t) => {
  const b = await bed(t);
  const text = `TELEGRAM_BOT_TOKEN=${b.token}\nBOT_TOKEN=${b.token}\nTELEGRAM_API_ROOT=${b.sandbox.root}\n`;
  b.file('.env', text);
  const gate = await relay(b, { options: ['--sealed'] });
  // What dotenv, python-dotenv and their kin do by default: only what is not set is taken from the file.
  const loaded: Record<string, string | undefined> = { ...gate.told.env };
  for (const line of readFileSync(join(b.project, '.env'), 'utf8').split('\n')) {
    const [name = '', value] = line.split('=');
    loaded[name] ??= value;
  }
  assert.equal(loaded.TELEGRAM_BOT_TOKEN, gate.token);
  assert.equal(loaded.BOT_TOKEN, gate.token);
  assert.equal(loaded.TELEGRAM_API_ROOT, gate.told.root);
  assert.equal(readFileSync(join(b.project, '.env'), 'utf8'), text, 'the file is left alone');
});

test('sealed without the gateway is turned down, with the reason', async (t) => {
  const b = await bed(t);
  const cases: [string[], Record<string, string>, string?][] = [
    [['--sealed', '--no-gateway'], {}],
    [['--sealed'], { SINGLEPOLL_NO_GATEWAY: '1' }],
    [['--no-gateway'], { SINGLEPOLL_SEALED: 'yes' }],
    [[], {}, 'sealed = true\nnoGateway = true\n'],
  ];
  for (const [words, variables, toml] of cases) {
    b.file('singlepoll.toml', toml ?? '');
    const result = await b.run(['start', ...words, '--', ...node('polite.mjs')], {
      env: { ...b.env, ...variables },
    });
    assert.ok([64, 78].includes(result.code ?? -1), `${result.code} ${result.stderr}`);
    assert.match(result.stderr, /sealed/i);
    assert.match(result.stderr, /no-?_?gateway/i);
    assert.match(result.stderr, /only|good at|exclude|through the gateway|without/i, 'the reason');
    assert.doesNotMatch(result.stderr, /\n\s+at .*:\d+:\d+/);
    assertNoToken(result.stderr + result.stdout, b.token);
  }
  assert.equal(starts(b.journal()).length, 0);
  assert.equal(b.sandbox.requests().length, 0, 'Telegram was asked nothing');
});
