// Odd and hostile surroundings: bad state folders, garbage at the control socket, nasty command lines and folders, few descriptors, a
// machine without /proc, a package that is replaced under a running supervisor, old names of the program.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Bed, node, POLITE, PYTHON, worker } from '../support/bed.ts';
import { COMMAND, PROGRAM } from '../support/cli.ts';
import { flood } from '../support/garbage.ts';
import { assertNoControls, assertNoToken, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { copyProgram } from '../support/program-copy.ts';
import { lockNames, NOBODY, paddedName } from '../support/squatter.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const STACK = /\n\s+at .*:\d+:\d+/;

/** `start` refuses with a clear word about the folder, and touches nothing. */
async function refusesFolder(b: Bed, folder: string): Promise<void> {
  const { stderr } = await b.exits([77, 78], ['start', ...POLITE], {
    env: { ...b.env, SINGLEPOLL_DIR: folder },
  });
  assert.ok(stderr.includes(folder), stderr);
  assert.doesNotMatch(stderr, STACK);
  assert.equal(starts(b.journal()).length, 0);
}

it('state folder: a link, world-writable, a file, of another user: refused; read-only or full: told; missing: made, 0700', async (b) => {
  const path = (name: string) => join(b.dir, name);
  mkdirSync(path('real'), { mode: 0o700 });
  symlinkSync(path('real'), path('link'));
  mkdirSync(path('open'));
  chmodSync(path('open'), 0o777);
  writeFileSync(path('file'), 'x');
  for (const name of ['link', 'open', 'file']) await refusesFolder(b, path(name));
  if (process.getuid?.() !== 0) await refusesFolder(b, '/root');
  else {
    mkdirSync(path('other'), { mode: 0o700 });
    chownSync(path('other'), NOBODY, NOBODY);
    await refusesFolder(b, path('other'));
    for (const [name, options] of [
      ['ro', 'size=64k,mode=700,ro'],
      ['full', 'size=16k,mode=700'],
    ] as const) {
      mkdirSync(path(name), { mode: 0o700 });
      // A container may be without the right to mount.
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path(name)]).status !== 0) continue;
      try {
        if (name === 'full') spawnSync('sh', ['-c', `head -c 64k /dev/zero > '${path(name)}/filler'`]);
        const run = b.start([], { env: { ...b.env, SINGLEPOLL_DIR: path(name) } });
        const before = b.sandbox.polls().length;
        await until('an end, or a worker', () => run.ended() || b.sandbox.polls().length > before, run);
        if (run.ended()) assert.ok(run.stderr().includes(path(name)), run.stderr());
        run.signal('SIGTERM');
        await run.ends([0, 69, 77, 78]);
        assert.doesNotMatch(run.stderr(), STACK);
      } finally {
        spawnSync('umount', ['-l', path(name)]);
      }
    }
  }
  b.env.SINGLEPOLL_DIR = path('fresh');
  await b.polling();
  assert.equal(statSync(path('fresh')).mode & 0o777, 0o700);
});

xit('state folder: FIFOs, endless devices and links where it remembers: nothing waits for one or is written through one', async (b) => {
  const folder = join(b.stateDir, String(b.botId));
  const victim = b.file('victim', 'precious');
  mkdirSync(folder, { mode: 0o700 });
  const names = ['history.json', 'last-start.json', 'last-end.json', 'log-path'].map((name) =>
    join(folder, name),
  );
  for (const make of [
    (path: string) => void spawnSync('mkfifo', [path]),
    (path: string) => symlinkSync('/dev/zero', path),
    (path: string) => symlinkSync(victim, path),
  ]) {
    for (const name of [...names, `${names[0]}.new`]) {
      rmSync(name, { force: true });
      make(name);
    }
    await b.exits(3, 'status');
    await b.exits(3, 'status --history');
    await b.exits(78, 'logs');
    const run = await b.polling();
    await b.exits(0, `status ${b.botId} --history`);
    await b.exits(0, 'stop');
    await run.ends(0);
    await until('the history to be written', async () => (await b.run('status --history')).code === 0);
  }
  assert.equal(readFileSync(victim, 'utf8'), 'precious');
});

