// The shell that waits to become the next worker, with real processes: what it becomes has exactly what a spawn would have given it.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openWorkerPipes, type WorkerPipes } from '../../src/output/pipes.ts';
import {
  type Command,
  findLauncherShell,
  type Launcher,
  launchScript,
  openLauncher,
} from '../../src/supervisor/launcher.ts';
import { findSetpriv } from '../../src/supervisor/worker.ts';
import { newFolder } from '../support/place.ts';
import { commandOf, environOf, readProc } from '../support/proc.ts';
import { until, within } from '../support/wait.ts';

const folder = newFolder();

const shell = findLauncherShell();
const setpriv = await findSetpriv();

/** Tells all that a process got: arguments, environment, folder, session, descriptors. */
const TELL = `const fs = require('node:fs');
const fds = fs.readdirSync('/proc/self/fd').map((fd) => { try { return [fd, fs.readlinkSync('/proc/self/fd/' + fd)]; } catch { return null; } });
const environ = fs.readFileSync('/proc/self/environ', 'latin1').split('\\0').filter(Boolean).sort();
const stat = fs.readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ');
const status = fs.readFileSync('/proc/self/status', 'utf8');
process.stdout.write(JSON.stringify({
  argv: process.argv, environ, cwd: process.cwd(), leads: stat[2] === String(process.pid) && stat[3] === String(process.pid),
  ignored: /SigIgn:\\s*(\\w+)/.exec(status)[1], blocked: /SigBlk:\\s*(\\w+)/.exec(status)[1],
  fds: fds.filter((it) => it && /pipe|\\.(?:out|err|gate)-|null/.test(it[1])).map(([fd, to]) => [fd, to.replace(/-\\d+-[0-9a-f]{8}.*|\\[\\d+\\]/, '')]),
}) + '\\n');`;
const tell = join(folder, 'tell.js');
fs.writeFileSync(tell, TELL);

const circle = join(folder, 'circle');
fs.symlinkSync(circle, circle);

interface Waiting {
  readonly launcher: Launcher;
  readonly pipes: WorkerPipes;
  readonly pid: number;
  /** What has come since. */
  read(): string;
}

const chunk = Buffer.alloc(64 * 1024);
function readNow(fd: number): string {
  try {
    return chunk.toString('utf8', 0, fs.readSync(fd, chunk));
  } catch {
    return '';
  }
}

async function waiting(t: TestContext): Promise<Waiting> {
  assert.ok(shell && setpriv, 'dash and setpriv are here');
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes);
  const before = new Set(ours());
  const launcher = openLauncher(shell, setpriv, pipes);
  assert.ok(launcher);
  const pid = await until('the shell', () =>
    ours().find((it) => !before.has(it) && commandOf(it).includes('singlepoll-next-worker')),
  );
  t.after(() => launcher.drop());
  return { ...{ launcher, pipes, pid }, read: () => readNow(pipes.readFds[0]) };
}

const ours = () =>
  fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1').split(' ').map(Number);

const ENV = { PATH: process.env.PATH, LANG: 'C.UTF-8' };
const PLAIN: Command = { argv: [process.execPath, tell], cwd: folder, env: ENV };

async function saidBy(child: ChildProcess, read: () => string): Promise<Record<string, unknown>> {
  let text = '';
  await until('what it has to tell', () => {
    text += read();
    return text.includes('\n');
  });
  if (child.exitCode === null) await within('its exit', once(child, 'exit'), 15_000);
  return JSON.parse(text);
}

async function spawned(command: Command): Promise<Record<string, unknown>> {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes && setpriv);
  const child = spawn(setpriv, ['--pdeathsig', 'KILL', '--', ...command.argv], {
    ...{ cwd: command.cwd, env: command.env as NodeJS.ProcessEnv, detached: true },
    stdio: ['ignore', ...pipes.writeFds],
  });
  pipes.closeWriteEnds();
  return saidBy(child, () => readNow(pipes.readFds[0]));
}

/** What a shell would take for its own, and what it must not read as anything but text. */
const HOSTILE: Record<string, string> = {
  ...{ QUOTES: `'"\`$(touch /tmp/never)\\'' ''`, LINES: 'one\ntwo\r\n\n}\nexit 3\n', EMPTY: '' },
  ...{ SPACES: '  a  b  ' },
  ...{ DOLLAR: '$HOME $(id) $1 $@ !! ~ * ?', BYTES: 'ä €\u0081\u0082\u0085 \u{1f600} \x01\x7f' },
  ...{ PWD: '/not/there', OLDPWD: 'neither', CDPATH: '/etc', ENV: '/etc/profile', HOME: '/nowhere' },
  ...{ TERM: 'no-such', HISTSIZE: 'x', SHLVL: '7', _: '/bin/x', MAIL: '/var/mail/x', MAILPATH: '?' },
  ...{ IFS: "e'", PS1: '$(', PS2: '', PS4: '`', PPID: 'none', PERL5OPT: '-w', LD_LIBRARY_PATH: '' },
  LONG: 'x'.repeat(20_000),
};

for (const [what, command] of [
  ['our own environment', { ...PLAIN, env: { ...process.env, GONE: undefined } }],
  ['a hostile environment, no folder', { ...PLAIN, cwd: '/', env: { ...PLAIN.env, ...HOSTILE } }],
  ['arguments', { ...PLAIN, argv: [process.execPath, tell, ...Object.values(HOSTILE), '-c', '--', ''] }],
  ['a program of PATH', { ...PLAIN, argv: ['node', tell], env: { PATH: '/nowhere:/usr/bin:/bin' } }],
] as const)
  test(`launcher: becomes what a spawn would have made: ${what}`, async (t) => {
    const it = await waiting(t);
    const child = it.launcher.become(command);
    it.pipes.closeWriteEnds();
    assert.ok(child, 'it can');
    assert.equal(child.pid, it.pid);
    const got = await saidBy(child, it.read);
    assert.deepEqual(got, await spawned(command));
    assert.equal(child.exitCode, 0);
    assert.equal((got.argv as string[]).length, command.argv.length);
  });

test('launcher: while it waits it has neither the environment nor the command, and leads a session', async (t) => {
  const { pid } = await waiting(t);
  assert.equal(environOf(pid)?.filter((it) => !it.startsWith('PWD=')).length, 0);
  // Before that setpriv, with the same words.
  await until('the shell itself', () => /^\S*dash -c .* singlepoll-next-worker \d+$/.test(commandOf(pid)));
  const proc = readProc(pid);
  assert.deepEqual([proc?.pgid, proc?.session], [pid, pid]);
  assert.equal(fs.readlinkSync(`/proc/${pid}/cwd`), '/');
});

test('launcher: null for what dash can not be told', () => {
  const env = (more: Record<string, string>) => ({ env: { ...PLAIN.env, ...more } });
  for (const change of [
    env({ 'BASH_FUNC_x%%': '() { :; }' }),
    env({ '1A': 'x' }),
    // Dash gives it a value of its own.
    env({ OPTIND: 'x' }),
    // More than a pipe holds.
    env({ A: 'x'.repeat(70_000) }),
    { env: { LANG: 'C' } },
    { cwd: join(folder, 'gone') },
    { cwd: tell },
    { cwd: circle },
    { argv: ['-a', 'x'] },
    { argv: [] },
  ])
    assert.ok(launchScript({ ...PLAIN, ...change }) === null, JSON.stringify(change).slice(0, 80));
});
