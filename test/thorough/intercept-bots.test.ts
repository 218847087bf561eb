// Bots that know nothing of singlepoll, in every runtime and library that the hooks or the proxy lead: each gets its updates through the
// gateway, answers /ping, and is shown as redirected. The stand-in is the API root, and no name is looked up: what is not led here fails.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { bed, PYTHON } from '../support/bed.ts';
import { xit } from '../support/kinds.ts';
import { newFolder } from '../support/place.ts';
import { findByEnv } from '../support/proc.ts';
import { nodeBuild, npmModules, npmPrograms, pythonBuilds } from '../support/programs.ts';
import { freePort } from '../support/strays.ts';
import { answers, unmodified } from '../support/unmodified.ts';
import { until } from '../support/wait.ts';

const LIBRARIES = npmModules('http-libraries', '2');
/** What is built and made for some of the bots. */
const folder = newFolder();

const node = (version: string) => join(nodeBuild(version), 'node');
const BUN = join(npmPrograms('bun', '1.4.5'), 'bun');
const NODE_LIBRARIES = [
  ...['fetch', 'https', 'undici', 'undici-h2', 'axios', 'axios-1.6', 'axios-0.27'],
  ...['got', 'got-h2', 'node-fetch', 'node-fetch-2'],
];
const PYTHON_LIBRARIES = [
  ...['requests', 'requests-strict', 'httpx', 'httpx-async', 'httpx-async-uvloop'],
  ...['aiohttp', 'aiohttp-uvloop', 'aiodns', 'gevent'],
];

interface Row {
  readonly name: string;
  readonly command: readonly string[];
  readonly by: 'hook' | 'connect' | 'absolute';
  readonly options?: readonly string[];
  /** So many are answered, one after the other. */
  readonly pings?: number;
  /** One for each way of leading: it also sends and fetches a photo, and bears a rival and an outage. */
  readonly isLong?: boolean;
}

const PROXY = ['--intercept', 'proxy'];

const ROWS: readonly Row[] = [
  { name: 'node', command: [process.execPath, 'bot.mjs'], by: 'hook', isLong: true },
  ...['16', '18'].map(
    (it): Row => ({ name: `node ${it}`, command: [node(it), 'bot.mjs', 'https'], by: 'hook' }),
  ),
  ...['20.20.2', '22', '24', 'latest'].flatMap((version): Row[] => [
    {
      name: `node ${version}, each library in turns`,
      command: [node(version), 'bot.mjs', NODE_LIBRARIES.join()],
      ...{ by: 'hook', pings: NODE_LIBRARIES.length },
    },
    ...['thread', 'child'].map(
      (it): Row => ({
        name: `node ${version}, a ${it}`,
        command: [node(version), 'bot.mjs', 'https', it],
        by: 'hook',
      }),
    ),
    ...['grammy', 'telegraf', 'ntba'].map(
      (it): Row => ({
        name: `node ${version}, ${it}`,
        command: [node(version), unmodified('library.mjs'), it],
        by: 'hook',
      }),
    ),
    ...['gramio', 'puregram'].map(
      (it): Row => ({
        name: `node ${version}, ${it}`,
        command: [node(version), 'library.mjs', it],
        by: 'hook',
      }),
    ),
  ]),
  // Its permission model lets it read no file of ours.
  ...['22', '24', 'latest'].map(
    (it): Row => ({
      name: `node ${it} --permission`,
      command: [
        node(it),
        '--permission',
        ...(it === 'latest' ? ['--allow-net'] : []),
        `--allow-fs-read=${tmpdir()}/*`,
        'bot.mjs',
      ],
      by: 'hook',
    }),
  ),
  ...['axios-1.6', 'axios-0.27'].map(
    (it): Row => ({
      name: `node, ${it} with a proxy variable`,
      command: [process.execPath, 'bot.mjs', it],
      ...{ by: 'absolute', options: PROXY },
    }),
  ),
  { name: 'python', command: [PYTHON, unmodified('bot.py'), 'urllib'], by: 'hook', isLong: true },
  {
    name: 'python in a venv',
    command: [join(folder, 'venv/bin/python'), unmodified('bot.py'), 'urllib'],
    by: 'hook',
  },
  ...pythonBuilds(['3.6', '3.7', '3.8', '3.9', '3.10', '3.12', '3.13']).map(
    (it): Row => ({ name: basename(it), command: [it, unmodified('bot.py'), 'urllib'], by: 'hook' }),
  ),
  ...PYTHON_LIBRARIES.map(
    (it): Row => ({ name: `python, ${it}`, command: [PYTHON, unmodified('bot.py'), it], by: 'hook' }),
  ),
  { name: 'python-telegram-bot 13', command: [PYTHON, unmodified('ptb.py')], by: 'hook' },
  { name: 'ruby', command: ['ruby', unmodified('bot.rb')], by: 'hook', isLong: true },
  { name: 'php, curl', command: ['php', unmodified('bot.php'), 'curl'], by: 'connect', isLong: true },
  { name: 'php, file_get_contents', command: ['php', unmodified('bot.php'), 'file'], by: 'connect' },
  { name: 'java', command: ['java', unmodified('Bot.java')], by: 'connect', isLong: true },
  { name: 'bun', command: [BUN, 'bot.mjs', 'fetch'], by: 'connect', isLong: true },
  ...['gramio', 'puregram'].map(
    (it): Row => ({ name: `bun, ${it}`, command: [BUN, 'library.mjs', it], by: 'connect' }),
  ),
  {
    name: 'deno',
    command: [join(npmPrograms('deno', '2.9.6'), 'deno'), 'run', '-A', unmodified('bot.mjs'), 'fetch'],
    ...{ by: 'connect', options: PROXY },
  },
  { name: 'go', command: [join(folder, 'go-bot')], by: 'connect', options: PROXY },
  { name: 'perl', command: ['perl', unmodified('bot.pl')], by: 'connect', options: PROXY },
  { name: 'curl', command: ['sh', unmodified('bot.sh')], by: 'connect', options: PROXY, isLong: true },
];