it('control socket: garbage, half-open connections, megabytes and another user of the machine do no harm', async (b) => {
  const run = await b.polling();
  const names = lockNames(b).map((name) => paddedName(name));
  const sockets = [join(b.stateDir, String(b.botId), 'control.sock'), ...names];
  for (const path of sockets) await flood(path);
  const ask = `import socket,sys
s=socket.socket(socket.AF_UNIX); s.settimeout(2)
s.connect(bytes.fromhex(sys.argv[1]))
s.sendall(b'stop\\n{"command":"stop"}\\n{"cmd":"stop"}\\n{"op":"stop"}\\n{"method":"stop"}\\n'); print(len(s.recv(10)))`;
  if (process.getuid?.() === 0)
    for (const path of sockets)
      spawnSync(PYTHON, ['-c', ask, Buffer.from(path).toString('hex')], { uid: NOBODY, gid: NOBODY });
  await b.serves(run);
  const status = JSON.parse((await b.exits(0, 'status --json')).stdout);
  assert.deepEqual([status.supervisor.pid, status.worker.spawns], [run.pid, 1]);
  const kb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${run.pid}/status`, 'latin1'))?.[1]);
  assert.ok(kb < 250_000, `peak ${kb} kB`);
  await b.exits(0, 'stop');
});

xit('command lines and folders with newlines, escapes, invalid UTF-8 and 1.5 MB steer no terminal and hide nobody', async (b) => {
  const start = (env: Record<string, string>) =>
    b.spawn(PYTHON, [worker('../hostile-exec.py'), worker('poller.py'), '1500000'], { env });
  const guilty = start({ LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root });
  const innocent = start({ LEGACY_TOKEN: 'x', LEGACY_ROOT: 'http://127.0.0.1:1' });
  await until('both', () => starts(b.journal()).length === 2 && polledBy(b, 'poller.py').length === 1);
  const cwd = join(b.project, 'a\n\x1b[31mred\x1b]0;title\x07');
  mkdirSync(cwd);
  for (const args of ['who', 'status', 'who --json', 'status --json', 'start --dry-run -- true']) {
    const { text, stdout, stderr, code } = await b.run(args, { cwd });
    assert.notEqual(code, 70, text);
    for (const it of [stdout, stderr]) assertNoControls(it);
    assertNoToken(text, b.token);
    assert.ok(text.length < 100_000, `${args}: a flood`);
    // A dry run asks nobody, so it names nobody who would only react.
    if (!args.includes('dry-run')) assert.match(text, new RegExp(`\\b${guilty.pid}\\b`), args);
  }
  const run = await b.polling([], { cwd });
  await until('the guilty one to be gone', () => !alive(guilty.pid), run);
  assert.equal(alive(innocent.pid), true, 'holds no token of this bot');
  const { text } = await b.exits(75, ['start', '--', 'true'], { cwd });
  for (const it of [run.stderr(), text]) assertNoControls(it);
});

it('few descriptors: too few end it with what to type; a worker that opens more connections than fit leaves some to the supervisor', async (b) => {
  const limited = (limit: number, args: readonly string[]) =>
    b.spawn('/bin/sh', ['-c', `ulimit -n ${limit}; exec "$0" "$@"`, PROGRAM, ...args], { env: b.env });
  for (const [limit, words] of [
    [19, ['status']],
    [22, ['start', ...POLITE]],
    [22, ['start', '--sandbox']],
    [63, ['start', ...POLITE]],
  ] as const) {
    const few = limited(limit, words);
    await few.ends(78);
    assert.match(few.stderr(), /too many open files.*\n {2}→ ulimit -n 1024 /, `${limit}`);
    assert.doesNotMatch(few.stderr(), STACK);
  }
  assert.equal(starts(b.journal()).length, 0);
  const run = limited(128, ['start', ...POLITE]);
  await run.waitFor(/\[poll\] worker \d+ polls/);
  const port = Number(/\[gateway\] open at http:\/\/127\.0\.0\.1:(\d+)/.exec(run.stderr())?.[1]);
  const crowd = Array.from({ length: 200 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  try {
    const dropped = () => crowd.filter(({ destroyed }) => destroyed).length;
    await until('those that do not fit to be closed', () => dropped() > 100, run);
    assert.match((await b.exits(0, 'status')).stdout, /: polling/);
    await b.exits(0, 'restart');
    await b.exits(0, 'stop');
  } finally {
    for (const it of crowd) it.destroy();
  }
  await run.ends(0);
});

it('a working folder that was deleted: status and stop serve, start says so with 78, or that there is no token', async (b) => {
  const gone = join(b.dir, 'gone');
  const there = (args: string, env = b.env) => {
    const script = `mkdir ${gone}; cd ${gone}; rmdir ${gone}; exec "$0" ${args}`;
    return b.spawn('/bin/sh', ['-c', script, COMMAND], { env });
  };
  const run = await b.polling();
  await there('status').ends(0);
  const start = there('start -- true');
  await start.ends(78);
  assert.match(start.stderr(), /working folder .*gone/);
  const { TELEGRAM_BOT_TOKEN: _, ...tokenless } = b.env;
  const second = there('start -- true', tokenless);
  await second.ends(78);
  assert.match(second.stderr(), /no bot token: .* there is no \.env in .*gone/);
  await there('stop').ends(0);
  await run.ends(0);
});

xit('singlepoll under another name: a standby is no stray, and a hung holder can be reset', async (b) => {
  const other = join(b.dir, 'onepoll');
  symlinkSync(PROGRAM, other);
  const run = await b.polling();
  const standby = b.spawn(other, ['start', '--wait', ...POLITE], { env: b.env });
  await standby.waitFor(/standing by/);
  await b.exits(0, 'who');
  // A new worker, and a look for strays before it.
  await b.exits(0, 'restart');
  assert.equal(standby.ended(), null);
  assert.doesNotMatch(run.stderr(), /stopping pid/);
  run.signal('SIGTERM');
  await standby.waitFor(/\[worker\] started/);
  standby.signal('SIGSTOP');
  await b.exits(0, 'reset --no-start');
});

xit('a machine without /proc: every command that needs the process list says so and ends with 78', async (b) => {
  // A state folder that knows a run.
  const run = await b.polling();
  run.signal('SIGTERM');
  await run.exit();
  const named = `--bot ${b.botId}`;
  const commands = ['start', 'start -d', 'start --dry-run', 'stop', 'restart', 'reset', 'reset --no-start'];
  commands.push('status', 'status --json', 'who', 'who --probe=1s', `stop ${named}`, `restart ${named}`);
  const away = { 'not mounted': 'umount -l /proc', 'an empty folder': 'mount -t tmpfs none /proc' };
  for (const [how, command] of Object.entries(away))
    for (const words of how === 'not mounted' ? commands : ['start', 'status']) {
      const inside = ['-m', 'sh', '-c', `${command} && exec "$@"`, 'sh', process.execPath, '--', PROGRAM];
      const sleep = /^start/.test(words) ? ['--', 'sleep', '1000'] : [];
      const it = b.spawn('unshare', [...inside, ...words.split(' '), ...sleep], { env: b.env });
      await it.ends(78);
      assert.match(it.stderr(), /^singlepoll: \/proc is not mounted/m, words);
      assert.match(it.stderr(), /→ mount -t proc/);
      assert.doesNotMatch(it.stderr(), /bug/);
    }
});

const isJs = (name: string) => name.endsWith('.js');
for (const [what, replace] of [
  ['gone', (dist: string) => rmSync(dist, { recursive: true })],
  [
    'of a version that does not fit',
    (dist: string) => {
      for (const name of readdirSync(dist).filter(isJs))
        writeFileSync(join(dist, name), 'throw new Error("of another version");\n');
    },
  ],
] as const)
  it(`its files are ${what} while it runs (an upgrade in place): crash, rival, alerts, watchers and stop`, async (b) => {
    const program = copyProgram(join(b.dir, 'package'));
    const words = ['start', '--log-file', join(b.dir, 'log'), ...POLITE];
    const env = { ...b.env, ASSISTANT_ADMIN_TELEGRAM_ID: '42' };
    const run = b.spawn(process.execPath, ['--', program, ...words], { env });
    await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, run);
    replace(join(b.dir, 'package/dist'));
    process.kill(polledBy(b, 'polite.mjs')[0]!, 'SIGKILL');
    await until('the next worker', () => polledBy(b, 'polite.mjs').length === 2, run);
    const stray = legacyPoller(b, 'rival_bot.py');
    await until('the rival to be stopped', () => stray.ended(), run);
    const isTold = () =>
      b.sandbox.raw.sent.some((it) => it.chatId === '42' && /^stray stopped/.test(it.text));
    await until('an alert', isTold, run);
    const watch = b.cli('status --watch --json');
    await watch.waitFor('"state":"polling"');
    watch.signal('SIGINT');
    await b.exits(0, 'stop');
    await run.ends(0);
    assert.doesNotMatch(run.stderr(), /bug|another version|ERR_MODULE_NOT_FOUND|Cannot find/i);
    assert.match(run.stderr(), /rival_bot\.py/);
  });

it('nohup: a hang-up that was ignored at the start stays ignored, and the worker is not told of it', async (b) => {
  const script = 'trap "" HUP; exec "$0" start -- "$@"';
  const run = b.spawn('/bin/sh', ['-c', script, COMMAND, ...node('prints-env.mjs')], { env: b.env });
  await until('the worker to poll', () => b.sandbox.polls().length > 0, run);
  for (let i = 0; i < 3; i++) run.signal('SIGHUP');
  // A signal of a later one that is not ignored: what came before it has been dealt with.
  run.signal('SIGUSR1');
  await run.waitFor(/SIGUSR1 passed on/);
  assert.doesNotMatch(run.stderr(), /SIGHUP|terminal has gone/);
  assert.doesNotMatch(run.stdout(), /HUP_IGNORED/);
  assert.equal(run.ended(), null);
});
