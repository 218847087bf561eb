// The words of the command line: answers on stdout, talk on stderr, exit codes, help, what somebody mistypes; the places of a setting;
// `ping`, `sandbox` and `start --sandbox`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, node, POLITE, randomToken } from '../support/bed.ts';
import { COMMAND, PROGRAM } from '../support/cli.ts';
import { assertNeverTwo, assertNoToken } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { until } from '../support/wait.ts';

function without(b: Bed, ...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(b.env).filter(([name]) => !names.includes(name)));
}

it('usage: unknown options and commands are 64, mistakes of every place are told at once, with what may have been meant', async (b) => {
  b.file('keys.toml', 'stopTimout = 3\n');
  const toml = 'start -c keys.toml --on-rival yeld -- true';
  const rows: [string, number, RegExp[]][] = [
    ['start --no-such-option', 64, [/--no-such-option/]],
    ['stop x y', 64, [/too many arguments|argument/]],
    ['statsu', 64, [/unknown command 'statsu'/, /Did you mean status\?/, /singlepoll --help/]],
    ['start --sealde', 64, [/'--sealde'/, /Did you mean --sealed\?/, /singlepoll start --help/]],
    ['completion bsh', 64, [/'bsh'.*bash, zsh, fish/]],
    [
      toml,
      78,
      [
        /--on-rival is "yeld": .*did you mean yield\?/,
        /stopTimout in keys\.toml line 1: .*mean stopTimeout\?/,
      ],
    ],
  ];
  for (const [args, code, patterns] of rows) {
    const { stderr, stdout } = await b.exits(code, args);
    assert.equal(stdout, '');
    assert.doesNotMatch(stderr, /\n\s+at .*:\d+:\d+/, 'no stack trace');
    for (const pattern of patterns) assert.match(stderr, pattern);
  }
  assert.equal(b.sandbox.requests().length, 0);
});

