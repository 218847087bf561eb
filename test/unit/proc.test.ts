/** The process list of this machine: real processes, also hostile ones. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseProcStat, userName } from '../../src/machine/procfs.ts';
import type { Eyes } from '../../src/strays/finder.ts';
import type { Inspector } from '../../src/strays/inspector.ts';
import type { Proc } from '../../src/strays/process.ts';
import { createProcesses } from '../../src/strays/processes.ts';
import { PYTHON, randomToken } from '../support/bed.ts';
import { eachWithEyes, type StrayWorld } from '../support/stray-world.ts';
import { until } from '../support/wait.ts';

let world: StrayWorld;
let eyes: Eyes;
eachWithEyes((it) => {
  ({ world, eyes } = it);
});

const reader = () => eyes.processes;
const SLEEP = 'import time; time.sleep(1000)';

/** Starts a process and waits until it has become the program that it should be. */
async function started(command: string, args: string[], options = {}, ready = (_: Proc) => true) {
  const { pid } = world.start(command, args, options);
  const list = reader();
  let proc: Proc | null = null;
  await until(`${command} to run`, async () => {
    proc = (await list.snapshot()).procs.get(pid) ?? null;
    return proc !== null && proc.comm !== 'node' && proc.argv.length > 0 && ready(proc);
  });
  return proc as unknown as Proc;
}

test('the facts of a process', async () => {
  const cookie = { SINGLEPOLL_BOT: '7', SINGLEPOLL_RUN: 'r', SINGLEPOLL_SPAWN: '2' };
  const env = { TELEGRAM_BOT_TOKEN: world.token, ...cookie, pm_id: '0', name: 'app' };
  const proc = await started('sleep', ['1000'], { env, detached: true });
  assert.equal(proc.ppid, process.pid);
  assert.equal(proc.pgid, proc.pid);
  assert.equal(proc.sid, proc.pid);
  assert.equal(proc.uid, process.getuid!());
  assert.equal(proc.comm, 'sleep');
  assert.deepEqual(proc.argv, ['sleep', '1000']);
  assert.equal(proc.cwd, world.project);
  const { marks, ...seen } = proc.env!;
  assert.deepEqual(seen, { holdsToken: true, bot: '7', run: 'r', spawn: '2', deploy: false });
  assert.deepEqual(marks, { pm_id: '0', name: 'app' });
});

test('no token is kept: not in the facts, not in the arguments', async () => {
  const proc = await started('sleep', ['1000'], { env: { A: `x${world.token}` } });
  const curl = await started(PYTHON, ['-c', SLEEP, `https://x/bot${world.token}/getMe`], { env: {} });
  assert.equal(curl.tokenInArgs, true);
  assert.equal(proc.env?.holdsToken, true);
  assert.ok(!JSON.stringify([proc, curl]).includes(world.token.split(':')[1]!));
});

test('a token in the environment: whole, wherever it stands, and never as a part of another', async () => {
  const cases: [value: string, holds: boolean][] = [
    [world.token, true],
    [`https://api.telegram.org/bot${world.token}/`, true],
    [`{"token":"${world.token}"}`, true],
    [`${world.token}x`, false],
    [`1${world.token}`, false],
    [world.token.slice(0, -1), false],
  ];
  const all = await Promise.all(cases.map(([X]) => started('sleep', ['1000'], { env: { X } })));
  for (const [index, [value, holds]] of cases.entries())
    assert.equal(all[index]?.env?.holdsToken, holds, value);
});

test('the tokens of other bots are named by their ids, wherever they stand', async () => {
  const others = async (env: Record<string, string>, ...args: string[]) =>
    (await started(PYTHON, ['-c', SLEEP, ...args], { env })).otherBots;
  const token = randomToken();
  const other = token.split(':')[0]!;
  assert.deepEqual(await others({ MY_OTHER_BOT: `x${token}`, T: world.token }), [other]);
  assert.deepEqual(await others({}, `--token=${token}`), [other]);
  assert.deepEqual(await others({ T: world.token, HASH: `sha256:${'a'.repeat(64)}` }), []);
});

test('hostile: newlines, escapes and invalid UTF-8 in arguments and environment', async () => {
  const code = `import os; os.execve("/usr/bin/tail", [b"sl\\n\\x1b[31m\\xff)", b"-f", b"/dev/null", b"\\xfe\\xff"], {b"A\\nTELEGRAM_BOT_TOKEN": b"\\xff\\n", b"T": b"\\xff" + b"${world.token}" + b"\\xff"})`;
  const proc = await started(PYTHON, ['-c', code], {}, (one) => one.argv[0]!.startsWith('sl'));
  assert.equal(proc.argv[0], 'sl\n\u001b[31m\ufffd)');
  assert.equal(proc.argv[3], '\ufffd\ufffd');
  assert.equal(proc.env?.holdsToken, true);
});

test('hostile: a program called "a) R 1 1 1\\n" is read right', async () => {
  const odd = join(world.project, 'a) R 1 (\n1');
  copyFileSync('/bin/sleep', odd);
  const proc = await started(odd, ['1000']);
  assert.equal(proc.comm, 'a) R 1 (\n1');
  assert.equal(proc.ppid, process.pid);
});

