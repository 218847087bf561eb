// Hostile surroundings: bad state folders, garbage at the control socket, processes with nasty command lines,
// thousands of processes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node, PYTHON, worker } from '../support/bed.ts';
import { controlSockets, flood } from '../support/garbage.ts';
import { assertNoControls, assertNoToken, handled, starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

/** `start` either refuses with a clear word about the folder and touches nothing, or the folder is not used at all. */
async function refusesFolder(b: Bed, folder: string, codes = [78, 77]): Promise<void> {
  const result = await b.run(['start', '--', ...node('polite.mjs')], {
    env: { ...b.env, SINGLEPOLL_DIR: folder },
  });
  assert.ok(codes.includes(result.code ?? -1), `${result.code} ${result.stderr}`);
  assert.ok(result.stderr.includes(folder), result.stderr);
  assert.doesNotMatch(result.stderr, /\n\s+at .*:\d+:\d+/, 'no stack trace');
  assert.equal(starts(b.journal()).length, 0);
}

test('state folder: a symbolic link, world-writable, a file', async (t) => {
  const b = await bed(t);
  const real = join(b.dir, 'real');
  mkdirSync(real, { mode: 0o700 });
  const link = join(b.dir, 'link');
  symlinkSync(real, link);
  await refusesFolder(b, link);
  const open = join(b.dir, 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  await refusesFolder(b, open);
  const file = join(b.dir, 'file');
  writeFileSync(file, 'x');
  await refusesFolder(b, file);
});

test('state folder: made when it is missing, for its user only', async (t) => {
  const b = await bed(t);
  const fresh = join(b.dir, 'fresh');
  b.env.SINGLEPOLL_DIR = fresh;
  await b.polling(['--', ...node('polite.mjs')]);
  const mode = spawnSync('stat', ['-c', '%a', fresh], { encoding: 'utf8' }).stdout.trim();
  assert.equal(mode, '700');
});

test('state folder: of another user, read-only, full (root only has other users and mounts)', async (t) => {
  const b = await bed(t);
  if (process.getuid?.() !== 0) {
    const readOnly = join(b.dir, 'read-only');
    mkdirSync(readOnly, { mode: 0o500 });
    await refusesFolder(b, readOnly, [78, 77]);
    await refusesFolder(b, '/root', [78, 77]);
    return;
  }
  const other = join(b.dir, 'other');
  mkdirSync(other, { mode: 0o700 });
  chownSync(other, 65534, 65534);
  await refusesFolder(b, other);

  for (const [name, options, fill] of [
    ['ro', 'size=64k,mode=700,ro', false],
    ['full', 'size=16k,mode=700', true],
  ] as const) {
    const folder = join(b.dir, name);
    mkdirSync(folder, { mode: 0o700 });
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { encoding: 'utf8' });
    if (mounted.status !== 0) {
      // A container without the right to mount: a folder that cannot exist stands in.
      await refusesFolder(b, '/proc/singlepoll-state');
      continue;
    }
    try {
      if (fill) spawnSync('sh', ['-c', `head -c 64k /dev/zero > '${folder}/filler'`], { stdio: 'ignore' });
      const run = b.cli(['start', '--', ...node('polite.mjs')], {
        env: { ...b.env, SINGLEPOLL_DIR: folder },
      });
      const before = b.sandbox.polls().length;
      await until(
        'an end with a clear error, or a worker',
        () => run.ended() || b.sandbox.polls().length > before,
        {
          seen: run.seen,
        },
      );
      const ended = run.ended();
      if (ended) {
        assert.ok([78, 69, 77].includes(ended.code ?? -1), run.seen());
        assert.ok(run.stderr().includes(folder), run.stderr());
      } else {
        run.signal('SIGTERM');
        assert.equal((await run.exit()).code, 0, run.seen());
      }
      assert.doesNotMatch(run.stderr(), /\n\s+at .*:\d+:\d+/, 'no stack trace');
    } finally {
      spawnSync('umount', ['-l', folder]);
    }
  }
});

test('control socket: garbage, half-open connections and megabytes do no harm', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const sockets = controlSockets(run.pid);
  assert.ok(sockets.length > 0, 'the supervisor listens somewhere');
  for (const path of sockets) await flood(path);
  const id = b.sandbox.text('after');
  await until('the worker to serve', () => handled(b.journal()).has(id), { seen: run.seen });
  const status = await b.run(['status', '--json'], { ms: 10_000 });
  assert.equal(status.code, 0, status.stdout + status.stderr);
  assert.equal(JSON.parse(status.stdout).supervisor.pid, run.pid);
  assert.equal(polledBy(b, 'polite.mjs').length, 1, 'nothing was restarted');
  const kb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${run.pid}/status`, 'latin1'))?.[1]);
  assert.ok(kb < 250_000, `peak ${kb} kB`);
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 0, stop.stderr);
});

test('control socket: another user of the machine is not served', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  if (process.getuid?.() === 0) {
    for (const path of controlSockets(run.pid)) {
      const answer = spawnSync(
        PYTHON,
        [
          '-c',
          `import socket,sys
s=socket.socket(socket.AF_UNIX); s.settimeout(2)
p=sys.argv[1]; s.connect("\\0"+p[1:] if p[0]=="@" else p)
s.sendall(b'stop\\n{"command":"stop"}\\n{"cmd":"stop"}\\n{"op":"stop"}\\n{"method":"stop"}\\n'); print(len(s.recv(10)))`,
          path,
        ],
        { uid: 65534, gid: 65534, encoding: 'utf8' },
      );
      assert.ok(answer.error === undefined);
    }
  }
  await staysTrue(
    'the supervisor and its worker live',
    1000,
    () => !run.ended() && polledBy(b, 'polite.mjs').length === 1,
  );
});

test('processes with newlines, escapes, invalid UTF-8 and 1.5 MB in their command lines', async (t) => {
  const b = await bed(t);
  const start = (env: Record<string, string>) =>
    b.spawn(PYTHON, [worker('../hostile-exec.py'), worker('poller.py'), '1500000'], { env });
  const guilty = start({ LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root });
  const innocent = start({ LEGACY_TOKEN: 'x', LEGACY_ROOT: 'http://127.0.0.1:1' });
  await until('both', () => starts(b.journal()).length === 2 && polledBy(b, 'poller.py').length === 1);
  for (const args of [
    ['who'],
    ['status'],
    ['who', '--json'],
    ['status', '--json'],
    ['start', '--dry-run', '--', 'true'],
  ]) {
    const result = await b.run(args);
    assert.notEqual(result.code, 70, result.stderr);
    assertNoControls(result.stdout);
    assertNoControls(result.stderr);
    assertNoToken(result.stdout + result.stderr, b.token);
    assert.ok(result.stdout.length + result.stderr.length < 100_000, `${args}: a flood`);
    // A dry run asks nobody, so it names nobody who would only react.
    const shown = args.includes('--dry-run') ? 'a dry run asks nobody' : `\\b${guilty.pid}\\b`;
    assert.match(result.stdout + result.stderr, new RegExp(shown), String(args));
  }
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, { seen: run.seen });
  await until('the guilty one to be gone', () => !alive(guilty.pid), { seen: run.seen });
  assert.equal(alive(innocent.pid), true, 'holds no token of this bot');
  assertNoControls(run.stderr());
});

test('3,000 processes on the machine: start, status and stop in good time', async (t) => {
  const b = await bed(t);
  const many = b.spawn(PYTHON, [worker('../many.py'), '3000']);
  await many.waitFor('ready', 60_000);
  const begin = performance.now();
  await b.polling(['--', ...node('polite.mjs')], { ms: 30_000 });
  assert.ok(performance.now() - begin < 10_000, `start took ${Math.round(performance.now() - begin)} ms`);
  const status = await b.run(['status'], { ms: 20_000 });
  assert.equal(status.code, 0, status.stdout + status.stderr);
  const stop = await b.run(['stop'], { ms: 20_000 });
  assert.equal(stop.code, 0, stop.stdout + stop.stderr);
});
