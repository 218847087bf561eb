// A worker that ends: policy, backoff, crash loop with its last lines and its code, commands that cannot run, a bug of ours.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { node, POLITE, PYTHON } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { openHook } from '../support/hook.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const FAST = '--backoff 10ms,40ms'.split(' ');
/** `start` with this policy and a worker that ends with this code. */
const exiting = (policy: string, ...args: string[]) => [
  'start',
  ...FAST,
  ...policy.split(' '),
  '--',
  ...node('exits.mjs', ...args),
];
const loop = (times: number, ...args: string[]) => exiting(`--max-restarts ${times}/1m`, ...args);

it('crash loop: gives up after --max-restarts with the code of the worker and its last 20 lines', async (b) => {
  const { stderr } = await b.exits(3, loop(3, '3', '30'));
  assert.equal(starts(b.journal()).length, 4, 'the first and three restarts');
  assert.match(stderr, /crash/i);
  // The worker printed 30 lines in each of four lives; the report shows the last 20 once more.
  const shown = (line: number) => stderr.split(`last words ${line} of 30`).length - 1;
  assert.deepEqual([shown(30), shown(11), shown(10)], [5, 5, 4], stderr);
  assertNeverTwo(b);
});

it('--restart: always by default, also after exit 0; never passes on the code; on-failure ends at 0 and restarts at 1', async (b) => {
  const run = b.start([...FAST, '--', ...node('polls-then-exits.mjs', '50', '0')]);
  await until('three lives', () => starts(b.journal()).length >= 3, run);
  await b.exits(0, 'stop');
  await run.ends(0);
  for (const code of [0, 1, 255]) await b.exits(code, exiting('--restart never', String(code)));
  await b.exits(137, ['start', '--restart', 'never', '--', ...node('dies-by-signal.mjs', 'SIGKILL')]);
  await b.exits(0, exiting('--restart on-failure', '0'));
  const before = starts(b.journal()).length;
  await b.exits(8, exiting('--restart on-failure --max-restarts 2/1m', '8'));
  assert.equal(starts(b.journal()).length - before, 3);
});

it('backoff: the first exit is answered at once, the second is waited for; status counts and is degraded', async (b) => {
  const run = b.start(['--backoff', '600s,900s', '--', ...node('exits.mjs', '4')]);
  await run.waitFor(/starting it again in /);
  assert.match(run.stderr(), /starting it again at once[\s\S]*\(2 exits in a row\)/);
  const status = JSON.parse((await b.exits(1, 'status --json')).stdout);
  assert.deepEqual([status.state, status.worker.lastExit.code], ['backoff', 4]);
  assert.ok(status.worker.restarts >= 1 && status.problems.length > 0);
  await run.stop();
});

it('commands that cannot run: missing, not executable, a folder, an empty word', async (b) => {
  const plain = b.file('plain.txt', 'no program\n', 0o644);
  const folder = join(b.dir, 'folder');
  mkdirSync(folder);
  for (const [command, codes] of [
    ['/no/such/program', [127, 78]],
    ['no-such-program-in-path', [127, 78]],
    [plain, [126, 127, 78]],
    [folder, [126, 127, 78]],
    ['', [64, 78, 126, 127]],
  ] as const) {
    const { stderr } = await b.exits(codes, [
      'start',
      ...FAST,
      '--max-restarts',
      '1/1m',
      '--',
      command,
      'arg',
    ]);
    assert.ok(stderr.includes(command), stderr);
    assert.doesNotMatch(stderr, /\n\s+at .*:\d+:\d+/, 'no stack trace');
  }
});

xit('a command that is not what was meant: the one that was can be typed as it is shown', async (b) => {
  b.file('script.py', '#!/usr/bin/env python3\n', 0o644);
  b.file('plain.js', '', 0o644);
  for (const [command, ...arrows] of [
    ['python3 bot.py', "singlepoll start -- python3 bot.py -v 'a b'"],
    ['./script.py', 'chmod +x ./script.py', "singlepoll start -- python3 ./script.py -v 'a b'"],
    ['./plain.js', "singlepoll start -- node ./plain.js -v 'a b'"],
    ['script.py', "singlepoll start -- python3 script.py -v 'a b'"],
  ] as const) {
    const { stderr } = await b.exits(78, ['start', '--', command, '-v', 'a b']);
    assert.deepEqual(
      [...stderr.matchAll(/^ {2}→ (.*)$/gm)].map(([, hint]) => hint),
      arrows,
    );
    if (command.includes(' ')) assert.match(stderr, /is one word with a space: drop the quotes/);
  }
});

