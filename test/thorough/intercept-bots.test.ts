// Bots that know nothing of singlepoll, in every runtime and library that the hooks or the proxy lead: each gets its updates through the
// gateway, answers /ping, and is shown as redirected. The stand-in is the API root, and no name is looked up: what is not led here fails.
import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bed, PYTHON } from '../support/bed.ts';
import { findByEnv } from '../support/proc.ts';
import { nodeBuild, npmModules, npmPrograms } from '../support/programs.ts';
import { freePort } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/unmodified/${name}`, import.meta.url));
const LIBRARIES = npmModules('http-libraries', '1');

const VERSIONS = ['16', '18', '22', '24', 'latest'];
const NODES = [process.execPath, ...VERSIONS.map((it) => join(nodeBuild(it), 'node'))];
const NODE_LIBRARIES = [
  'fetch',
  'https',
  'undici',
  'undici-h2',
  'axios',
  'axios-1.6',
  'axios-0.27',
  'got',
  'got-h2',
  'node-fetch',
  'node-fetch-2',
];
const PYTHON_LIBRARIES = [
  'urllib',
  'requests',
  'requests-strict',
  'httpx',
  'httpx-async',
  'httpx-async-uvloop',
  'aiohttp',
  'aiohttp-uvloop',
  'aiodns',
  'gevent',
];

interface Row {
  readonly name: string;
  readonly command: readonly string[];
  readonly by: 'hook' | 'connect';
  readonly options?: readonly string[];
}

const js = (node: string, ...words: string[]): readonly string[] => [
  node,
  '--preserve-symlinks-main',
  'bot.mjs',
  ...words,
];

const ROWS: readonly Row[] = [
  ...NODE_LIBRARIES.map(
    (it): Row => ({ name: `node, ${it}`, command: js(process.execPath, it), by: 'hook' }),
  ),
  ...NODES.slice(1).map(
    (node, i): Row => ({
      name: `node ${VERSIONS[i]}, https`,
      command: js(node, 'https'),
      by: 'hook',
    }),
  ),
  { name: 'node, a worker thread', command: js(process.execPath, 'https', 'thread'), by: 'hook' },
  ...['grammy', 'telegraf', 'ntba'].map(
    (it): Row => ({ name: it, command: [process.execPath, fixture('library.mjs'), it], by: 'hook' }),
  ),
  ...PYTHON_LIBRARIES.map(
    (it): Row => ({ name: `python, ${it}`, command: [PYTHON, fixture('bot.py'), it], by: 'hook' }),
  ),
  { name: 'python-telegram-bot 13', command: [PYTHON, fixture('ptb.py')], by: 'hook' },
  { name: 'ruby', command: ['ruby', fixture('bot.rb')], by: 'hook' },
  { name: 'php, curl', command: ['php', fixture('bot.php'), 'curl'], by: 'connect' },
  { name: 'php, file_get_contents', command: ['php', fixture('bot.php'), 'file'], by: 'connect' },
  { name: 'java', command: ['java', fixture('Bot.java')], by: 'connect' },
  {
    name: 'bun',
    command: [join(npmPrograms('bun', '1.4.5'), 'bun'), fixture('bot.mjs'), 'fetch'],
    by: 'connect',
  },
  {
    name: 'deno',
    command: [join(npmPrograms('deno', '2.9.6'), 'deno'), 'run', '-A', fixture('bot.mjs'), 'fetch'],
    by: 'connect',
    options: ['--intercept', 'proxy'],
  },
  { name: 'perl', command: ['perl', fixture('bot.pl')], by: 'connect', options: ['--intercept', 'proxy'] },
  { name: 'curl', command: ['sh', fixture('bot.sh')], by: 'connect', options: ['--intercept', 'proxy'] },
];

describe('an unmodified bot', { concurrency: 2 }, () => {
  for (const { name, command, by, options = [] } of ROWS) {
    test(name, async (t) => {
      const b = await bed(t);
      symlinkSync(LIBRARIES, join(b.project, 'node_modules'));
      symlinkSync(fixture('bot.mjs'), join(b.project, 'bot.mjs'));
      b.sandbox.text('/ping');
      const run = await b.polling([...options, '--', ...command], { ms: 60_000 });
      await until('the answer', () => b.sandbox.sentTexts().includes('pong'), { ms: 30_000, seen: run.seen });
      b.sandbox.text('/ping');
      await until('the second answer', () => b.sandbox.sentTexts().length === 2, {
        ms: 30_000,
        seen: run.seen,
      });
      const { polling } = await b.status();
      assert.equal(polling?.by, by, run.seen());
      assert.equal(polling?.via, 'gateway');
      run.signal('SIGTERM');
      assert.equal((await run.exit(25_000)).code, 0, run.seen());
      assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
    });
  }
});

test('Node 12 is too old: its programs run untouched', async (t) => {
  const b = await bed(t);
  const old = join(nodeBuild('12'), 'node');
  const code = "console.log('tls.' + require('tls').connect.name); setInterval(() => {}, 1000)";
  const run = b.cli(['start', '--', old, '-e', code]);
  await run.waitFor(/^tls\.connect$/m);
});

test('gunicorn with four workers that all poll: one poll upstream, every update answered once', async (t) => {
  const b = await bed(t);
  const port = await freePort();
  const words = ['app:app', '--workers=4', '--bind', `127.0.0.1:${port}`, '--chdir', fixture('')];
  const run = await b.polling(['--', 'gunicorn', ...words], { ms: 60_000 });
  await until('four pollers', async () => ((await b.status()).polling?.pollers.length ?? 0) === 4, {
    ms: 30_000,
    seen: run.seen,
  });
  const ids = Array.from({ length: 12 }, () => b.sandbox.text('/ping'));
  await until('all answers', () => b.sandbox.sentTexts().length >= ids.length, {
    ms: 30_000,
    seen: run.seen,
  });
  assert.equal(b.sandbox.sentTexts().length, ids.length);
  assert.equal(b.sandbox.polls().filter(({ status }) => status === 409).length, 0);
});
