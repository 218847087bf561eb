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

/** `pings`: so many are answered, one after the other. */
const row = (
  name: string,
  command: readonly string[],
  by: 'hook' | 'connect' | 'absolute',
  more: { readonly options?: readonly string[]; readonly pings?: number; readonly isLong?: boolean } = {},
) => ({ name, command, by, ...more });

/** One for each way of leading: it also sends and fetches a photo, and bears a rival and an outage. */
const LONG = { isLong: true };
const PROXY = { options: ['--intercept', 'proxy'] };
const DENO = [join(npmPrograms('deno', '2.9.6'), 'deno'), 'run', '-A', unmodified('bot.mjs'), 'fetch'];
const allowed = (version: string) => [
  '--permission',
  ...(version === 'latest' ? ['--allow-net'] : []),
  `--allow-fs-read=${tmpdir()}/*`,
];

const ROWS = [
  row('node', [process.execPath, 'bot.mjs'], 'hook', LONG),
  ...['16', '18'].map((it) => row(`node ${it}`, [node(it), 'bot.mjs', 'https'], 'hook')),
  ...['20.20.2', '22', '24', 'latest'].flatMap((version) => [
    row(`node ${version}, each library in turns`, [node(version), 'bot.mjs', NODE_LIBRARIES.join()], 'hook', {
      pings: NODE_LIBRARIES.length,
    }),
    ...['thread', 'child'].map((it) =>
      row(`node ${version}, a ${it}`, [node(version), 'bot.mjs', 'https', it], 'hook'),
    ),
    ...['grammy', 'telegraf', 'ntba'].map((it) =>
      row(`node ${version}, ${it}`, [node(version), unmodified('library.mjs'), it], 'hook'),
    ),
    ...['gramio', 'puregram'].map((it) =>
      row(`node ${version}, ${it}`, [node(version), 'library.mjs', it], 'hook'),
    ),
  ]),
  // Its permission model lets it read no file of ours.
  ...['22', '24', 'latest'].map((it) =>
    row(`node ${it} --permission`, [node(it), ...allowed(it), 'bot.mjs'], 'hook'),
  ),
  ...['axios-1.6', 'axios-0.27'].map((it) =>
    row(`node, ${it} with a proxy variable`, [process.execPath, 'bot.mjs', it], 'absolute', PROXY),
  ),
  row('python', [PYTHON, unmodified('bot.py'), 'urllib'], 'hook', LONG),
  row('python in a venv', [join(folder, 'venv/bin/python'), unmodified('bot.py'), 'urllib'], 'hook'),
  ...pythonBuilds(['3.6', '3.7', '3.8', '3.9', '3.10', '3.12', '3.13']).map((it) =>
    row(basename(it), [it, unmodified('bot.py'), 'urllib'], 'hook'),
  ),
  ...PYTHON_LIBRARIES.map((it) => row(`python, ${it}`, [PYTHON, unmodified('bot.py'), it], 'hook')),
  row('python-telegram-bot 13', [PYTHON, unmodified('ptb.py')], 'hook'),
  row('ruby', ['ruby', unmodified('bot.rb')], 'hook', LONG),
  row('php, curl', ['php', unmodified('bot.php'), 'curl'], 'connect', LONG),
  row('php, file_get_contents', ['php', unmodified('bot.php'), 'file'], 'connect'),
  row('java', ['java', unmodified('Bot.java')], 'connect', LONG),
  row('bun', [BUN, 'bot.mjs', 'fetch'], 'connect', LONG),
  ...['gramio', 'puregram'].map((it) => row(`bun, ${it}`, [BUN, 'library.mjs', it], 'connect')),
  row('deno', DENO, 'connect', PROXY),
  row('go', [join(folder, 'go-bot')], 'connect', PROXY),
  row('perl', ['perl', unmodified('bot.pl')], 'connect', PROXY),
  row('curl', ['sh', unmodified('bot.sh')], 'connect', { ...PROXY, ...LONG }),
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