it('a worker that goes to the background, or whose port is taken: why, and by whom, once, before the next restarts', async (b) => {
  const background = b.file('background.sh', `nohup ${POLITE.slice(1).join(' ')} > /dev/null &\n`);
  const { stderr } = await b.exits(69, [
    'start',
    ...FAST,
    '--max-restarts',
    '1/1m',
    '--',
    'sh',
    background,
    '--daemon',
  ]);
  assert.match(
    stderr,
    /code 0\n(?:.*\n){0,3}.* does it go to the background\? .* foreground: leave out --daemon/,
  );
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  b.t.after(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  const listens = b.file(
    'listens.mjs',
    `import net from 'node:net'; net.createServer().listen(${port}, '127.0.0.1');`,
  );
  const run = b.start(['--backoff', '5s,5s', '--', process.execPath, listens]);
  await run.waitFor(`port ${port} is taken by pid ${process.pid} (`);
  await run.stop();
  assert.equal(run.stderr().split('is taken by').length, 2);
});

it('--max-memory: a worker that outgrows it with its children is replaced, which is no crash; status has CPU and memory', async (b) => {
  const leak = `const all = []; setInterval(() => all.push(Buffer.alloc(8e6, 1)), 50); setTimeout(() => {}, 1e6);`;
  const grows = [
    '--',
    'sh',
    '-c',
    `[ $SINGLEPOLL_SPAWN = 1 ] && node -e '${leak}' & exec node ${node('polite.mjs')[1]}`,
  ];
  const run = await b.polling(['--max-memory', '200MB', '--restart', 'never', ...grows]);
  await run.waitFor(
    /\[worker\] replacing the worker: it has \d+ MB of memory, more than 200 MB \(--max-memory\)/,
    30_000,
  );
  await until('the next worker', () => polledBy(b, 'polite.mjs').length === 2, run);
  assert.equal(run.ended(), null);
  const known = async () => (await b.status()).worker?.cpuPercent != null;
  await until('its CPU', known, run);
  const { worker } = await b.status();
  const rssKb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${worker?.pid}/status`, 'latin1'))?.[1];
  assert.ok(
    Math.abs((worker?.memoryBytes ?? 0) / 1024 / Number(rssKb) - 1) < 0.2,
    `${worker?.memoryBytes} of ${rssKb} kB`,
  );
  assert.match((await b.run('status')).stdout, /^worker +pid \d+, up [^,]+, [\d.]+ % CPU, [\d.]+ MB/m);
  assertNeverTwo(b);
});

xit('stdin: the worker’s is empty, and who asks for input is told so; --stdin passes ours on, and not with -d or install', async (b) => {
  const typed = async (words: string) => {
    const line = `echo 4711 | '${process.execPath}' -- '${PROGRAM}' start --restart never ${words}`;
    await b.spawn('/bin/sh', ['-c', line], { env: b.env }).exit();
  };
  b.file('asks.sh', 'read -r it && echo "got $it" > told || echo "got nothing" > told\n');
  const told = () => readFileSync(join(b.project, 'told'), 'utf8');
  await typed('-- sh asks.sh');
  assert.equal(told(), 'got nothing\n');
  await typed('--stdin -- sh asks.sh');
  assert.equal(told(), 'got 4711\n');
  const python = ['--restart', 'never', '--', PYTHON, '-c', 'input("phone? ")'];
  const { stderr } = await b.exits(1, ['start', ...python]);
  assert.match(stderr, /\[worker\] it asked for input, .*singlepoll start --stdin -- COMMAND/);
  assert.match(
    (await b.exits(78, 'start -d --stdin -- true')).stderr,
    /--stdin and --detach exclude each other/,
  );
  assert.match(
    (await b.exits(78, 'install --stdin --print -- node bot.js')).stderr,
    /--stdin is for the foreground/,
  );
});

it('a child in the group of a worker that ends at once is gone before the next one begins', async (b) => {
  const lines = [
    // A zombie has ended.
    '[ -e left ] && grep "^State:.[^Z]" "/proc/$(cat left)/status" | sed s/State/beside/',
    'sleep 1000 > /dev/null 2>&1 &',
    'echo $! > left; exit 1',
  ];
  const run = b.start([
    ...[...FAST, '--max-restarts', '3/1m'],
    ...['--', 'sh', b.file('worker.sh', `${lines.join('\n')}\n`)],
  ]);
  await run.exit();
  assert.match(run.seen(), /stopping pid \d+ .*sleep/);
  assert.doesNotMatch(run.seen(), /beside:/);
});

xit('a bug: 70, the worker is gone, and nobody follows it while the end is told', async (b) => {
  const hook = await openHook(b.t, () => null);
  const bug = 'for (const it of [1, 2]) Promise.reject(new Error("boom " + it));';
  const boom = `const { existsSync } = require('node:fs');
const timer = setInterval(() => { if (existsSync('boom')) { clearInterval(timer); ${bug} } }, 20).unref();`;
  const env = {
    ...b.env,
    NODE_OPTIONS: `--require ${b.file('boom.cjs', `if (process.argv[2] === 'start') {\n${boom}\n}`)}`,
  };
  const run = await b.polling(['--alert-url', hook.url, ...FAST, '--', ...node('polite.mjs')], { env });
  b.file('boom', '');
  await run.ends(70);
  assert.match(run.stderr(), /\[bug\] Error: boom 1[\s\S]*please report/);
  const workers = starts(b.journal());
  assert.equal(workers.length, 1, run.stderr());
  assert.ok(!alive(workers[0]!.pid));
});
