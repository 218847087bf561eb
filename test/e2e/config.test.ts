// Where settings come from: flags, environment, env file, TOML, Procfile; and every error at once, with its source.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node, randomToken } from '../support/bed.ts';
import { COMMAND } from '../support/cli.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { until } from '../support/wait.ts';

const shell = (words: readonly string[]) => words.map((word) => `'${word}'`).join(' ');
const quoted = (words: readonly string[]) => words.map((word) => JSON.stringify(word)).join(', ');

/** Environment of the bed without any token. */
function withoutToken(b: Bed): Record<string, string> {
  const { TELEGRAM_BOT_TOKEN: _, ...rest } = b.env;
  return rest;
}

async function firstLine(b: Bed, args: string[], env: Record<string, string>): Promise<string> {
  const run = await b.polling([...args, '--', ...node('polite.mjs')], { env });
  const line = run.stderr().split('\n')[0] ?? '';
  assertNoToken(run.stderr() + run.stdout(), b.token);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0, run.seen());
  return line;
}

test('token: each source is used and named', async (t) => {
  const b = await bed(t);
  const env = withoutToken(b);
  for (const name of ['BOT_TOKEN', 'TELEGRAM_TOKEN']) {
    const line = await firstLine(b, [], { ...env, [name]: b.token });
    assert.match(line, new RegExp(`\\b${name}\\b`));
    assert.match(line, new RegExp(String(b.botId)));
  }
  const line = await firstLine(b, ['--token-env', 'MY_OWN_NAME'], { ...env, MY_OWN_NAME: b.token });
  assert.match(line, /MY_OWN_NAME/);
  const path = b.file('token.txt', `${b.token}\n`, 0o600);
  assert.match(await firstLine(b, ['--token-file', path], env), /token\.txt/);
  b.file('.env', `# settings\nexport OTHER=1\nTELEGRAM_BOT_TOKEN="${b.token}"\n`);
  assert.match(await firstLine(b, [], env), /\.env\b/);
});

test('token: --token-file and --token-env come before the variables of the same bot', async (t) => {
  const b = await bed(t);
  const path = b.file('token.txt', b.token, 0o600);
  assert.match(await firstLine(b, ['--token-file', path], { ...b.env, BOT_TOKEN: b.token }), /token\.txt/);
  const named = { ...b.env, MINE: b.token };
  assert.match(await firstLine(b, ['--token-env', 'MINE'], named), /\bMINE\b/);
});

test('token: two different bots are an error that names both variables and shows no token', async (t) => {
  const b = await bed(t);
  const other = randomToken();
  const cases: [Record<string, string>, string | null, RegExp[]][] = [
    [{ ...b.env, BOT_TOKEN: other }, null, [/\bTELEGRAM_BOT_TOKEN\b/, /(?<!_)\bBOT_TOKEN\b/]],
    [{ ...b.env, TELEGRAM_TOKEN: other }, null, [/\bTELEGRAM_BOT_TOKEN\b/, /\bTELEGRAM_TOKEN\b/]],
    [b.env, `BOT_TOKEN=${other}\n`, [/\bTELEGRAM_BOT_TOKEN\b/, /(?<!_)\bBOT_TOKEN\b/, /\.env/]],
  ];
  for (const [env, envFile, patterns] of cases) {
    if (envFile) b.file('.env', envFile);
    const result = await b.run(['start', '--', ...node('polite.mjs')], { env });
    assert.equal(result.code, 78, result.stderr);
    for (const pattern of patterns) assert.match(result.stderr, pattern);
    assertNoToken(result.stderr + result.stdout, b.token);
    assertNoToken(result.stderr + result.stdout, other);
  }
  assert.equal(b.sandbox.requests().length, 0, 'Telegram was asked nothing');
});