test('hostile: 2 MB of arguments and environment; the token at the very end is found, little is kept', async () => {
  const many = Array.from({ length: 14 }, (_, i) => `arg${i}${'x'.repeat(100_000)}`);
  const env: Record<string, string> = {};
  for (let i = 0; i < 5; i++) env[`V${i}`] = 'y'.repeat(120_000);
  env.Z = world.token;
  const proc = await started(PYTHON, ['-c', SLEEP, ...many], { env });
  assert.equal(proc.env?.holdsToken, true);
  assert.ok(proc.argv.join('').length <= 16 * 1024);
  assert.ok(proc.argv.every((arg) => arg.length <= 1024));
});

test('a known process that executes another program is read again', async () => {
  const list = reader();
  const { pid, stdin } = world.start('sh', ['-c', 'read line; exec env -i SINGLEPOLL_BOT=7 sleep 1000'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { T: world.token },
  });
  const child = world.start('sleep', ['1000']);
  await until('the shell to run', async () => (await list.snapshot()).procs.get(pid)?.comm === 'sh');
  const before = (await list.snapshot()).procs.get(pid)!;
  assert.equal(before.env?.holdsToken, true);
  stdin!.write('\n');
  await until('it to become sleep', async () => (await list.snapshot()).procs.get(pid)?.argv[0] === 'sleep');
  const now = (await list.snapshot()).procs.get(pid)!;
  assert.equal(now.startId, before.startId);
  assert.equal(now.env?.holdsToken, false);
  assert.equal(now.env?.bot, '7');
  assert.ok((await list.snapshot()).procs.has(child.pid));
});

test('some processes alone: only they are read, and what has ended is none', async () => {
  const two = [await started('sleep', ['1000']), await started('sleep', ['2000'])];
  const pids = two.map(({ pid }) => pid);
  const asked: number[][] = [];
  const list = createProcesses({
    start: () => {},
    inspect: async (some: readonly number[]) => {
      asked.push([...some]);
      return { seen: new Map(two.map((proc) => [proc.pid, proc])), unread: new Set() };
    },
  } as unknown as Inspector);
  for (let time = 0; time < 2; time++) {
    const seen = await list.some([...pids, 2 ** 22 + 1]);
    const words = [...seen.values()].map(({ pid, argv }) => [pid, ...argv]);
    assert.deepEqual(words, [
      [pids[0], 'sleep', '1000'],
      [pids[1], 'sleep', '2000'],
    ]);
  }
  assert.deepEqual(asked, [pids, []], 'what is known is not read again');
});

test('what ends while it is looked into, and has no command line any more, is not listed', async () => {
  const doomed = world.start('sleep', ['1000']);
  const list = createProcesses({
    start: () => {},
    async inspect(pids: readonly number[]) {
      doomed.kill('SIGKILL');
      await once(doomed, 'exit');
      const emptied = { uid: 0, argv: [], cwd: null, env: null };
      return { seen: new Map(pids.map((pid) => [pid, emptied])), unread: new Set() };
    },
  } as unknown as Inspector);
  const seen = await list.some([doomed.pid, process.pid]);
  assert.deepEqual([...seen.keys()], [process.pid]);
});

test('a zombie is listed as one; threads of the kernel are not listed', async () => {
  const code = `import os,sys\npid=os.fork()\nif pid==0: os._exit(0)\nprint(pid,flush=True)\n${SLEEP}`;
  const parent = world.start(PYTHON, ['-c', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const list = reader();
  const isZombie = async () => (await list.snapshot()).procs.get(pid)?.state === 'Z';
  await until('a zombie', isZombie);
  const { procs, uninspectable } = await list.snapshot();
  assert.deepEqual(procs.get(pid)?.argv, []);
  assert.ok([...procs.values()].every((proc) => proc.pid !== 2 && proc.ppid !== 2));
  assert.ok(uninspectable.count < procs.size);
});

test('a program that wrote over its environment cannot be inspected, and is counted', async () => {
  // What setproctitle does: the block stays, its content goes.
  const code = [
    'import ctypes,re',
    'start,end=[int(x) for x in open("/proc/self/stat").read().rsplit(")",1)[1].split()[47:49]]',
    'ctypes.memset(start,0,end-start)',
    'print("done",flush=True)',
    SLEEP,
  ].join('\n');
  const list = reader();
  const env = { T: world.token };
  const child = world.start(PYTHON, ['-c', code], { stdio: ['ignore', 'pipe', 'inherit'], env });
  await new Promise((done) => child.stdout!.once('data', done));
  const { procs, uninspectable } = await list.snapshot();
  assert.equal(procs.get(child.pid)?.env, null);
  assert.ok(uninspectable.users[userName(process.getuid!())]! >= 1);
});

test('parseProcStat: what is no stat line is none', () => {
  for (const text of ['', 'x', '1 (a', '1 (a) S 1', ') (']) assert.equal(parseProcStat(text), null, text);
});