before(() => {
  const env = { ...process.env, GO111MODULE: 'off', GOCACHE: join(folder, 'go-cache') };
  execFileSync('go', ['build', '-o', join(folder, 'go-bot'), unmodified('bot.go')], { env });
  execFileSync(PYTHON, ['-m', 'venv', '--without-pip', join(folder, 'venv')]);
});

describe('an unmodified bot', { concurrency: 2 }, () => {
  for (const { name, command, by, options = [], pings = 2, isLong = false } of ROWS) {
    test(name, async (t) => {
      const b = await bed(t);
      symlinkSync(LIBRARIES, join(b.project, 'node_modules'));
      for (const file of ['bot.mjs', 'library.mjs']) copyFileSync(unmodified(file), join(b.project, file));
      b.file('photo.jpg', Buffer.alloc(300_000, 7));
      const run = await b.polling([...options, '--', ...command]);
      for (let i = 0; i < pings; i++) await answers(b, run);
      const { polling } = await b.status();
      assert.equal(polling?.by, by, run.seen());
      assert.equal(polling?.via, 'gateway');
      if (isLong) {
        await answers(b, run, '/photo', 'got 300000');
        await b.sandbox.call('getUpdates');
        await answers(b, run);
        b.sandbox.raw.fault({ kind: 'status', method: 'getUpdates', status: 502, count: 2 });
        await answers(b, run);
      }
      assert.equal((await b.status()).worker?.spawns, 1, run.seen());
      await run.stop(25_000);
      assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
    });
  }
});

test('Node 12 and Python 2.7 are too old: their programs run untouched', async (t) => {
  const told = "console.log('it is ' + require('tls').connect.name); setInterval(() => {}, 1000)";
  const rows = [
    [node('12'), '-e', told, /^it is connect$/m],
    ...pythonBuilds(['2.7']).map(
      (it) =>
        [
          it,
          '-uc',
          'import socket, time; print(socket.getaddrinfo); time.sleep(60)',
          /built-in function/,
        ] as const,
    ),
  ] as const;
  for (const [program, flag, code, words] of rows) {
    const b = await bed(t);
    const run = b.cli(['start', '--', program, flag, code]);
    await run.waitFor(words);
    assert.doesNotMatch(run.seen(), /Error|Traceback/);
  }
});

for (const kind of ['sync', 'gevent'])
  xit(`gunicorn (${kind}) with four workers that all poll: one poll upstream, every update answered once`, async (b) => {
    const port = await freePort();
    const words = [
      'app:app',
      '--workers=4',
      '-k',
      kind,
      '--bind',
      `127.0.0.1:${port}`,
      '--chdir',
      unmodified(''),
    ];
    const run = await b.polling(['--', 'gunicorn', ...words]);
    await until('four pollers', async () => ((await b.status()).polling?.pollers.length ?? 0) === 4, run);
    const ids = Array.from({ length: 12 }, () => b.sandbox.text('/ping'));
    await until('all answers', () => b.sandbox.sentTexts().length >= ids.length, run);
    assert.equal(b.sandbox.sentTexts().length, ids.length);
    assert.equal(b.sandbox.polls().filter(({ status }) => status === 409).length, 0);
  });