test('token: none, and malformed ones, are 78 and never shown', async (t) => {
  const b = await bed(t);
  const env = withoutToken(b);
  const none = await b.run(['start', '--', 'true'], { env });
  assert.equal(none.code, 78);
  assert.match(none.stderr, /TELEGRAM_BOT_TOKEN/);
  for (const bad of ['hello-my-secret-word', `${b.botId}`, ':abcdefabcdefabcdefabcdefabcdefabcdef']) {
    const result = await b.run(['start', '--', 'true'], { env: { ...env, BOT_TOKEN: bad } });
    assert.equal(result.code, 78, `${bad}: ${result.stderr}`);
    assert.match(result.stderr, /BOT_TOKEN/);
    assert.ok(!result.stderr.includes('secret-word') && !result.stderr.includes('abcdefabcdef'));
  }
  const missing = await b.run(['start', '--token-file', '/no/such/file', '--', 'true'], { env });
  assert.equal(missing.code, 78);
  assert.match(missing.stderr, /\/no\/such\/file/);
  const unset = await b.run(['start', '--token-env', 'NOT_SET_ANYWHERE', '--', 'true'], { env });
  assert.equal(unset.code, 78);
  assert.match(unset.stderr, /NOT_SET_ANYWHERE/);
  const flag = await b.run(['start', '--token', b.token, '--', 'true'], { env });
  assert.equal(flag.code, 64, 'there is no --token');
  assertNoToken(flag.stderr, b.token);
});

test('env file: given to the worker too, the environment wins, another one by --env-file', async (t) => {
  const b = await bed(t);
  b.file('.env', 'FROM_FILE=yes\nBOTH=file\nQUOTED="a b # c"\n');
  b.env.BOTH = 'environment';
  const run = await b.polling(['--', ...node('prints-env.mjs')]);
  await run.waitFor('ENV ');
  const { env } = JSON.parse(run.stdout().split('ENV ')[1]?.split('\n')[0] ?? '') as {
    env: Record<string, string>;
  };
  assert.equal(env.FROM_FILE, 'yes');
  assert.equal(env.BOTH, 'environment');
  assert.equal(env.QUOTED, 'a b # c');
  run.signal('SIGTERM');
  await run.exit();

  mkdirSync(join(b.dir, 'else'));
  const path = join(b.dir, 'else', 'bot.env');
  writeFileSync(path, `BOT_TOKEN=${b.token}\n`);
  assert.match(await firstLine(b, ['--env-file', path], withoutToken(b)), /bot\.env/);
  // As a user runs it, by its first line: Node 20 itself looks for --env-file among the arguments of a script and
  // ends with 9 when that file is missing, unless a `--` stands before the script.
  const missing = b.spawn(COMMAND, ['start', '--env-file', '/no/such.env', '--', 'true'], { env: b.env });
  assert.equal((await missing.exit()).code, 78, missing.seen());
  assert.match(missing.stderr(), /\/no\/such\.env/);
});

test('config file: keys in camelCase, command as an array, flags and environment win', async (t) => {
  const b = await bed(t);
  b.file(
    'singlepoll.toml',
    `heartbeat = "200ms"\nstopTimeout = "5s"\ncommand = [${quoted(node('polite.mjs'))}]\n`,
  );
  const run = await b.polling([]);
  await run.waitFor('[hb] alive offset=');
  run.signal('SIGTERM');
  await run.exit();

  const elsewhere = join(b.dir, 'my.toml');
  writeFileSync(elsewhere, `restart = "never"\ncommand = [${quoted(node('exits.mjs', '7'))}]\n`);
  assert.equal((await b.run(['start', '-c', elsewhere])).code, 7);
  // The environment's twin beats the file, the flag beats the twin.
  writeFileSync(elsewhere, `restart = "always"\ncommand = [${quoted(node('exits.mjs', '7'))}]\n`);
  assert.equal(
    (await b.run(['start', '-c', elsewhere], { env: { ...b.env, SINGLEPOLL_RESTART: 'never' } })).code,
    7,
  );
  const flag = await b.run(
    ['start', '-c', elsewhere, '--restart', 'never', '--', ...node('exits.mjs', '9')],
    {
      env: { ...b.env, SINGLEPOLL_RESTART: 'always' },
    },
  );
  assert.equal(flag.code, 9, flag.stderr);
});

