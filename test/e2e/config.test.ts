// The loader is wired: each place of a setting reaches the program, and every mistake comes out at once. The rules themselves are
// in test/unit/config-*.test.ts.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node, randomToken } from '../support/bed.ts';
import { COMMAND } from '../support/cli.ts';
import { assertNoToken } from '../support/judge.ts';

const quoted = (words: readonly string[]) => words.map((word) => JSON.stringify(word)).join(', ');

/** Environment of the bed without any token. */
function withoutToken(b: Bed): Record<string, string> {
  const { TELEGRAM_BOT_TOKEN: _, ...rest } = b.env;
  return rest;
}

test('token: each kind of source is used and named in the first line, which names the bot', async (t) => {
  const b = await bed(t);
  const env = withoutToken(b);
  const path = b.file('token.txt', `${b.token}\n`, 0o600);
  b.file('my.env', `# settings\nexport OTHER=1\nTELEGRAM_TOKEN="${b.token}"\n`);
  const sources: [string[], Record<string, string>, RegExp][] = [
    [[], { ...env, BOT_TOKEN: b.token }, /\bBOT_TOKEN in the environment/],
    [['--token-env', 'MY_OWN_NAME'], { ...env, MY_OWN_NAME: b.token }, /MY_OWN_NAME/],
    [['--token-file', path], env, /token\.txt/],
    [['--env-file', 'my.env'], env, /TELEGRAM_TOKEN in my\.env/],
  ];
  for (const [args, given, source] of sources) {
    const run = await b.polling([...args, '--', ...node('polite.mjs')], { env: given });
    const line = run.stderr().split('\n')[0] ?? '';
    assert.match(line, source);
    assert.match(line, new RegExp(String(b.botId)));
    assertNoToken(run.stderr() + run.stdout(), b.token);
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
  }
});

test('token: two different bots, none, and malformed ones are 78 before Telegram is asked, and never shown', async (t) => {
  const b = await bed(t);
  const other = randomToken();
  const env = withoutToken(b);
  b.file('other.env', `BOT_TOKEN=${other}\n`);
  const cases: [string[], Record<string, string>, RegExp][] = [
    [['--env-file', 'other.env'], b.env, /TELEGRAM_BOT_TOKEN.*(?<!_)BOT_TOKEN in other\.env/],
    [[], env, /no bot token/],
    [[], { ...env, BOT_TOKEN: 'hello-my-secret-word' }, /BOT_TOKEN/],
    [['--token-file', '/no/such/file'], env, /\/no\/such\/file/],
  ];
  for (const [args, given, pattern] of cases) {
    const result = await b.run(['start', ...args, '--', 'true'], { env: given });
    assert.equal(result.code, 78, result.stderr);
    assert.match(result.stderr, pattern);
    assert.ok(!result.stderr.includes('secret-word'));
    for (const token of [b.token, other]) assertNoToken(result.stderr + result.stdout, token);
  }
  const flag = await b.run(['start', '--token', b.token, '--', 'true'], { env });
  assert.equal(flag.code, 64, 'there is no --token');
  assertNoToken(flag.stderr, b.token);
  assert.equal(b.sandbox.requests().length, 0, 'Telegram was asked nothing');
});

test('env file: given to the worker too, the environment wins; one that was named must be there', async (t) => {
  const b = await bed(t);
  b.file('.env', 'FROM_FILE=yes\nBOTH=file\nQUOTED="a b # c"\n');
  b.env.BOTH = 'environment';
  const run = await b.polling(['--', ...node('prints-env.mjs')]);
  await run.waitFor('ENV ');
  const { env } = JSON.parse(run.stdout().split('ENV ')[1]?.split('\n')[0] ?? '');
  assert.deepEqual([env.FROM_FILE, env.BOTH, env.QUOTED], ['yes', 'environment', 'a b # c']);
  // As a user runs it, by its first line: Node itself looks for --env-file among the arguments of a script and ends with 9 when
  // that file is missing, unless a `--` stands before the script.
  const missing = b.spawn(COMMAND, ['start', '--env-file', '/no/such.env', '--', 'true'], { env: b.env });
  assert.equal((await missing.exit()).code, 78, missing.seen());
  assert.match(missing.stderr(), /\/no\/such\.env/);
});

test('config file: its command and keys; the twin beats the file, the flag beats the twin', async (t) => {
  const b = await bed(t);
  const elsewhere = join(b.dir, 'my.toml');
  writeFileSync(elsewhere, `restart = "always"\ncommand = [${quoted(node('exits.mjs', '7'))}]\n`);
  const never = { ...b.env, SINGLEPOLL_RESTART: 'never' };
  assert.equal((await b.run(['start', '-c', elsewhere], { env: never })).code, 7);
  const flag = await b.run(
    ['start', '-c', elsewhere, '--restart', 'never', '--', ...node('exits.mjs', '9')],
    {
      env: { ...b.env, SINGLEPOLL_RESTART: 'always' },
    },
  );
  assert.equal(flag.code, 9, flag.stderr);
  b.file('Procfile', `worker: ${node('exits.mjs', '6').join(' ')}\n`);
  assert.equal((await b.run(['start', '--restart', 'never'])).code, 6);
});

test('mistakes of every place are told at once, without a stack, and nothing is asked', async (t) => {
  const b = await bed(t);
  b.file('singlepoll.toml', 'restart = "sometimes"\nnoSuchKey = 1\n');
  const result = await b.run(['start', '--heartbeat', 'soon'], {
    env: { ...b.env, SINGLEPOLL_BACKOFF: 'fast' },
  });
  assert.equal(result.code, 78, result.stderr);
  for (const pattern of [
    /5 mistakes/,
    /restart in singlepoll\.toml line 1 is "sometimes"/,
    /noSuchKey in singlepoll\.toml line 2/,
    /--heartbeat is "soon"/,
    /SINGLEPOLL_BACKOFF in the environment is "fast"/,
    /no command to run/,
  ])
    assert.match(result.stderr, pattern);
  assert.doesNotMatch(result.stderr, /\n\s+at .*:\d+:\d+/, 'no stack trace');
  assert.equal(b.sandbox.requests().length, 0);
});

test('usage: unknown options and commands are 64; help and version are answers', async (t) => {
  const b = await bed(t);
  for (const args of [['start', '--no-such-option'], ['no-such-command'], ['stop', 'x', 'y']]) {
    const result = await b.run(args);
    assert.equal(result.code, 64, `${args}: ${result.stderr}`);
    assert.equal(result.stdout, '');
  }
  const all = await b.run(['--help']);
  assert.equal(all.code, 0);
  const names = [...all.stdout.matchAll(/^ {2}([a-z]+) (?:\[|<| {2})/gm)].map(([, name]) => name ?? '');
  for (const name of ['start', 'stop', 'restart', 'reset', 'status', 'who', 'logs', 'ping', 'sandbox'])
    assert.ok(names.includes(name), name);
  for (const name of names.filter((it) => it !== 'help')) {
    const help = await b.run([name, '--help']);
    assert.equal(help.code, 0);
    assert.ok((help.stdout.match(new RegExp(`singlepoll ${name}`, 'g')) ?? []).length >= 3, help.stdout);
  }
  assert.match((await b.run(['start', '--help'])).stdout, /\(default: 15s\)/);
  assert.match((await b.run(['--version'])).stdout, /^\d+\.\d+\.\d+/);
});
