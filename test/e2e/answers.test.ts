// `who`, `ping`, `sandbox` and `start --sandbox`: answers on stdout, talk on stderr, exit codes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken } from '../support/judge.ts';
import { assertStrayShape, type StrayView } from '../support/status.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

/** The graded processes of `who --json`, wherever the document has them. */
function straysOf(document: unknown): StrayView[] {
  if (Array.isArray(document)) return document as StrayView[];
  const strays = (document as { strays?: StrayView[] }).strays;
  assert.ok(strays, `no strays in ${JSON.stringify(document)}`);
  return strays;
}

test('who: nobody is 0, the worker alone is 0, a stray is 1 with grade and proof', async (t) => {
  const b = await bed(t);
  const nobody = await b.run(['who', '--json']);
  assert.equal(nobody.code, 0, nobody.stdout + nobody.stderr);
  assert.deepEqual(straysOf(JSON.parse(nobody.stdout)), []);
  const stray = legacyPoller(b, 'production_polling_bot.py');
  await until('it to poll', () => polledBy(b, 'production_polling_bot.py').length > 0);
  // Who only reads knows that it is connected; that it polls is known once it was asked.
  for (const [args, grade] of [
    [[], 'likely'],
    [['--probe'], 'proven'],
  ] as const) {
    const one = await b.run(['who', '--json', ...args]);
    assert.equal(one.code, 1, one.stderr);
    const strays = straysOf(JSON.parse(one.stdout));
    for (const shown of strays) assertStrayShape(shown);
    assert.equal(strays.find(({ pid }) => pid === stray.pid)?.grade, grade);
    assertNoToken(one.stdout + one.stderr, b.token);
    const plain = await b.run(['who', ...args]);
    assert.equal(plain.code, 1);
    assert.match(plain.stdout, new RegExp(`\\b${stray.pid}\\b`));
    assert.match(plain.stdout, new RegExp(`\\b${grade}\\b`));
  }
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await until('the worker to poll', () => polledBy(b, 'polite.mjs').length > 0);
  const alone = await b.run(['who']);
  assert.equal(alone.code, 0, alone.stdout + alone.stderr + run.seen());
});

test('a reader that has gone, as with `| true`, changes no exit code and is no error', async (t) => {
  const b = await bed(t);
  for (const [words, code] of [
    ['status', 3],
    ['status --json', 3],
    ['who', 0],
    ['completion bash', 0],
    ['start --help', 0],
  ] as const) {
    // The reader has closed its end before anything is written.
    const child = spawn(
      'bash',
      ['-c', `(sleep 0.05; "$0" "$1" ${words}; echo "exit $?" >&2) | true`, process.execPath, PROGRAM],
      {
        cwd: b.project,
        env: b.env,
      },
    );
    b.own(child.pid ?? -1);
    let err = '';
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    await once(child, 'close');
    assert.equal(err, `exit ${code}\n`, words);
  }
});

test('what is thrown past every catch is told without its token, and ends with 70', async (t) => {
  const b = await bed(t);
  for (const how of ['throw', 'Promise.reject']) {
    const bomb = `setTimeout(() => { ${how}(new Error('at https://x/bot${b.token}/getMe')) }, 300)`;
    const { code, stderr } = await b.run(['sandbox'], {
      env: { ...b.env, NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(bomb)}` },
    });
    assert.equal(code, 70, stderr);
    assert.match(stderr, /a bug in singlepoll .*please report this:\nError: at https:\/\/x\/bot\d+:…/);
    assertNoToken(stderr, b.token);
  }
});

test('ping: sends to the admin chat, prints the message id and the round trip', async (t) => {
  const b = await bed(t);
  for (const name of ['ASSISTANT_ADMIN_TELEGRAM_ID', 'TELEGRAM_ADMIN_CHAT_ID']) {
    const env = { ...b.env, [name]: '4242' };
    const result = await b.run(['ping'], { env });
    assert.equal(result.code, 0, result.stderr);
    const sent = b.sandbox.raw.sent.at(-1);
    assert.equal(sent?.text, '/ping');
    assert.equal(sent?.chatId, '4242');
    assert.match(result.stdout, new RegExp(`\\b${sent?.messageId}\\b`));
    assert.match(result.stdout, /\d+(\.\d+)? ?ms/);
    const other = await b.run(['ping', 'hello you'], { env });
    assert.equal(other.code, 0);
    assert.equal(b.sandbox.raw.sent.at(-1)?.text, 'hello you');
    assertNoToken(result.stdout + other.stdout, b.token);
  }
  const none = await b.run(['ping']);
  assert.equal(none.code, 78, none.stderr);
  assert.match(none.stderr, /ASSISTANT_ADMIN_TELEGRAM_ID/);
});

test('sandbox: prints its root and a token, takes updates by lines, ends at SIGTERM', async (t) => {
  const b = await bed(t);
  const child = spawn(process.execPath, [PROGRAM, 'sandbox', '--port', '0'], {
    cwd: b.project,
    env: b.env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  b.own(child.pid ?? -1);
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const exit = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const found = await until(
    'root and token',
    () => {
      const root = /http:\/\/127\.0\.0\.1:\d+/.exec(out)?.[0];
      const token = /\d{5,}:[\w-]{24,}/.exec(out)?.[0];
      return root && token ? { root, token } : null;
    },
    { seen: () => out },
  );
  const call = async (method: string) => (await fetch(`${found.root}/bot${found.token}/${method}`)).json();
  const me = (await call('getMe')) as { ok: boolean; result: { id: number } };
  assert.equal(me.ok, true);
  assert.equal(me.result.id, Number(found.token.split(':')[0]));
  child.stdin.write('hello from a line\n');
  const updates = (await call('getUpdates?timeout=10')) as { result: { message: { text: string } }[] };
  assert.equal(updates.result[0]?.message.text, 'hello from a line');
  child.kill('SIGTERM');
  assert.equal(await exit, 0);
});

test('start --sandbox: no token, no network, no command: the steps, updates, heartbeats', async (t) => {
  const b = await bed(t);
  const env: Record<string, string> = { ...b.env };
  for (const name of ['TELEGRAM_BOT_TOKEN', 'TELEGRAM_API_ROOT']) delete env[name];
  const run = b.cli(['start', '--sandbox', '--heartbeat', '500ms'], { env });
  await until('heartbeats', () => run.stderr().split('[hb] alive offset=').length > 3, {
    ms: 30_000,
    seen: run.seen,
  });
  const text = run.stderr();
  assert.match(text, /stray/i);
  assert.match(text, /webhook/i);
  assert.doesNotMatch(run.stdout() + text, /\d{6,}:[\w-]{24,}/, 'no token, not even of the sandbox');
  run.signal('SIGINT');
  assert.equal((await run.exit()).code, 0, run.seen());
});

test('start --sandbox with a command: the worker talks to the sandbox', async (t) => {
  const b = await bed(t);
  const env: Record<string, string> = { ...b.env };
  for (const name of ['TELEGRAM_BOT_TOKEN', 'TELEGRAM_API_ROOT']) delete env[name];
  const run = b.cli(['start', '--sandbox', '--', ...node('prints-env.mjs')], { env });
  await run.waitFor('ENV ');
  const shown = JSON.parse(run.stdout().split('ENV ')[1]?.split('\n')[0] ?? '') as {
    env: Record<string, string>;
  };
  assert.match(shown.env.TELEGRAM_API_ROOT ?? '', /^http:\/\/127\.0\.0\.1:\d+/);
  await until('updates that waited there', () => b.journal().some((entry) => entry.ev === 'update'), {
    seen: run.seen,
  });
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});