it('help and version are answers: each command with its options, defaults and two examples', async (b) => {
  const { stdout } = await b.exits(0, '--help');
  const names = [...stdout.matchAll(/^ {2}([a-z]+) (?:\[|<| {2})/gm)].map(([, name]) => name ?? '');
  for (const name of ['start', 'stop', 'restart', 'reset', 'status', 'who', 'logs', 'ping', 'sandbox'])
    assert.ok(names.includes(name), name);
  for (const name of names.filter((it) => it !== 'help')) {
    const help = await b.exits(0, `${name} --help`);
    assert.ok((help.stdout.match(new RegExp(`singlepoll ${name}`, 'g')) ?? []).length >= 3, help.stdout);
    if (name === 'start') assert.match(help.stdout, /\(default: 15s\)/);
    for (const line of help.stdout.match(/^ {2}(?: {9}|-).*$/gm) ?? []) assert.ok(line.length <= 80, line);
  }
  assert.match((await b.exits(0, '--version')).stdout, /^\d+\.\d+\.\d+/);
});

it('start: a log file that is a folder, and a server from which the bot was logged out, are told with what helps', async (b) => {
  const { stderr } = await b.exits(78, ['start', '--dry-run', '--log-file', b.project, ...POLITE]);
  assert.match(
    stderr,
    /the log file \S+ is a folder\n {2}→ name a file in it: --log-file \S+\/singlepoll\.log/,
  );
  await fetch(`${b.sandbox.root}/bot${b.token}/logOut`);
  const out = await b.exits(69, ['start', ...POLITE]);
  assert.match(out.stderr, /getMe was turned down by http\S+: Logged out\n {2}→ set TELEGRAM_API_ROOT/);
});

it('the token: its source is named in the first line; two bots, none and malformed ones are 78, never shown', async (b) => {
  const env = without(b, 'TELEGRAM_BOT_TOKEN');
  const other = randomToken();
  b.file('my.env', `# settings\nexport OTHER=1\nTELEGRAM_TOKEN="${b.token}"\n`);
  b.file('other.env', `BOT_TOKEN=${other}\n`);
  const bad: [string, Record<string, string>, RegExp][] = [
    ['--env-file other.env', b.env, /TELEGRAM_BOT_TOKEN.*(?<!_)BOT_TOKEN in other\.env/],
    ['--restart never', env, /no bot token/],
    ['--restart never', { ...env, BOT_TOKEN: 'hello-my-secret-word' }, /BOT_TOKEN/],
    ['--token-file /no/such/file', env, /\/no\/such\/file/],
  ];
  for (const [args, given, pattern] of bad) {
    const { text } = await b.exits(78, `start ${args} -- true`, { env: given });
    assert.match(text, pattern);
    assert.ok(!text.includes('secret-word'));
    for (const token of [b.token, other]) assertNoToken(text, token);
  }
  for (const words of [
    ['start', '--token', b.token, '--', 'true'],
    ['start', `--token=${b.token}`, '--', 'true'],
    [b.token],
    ['stop', 'x', b.token],
    ['logs', `-x${b.token}`],
  ])
    assertNoToken((await b.exits(64, words, { env })).text, b.token);
  assert.equal(b.sandbox.requests().length, 0, 'Telegram was asked nothing');
  const run = await b.polling('--env-file my.env', { env });
  const line = run.stderr().split('\n')[0] ?? '';
  assert.match(line, /TELEGRAM_TOKEN in my\.env/);
  assert.match(line, new RegExp(String(b.botId)));
  assertNoToken(run.stderr() + run.stdout(), b.token);
});

it('the env file is given to the worker too, the environment wins; one that is not there is named', async (b) => {
  b.file('.env', 'FROM_FILE=yes\nBOTH=file\nQUOTED="a b # c"\n');
  const run = b.start(['--', ...node('prints-env.mjs')], { env: { ...b.env, BOTH: 'environment' } });
  await run.waitFor('ENV ');
  const { env } = JSON.parse(run.stdout().split('ENV ')[1]?.split('\n')[0] ?? '');
  assert.deepEqual([env.FROM_FILE, env.BOTH, env.QUOTED], ['yes', 'environment', 'a b # c']);
  await b.exits(0, 'stop');
  // As a user runs it, by its first line: Node itself looks for --env-file among the arguments of a script.
  const missing = b.spawn(COMMAND, ['start', '--env-file', '/no/such.env', '--', 'true'], { env: b.env });
  await missing.ends(78);
  assert.match(missing.stderr(), /\/no\/such\.env/);
});

it('restart reads env file and TOML again and says what changed; --same-env and a mistake leave the run as it is; a rotated token is taken over with its lock', async (b) => {
  const { TELEGRAM_BOT_TOKEN: token = '', ...env } = b.env;
  const files = (variables: string, more: string, by = token) => {
    b.file('.env', `TELEGRAM_BOT_TOKEN=${by}\n${variables}`);
    b.file(
      'singlepoll.toml',
      `command = ${JSON.stringify(node('prints-env.mjs', ...more.split(' ').slice(0, 1)))}\n${more.split(' ').slice(1).join(' ')}\n`,
    );
  };
  files('KEPT=1\nA=1\nB=2\n', 'one maxRestarts = "7/3m"');
  const run = b.cli('start', { env });
  const shown = async (n: number) => {
    await until(`worker ${n}`, () => run.stdout().split('ENV ').length > n, run);
    return JSON.parse(run.stdout().split('ENV ')[n]?.split('\n')[0] ?? '') as {
      argv: string[];
      env: Record<string, string>;
    };
  };
  await shown(1);
  files('KEPT=1\nA=11\nC=s3cret\n', 'two maxRestarts = "5/1m"\nhttp = 18080');
  await b.exits(0, 'restart --same-env', { env });
  assert.deepEqual([(await shown(2)).argv, (await shown(2)).env.A], [['one'], '1']);
  const told = await b.exits(0, 'restart', { env });
  for (const text of [
    /in the env file A is changed, B is gone, C is new/,
    /--max-restarts "5\/1m" \(maxRestarts in singlepoll\.toml line 2\)$/m,
    /--http "18080" .*: not in this run; singlepoll start --takeover/,
    /the worker is now: .*prints-env\.mjs two/,
  ]) {
    assert.match(told.stderr, text);
    assert.match(run.stderr(), text);
  }
  assert.doesNotMatch(told.text + run.stderr(), /s3cret/);
  const third = await shown(3);
  assert.deepEqual([third.argv, third.env.A, third.env.B, third.env.C], [['two'], '11', undefined, 's3cret']);
  assert.match((await b.status({ env })).supervisor?.command?.join(' ') ?? '', /two$/);

  b.file('singlepoll.toml', 'stopTimeout = "soon"\n');
  const { stderr } = await b.exits(78, 'restart', { env });
  assert.match(
    stderr,
    /not restarted: the configuration is wrong now: .*stopTimeout[\s\S]*→ singlepoll restart --same-env/,
  );
  files('KEPT=1\nA=11\nC=s3cret\n', 'two', randomToken());
  assert.match(
    (await b.exits([75, 78], ['restart', '--bot', String(b.botId)], { env })).stderr,
    /that of another bot/,
  );
  assert.equal(run.ended(), null);

  const rotated = randomToken(b.botId);
  b.sandbox.raw.addBot(rotated);
  files('KEPT=1\nA=11\nC=s3cret\n', 'two', rotated);
  assert.match(
    (await b.exits(0, 'restart', { env })).stderr,
    /the token was rotated \(TELEGRAM_BOT_TOKEN in \.env\)/,
  );
  await shown(4);
  b.sandbox.raw.revoke(token);
  const id = b.sandbox.raw.injectText(rotated, 'served?');
  await until('the new token to be used', () => b.journal().some((it) => it.id === id), run);
  const elsewhere = join(b.dir, 'elsewhere');
  mkdirSync(elsewhere, { mode: 0o700 });
  const other = { env: { ...env, TELEGRAM_BOT_TOKEN: rotated, SINGLEPOLL_DIR: elsewhere } };
  assert.match((await b.exits(75, 'start -- true', other)).stderr, /supervisor already/);
  run.signal('SIGHUP');
  await shown(5);
  assertNeverTwo(b);
});

xit('a reader that has gone, as with `| true`, changes no exit code; a full disk behind it is told of; what is thrown past every catch is told masked, with 70', async (b) => {
  for (const [words, code] of [
    ['status --json', 3],
    ['who', 0],
    ['start --help', 0],
  ] as const) {
    // The reader has closed its end before anything is written.
    const script = `(sleep 0.05; "$0" "$1" ${words}; echo "exit $?" >&2) | true`;
    const piped = b.spawn('bash', ['-c', script, process.execPath, PROGRAM], { env: b.env });
    await piped.exit();
    assert.equal(piped.stderr(), `exit ${code}\n`, words);
  }
  const log = join(b.dir, 'log');
  await (await b.polling(`--log-file ${log} ${POLITE.join(' ')}`)).stop();
  for (const words of [
    ...['status --json', 'who', 'config', 'start --help', 'completion bash'],
    ...['logs', 'logs -f', 'logs --json', 'sandbox'],
  ]) {
    const full = b.spawn('bash', ['-c', `"$0" "$1" ${words} >/dev/full`, process.execPath, PROGRAM], {
      env: b.env,
    });
    assert.equal((await full.exit()).code, 78, words);
    assert.match(full.stderr(), /^singlepoll: the system refuses: ENOSPC: no space left .*\n {2}→ df -h /m);
  }
  for (const how of ['throw', 'Promise.reject']) {
    const boom = `${how}(new Error('at https://x/bot${b.token}/getMe'))`;
    const bomb = `const it = setInterval(() => { if (process.stdout.bytesWritten) { clearInterval(it); ${boom} } }, 20)`;
    const NODE_OPTIONS = `--import data:text/javascript,${encodeURIComponent(bomb)}`;
    const { stderr } = await b.exits(70, 'sandbox', { env: { ...b.env, NODE_OPTIONS } });
    assert.match(stderr, /a bug in singlepoll .*please report this:\nError: at https:\/\/x\/bot\d+:…/);
    assertNoToken(stderr, b.token);
  }
});

it('config: every setting with its value and its place, secrets masked; a relative SINGLEPOLL_DIR is refused', async (b) => {
  b.file('singlepoll.toml', 'stopTimeout = "3s"\ncommand = ["node", "bot.js"]\n');
  const words = 'config --no-gateway --stray a --stray=b --alert-url https://hooks.slack.com/services/geheim';
  const { stdout } = await b.exits(0, `${words} --json`);
  const { settings, bot, command, token } = JSON.parse(stdout);
  assert.deepEqual([bot, token], [b.botId, 'TELEGRAM_BOT_TOKEN in the environment']);
  assert.deepEqual(command, { argv: ['node', 'bot.js'], from: 'command in singlepoll.toml line 2' });
  const set = settings.filter((it: { from: string | null }) => it.from !== null);
  assert.deepEqual(
    set.map((it: { option: string; value: unknown; from: string }) => [it.option, it.value, it.from]),
    [
      ['--stray', ['a', 'b'], '--stray'],
      ['--api-root', b.sandbox.root, 'TELEGRAM_API_ROOT in the environment'],
      ['--gateway', false, '--no-gateway'],
      ['--stop-timeout', '3s', 'stopTimeout in singlepoll.toml line 1'],
      ['--alert-url', 'https://hooks.slack.com/…', '--alert-url'],
    ],
  );
  const shown = await b.exits(0, words);
  assert.match(shown.stdout, /^--stop-timeout +3s +stopTimeout in singlepoll\.toml line 1$/m);
  assert.match(shown.stdout, /^--heartbeat +60s +default$/m);
  for (const text of [stdout, shown.text]) assert.ok(!text.includes('geheim') && !text.includes(b.token));
  await b.exits(78, 'config --backoff x');
  for (const command of ['start -- true', 'status', 'ls', 'logs']) {
    const { stderr } = await b.exits(78, command, { env: { ...b.env, SINGLEPOLL_DIR: 'state' } });
    assert.match(stderr, /SINGLEPOLL_DIR is "state": .*\n {2}→ export SINGLEPOLL_DIR=\/.*\/project\/state\n/);
  }
});

it('ping: sends to the admin chat, prints the message id and the round trip', async (b) => {
  for (const [name, args, text] of [
    ['ASSISTANT_ADMIN_TELEGRAM_ID', ['ping'], '/ping'],
    ['TELEGRAM_ADMIN_CHAT_ID', ['ping', 'hello you'], 'hello you'],
  ] as const) {
    const { stdout } = await b.exits(0, args, { env: { ...b.env, [name]: '4242' } });
    const sent = b.sandbox.raw.sent.at(-1);
    assert.deepEqual([sent?.text, sent?.chatId], [text, '4242']);
    assert.match(stdout, new RegExp(`\\b${sent?.messageId}\\b.*\\d+(\\.\\d+)? ?ms`));
    assertNoToken(stdout, b.token);
  }
  assert.match((await b.exits(78, 'ping')).stderr, /ASSISTANT_ADMIN_TELEGRAM_ID/);
  await b.sandbox.call('logOut');
  const { stderr } = await b.exits(69, 'ping', { env: { ...b.env, TELEGRAM_ADMIN_CHAT_ID: '4242' } });
  assert.match(stderr, /turned down by .*: Logged out\n {2}→ set TELEGRAM_API_ROOT/);
  assert.doesNotMatch(stderr, /chat/);
});

it('sandbox: prints its root and a token, takes updates by lines, ends at SIGTERM', async (b) => {
  const options = { cwd: b.project, env: b.env };
  const child = spawn(process.execPath, [PROGRAM, 'sandbox', '--port', '0'], options);
  b.own(child.pid ?? -1);
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const seen = () => out;
  const token = await until('its token', () => /\d{5,}:[\w-]{24,}/.exec(out)?.[0], { seen });
  const root = await until('its root', () => /http:\/\/127\.0\.0\.1:\d+/.exec(out)?.[0], { seen });
  const call = async (method: string) => (await fetch(`${root}/bot${token}/${method}`)).json();
  const me = (await call('getMe')) as { result: { id: number } };
  assert.equal(me.result.id, Number(token.split(':')[0]));
  child.stdin.write('hello from a line\n');
  const updates = (await call('getUpdates?timeout=10')) as { result: { message: { text: string } }[] };
  assert.equal(updates.result[0]?.message.text, 'hello from a line');
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

it('start --sandbox with a command: no variable leads it to a real bot, and it talks to the sandbox', async (b) => {
  const env = without(b, 'TELEGRAM_BOT_TOKEN', 'TELEGRAM_API_ROOT');
  const real = randomToken();
  const shows = b.start(['--sandbox', '--', ...node('prints-env.mjs')], { env: { ...env, BOT_TOKEN: real } });
  await shows.waitFor(/ENV .*"BOT_TOKEN":"/);
  assertNoToken(shows.stdout(), real);
  await shows.stop();
  const own = b.start(['--sandbox', ...POLITE], { env });
  await until('updates that waited there', () => b.journal().some((entry) => entry.ev === 'update'), own);
  await own.stop();
});