test('config: bad files, keys and values are 78, all told at once with their source', async (t) => {
  const b = await bed(t);
  const path = join(b.dir, 'bad.toml');
  const tries: [string, RegExp[]][] = [
    ['this is = not [toml', [/bad\.toml/]],
    ['noSuchKey = 1\n', [/noSuchKey/, /bad\.toml/]],
    ['restart = "sometimes"\nheartbeat = "soon"\n', [/sometimes/, /soon/, /bad\.toml/]],
    ['stray = ["("]\n', [/stray/]],
  ];
  for (const [text, patterns] of tries) {
    writeFileSync(path, text);
    const result = await b.run([
      'start',
      '-c',
      path,
      '--max-restarts',
      '1/1m',
      '--backoff',
      '10ms,20ms',
      '--',
      'true',
    ]);
    assert.equal(result.code, 78, `${text}: ${result.stderr}`);
    for (const pattern of patterns) assert.match(result.stderr, pattern);
    assert.doesNotMatch(result.stderr, /\n\s+at .*:\d+:\d+/, 'no stack trace');
  }
  writeFileSync(path, 'command = "node bot.js"\n');
  const words = await b.run(['start', '-c', path]);
  assert.equal(words.code, 78, 'a command is an array');
  assert.match(words.stderr, /command/);
  const missing = await b.run(['start', '-c', '/no/such.toml', '--', 'true']);
  assert.equal(missing.code, 78);
  writeFileSync(path, 'restart = "sometimes"\n');
  const mixed = await b.run(['start', '-c', path, '--', 'true'], {
    env: { ...b.env, SINGLEPOLL_BACKOFF: 'fast' },
  });
  assert.equal(mixed.code, 78);
  for (const word of [/sometimes/, /SINGLEPOLL_BACKOFF/]) assert.match(mixed.stderr, word);
  assert.equal(b.sandbox.requests().length, 0);
});

test('command: Procfile lines worker, bot, web in this order; none is 78 showing the three ways', async (t) => {
  const b = await bed(t);
  const none = await b.run(['start']);
  assert.equal(none.code, 78);
  assert.match(none.stderr, /start .*-- /);
  assert.match(none.stderr, /singlepoll\.toml|command *=/);
  assert.match(none.stderr, /Procfile/);
  const lines = [
    ['web', '4'],
    ['bot', '5'],
    ['worker', '6'],
  ] as const;
  let text = 'release: exit 99\n';
  for (const [name, code] of lines) {
    text = `${text}${name}: ${shell(node('exits.mjs', code))}\n`;
    b.file('Procfile', text);
    const result = await b.run(['start', '--restart', 'never']);
    assert.equal(result.code, Number(code), result.stderr);
  }
  b.file('Procfile', 'release: exit 99\n');
  assert.equal((await b.run(['start'])).code, 78);
  assert.equal(starts(b.journal()).length, 3);
});

test('usage: unknown options and commands are 64; help and version are answers', async (t) => {
  const b = await bed(t);
  for (const args of [
    ['start', '--no-such-option'],
    ['no-such-command'],
    ['status', '--no-such'],
    ['stop', 'x', 'y'],
  ]) {
    const result = await b.run(args);
    assert.equal(result.code, 64, `${args}: ${result.stderr}`);
    assert.equal(result.stdout, '');
  }
  for (const name of ['start', 'stop', 'restart', 'reset', 'status', 'who', 'ping', 'sandbox']) {
    const help = await b.run([name, '--help']);
    assert.equal(help.code, 0);
    assert.ok((help.stdout.match(new RegExp(`singlepoll ${name}`, 'g')) ?? []).length >= 3, help.stdout);
  }
  assert.match((await b.run(['start', '--help'])).stdout, /15s/, 'defaults with units');
  const all = await b.run(['--help']);
  assert.equal(all.code, 0);
  for (const name of ['start', 'stop', 'restart', 'reset', 'status', 'who', 'ping', 'sandbox']) {
    assert.match(all.stdout, new RegExp(`\\b${name}\\b`));
  }
  assert.match((await b.run(['--version'])).stdout, /^\d+\.\d+\.\d+/);
});

test('the env twin of a repeated option and the API root with a trailing slash work', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--api-root', `${b.sandbox.root}/`, '--', ...node('polite.mjs')], {
    env: { ...b.env, TELEGRAM_API_ROOT: 'http://127.0.0.1:1', SINGLEPOLL_STRAY: 'nothing_like_this\\.py' },
  });
  await until('a poll', () => b.sandbox.polls().length > 0, { seen: run.seen });
});
