/** The state folder: where it is, that it is private, and that a folder of somebody else is refused. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  currentUser,
  findStateDir,
  openBotDir,
  openStateDir,
  stateDirPath,
} from '../../src/config/state-dir.ts';
import { EXIT, SinglepollError } from '../../src/errors.ts';
import { newFolder } from '../support/place.ts';

const uid = process.geteuid!();
const dir = newFolder();
const at = (name: string): string => join(dir, name);
const user = (home: string | null, as = uid) => ({ uid: as, home });
const named = (name: string) => ({ SINGLEPOLL_DIR: at(name) });
const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

function refusalOf(action: () => unknown): SinglepollError {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof SinglepollError, String(error));
    assert.equal(error.exitCode, EXIT.config);
    return error;
  }
  assert.fail('was not refused');
}

/** Runs a line of code with stateDirPath in a process of its own; what it prints. */
function askChild(code: string, options: { env?: Record<string, string>; cwd?: string } = {}): string {
  const module = new URL('../../src/config/state-dir.ts', import.meta.url).href;
  const script = at('child.mts');
  const print = 'const print = (text: string) => process.stdout.write(text);';
  writeFileSync(script, `import { stateDirPath } from ${JSON.stringify(module)};\n${print}\n${code}\n`);
  const args = ['--import', import.meta.resolve('tsx'), script];
  return execFileSync(process.execPath, args, { ...options, encoding: 'utf8' });
}

test('a SINGLEPOLL_DIR that depends on the working folder is refused, with the absolute one', () => {
  for (const [path, hint] of [
    ['state', `export SINGLEPOLL_DIR=${process.cwd()}/state`],
    ['~/x y', "export SINGLEPOLL_DIR='/home/u/x y'"],
  ] as const) {
    const refusal = refusalOf(() => stateDirPath({ SINGLEPOLL_DIR: path }, user('/home/u')));
    assert.match(refusal.message, /a relative path is another folder for each working folder/);
    assert.equal(refusal.hint, hint);
  }
});

test('the place: SINGLEPOLL_DIR, else the home of the passwd entry, else /tmp; nothing else counts', () => {
  assert.equal(stateDirPath(named('named'), user(dir)), at('named'));
  const env = { SINGLEPOLL_DIR: '', HOME: '/elsewhere', XDG_STATE_HOME: '/xdg', TMPDIR: '/var/tmp' };
  assert.equal(stateDirPath(env, user(`${dir}/`)), at('.local/state/singlepoll'));
  for (const home of [null, '/nonexistent', '/', '', 'home', fileURLToPath(import.meta.url)])
    assert.equal(stateDirPath({ TMPDIR: dir }, user(home, 4711)), '/tmp/singlepoll-4711', String(home));
  const ask = (own: Record<string, string>, cwd: string): string =>
    askChild('print(stateDirPath(process.env));', { env: own, cwd });
  const usual = ask({ HOME: userInfo().homedir, PATH: process.env.PATH! }, process.cwd());
  const others = { HOME: '/nonexistent', XDG_STATE_HOME: dir, XDG_RUNTIME_DIR: dir, TMPDIR: dir };
  assert.equal(ask(others, dir), usual);
  assert.equal(usual, stateDirPath({}, currentUser()));
});

test('a home that cannot be written is none, unless the folder is there: it stays the place', (t) => {
  const home = newFolder(t);
  const state = join(home, '.local/state/singlepoll');
  const parents = [home, join(home, '.local'), join(home, '.local/state')];
  // Root may write anywhere, and access(2) goes by the real user: the child gives root up once it has its modules.
  const drop = uid === 0 ? 'process.setuid(65534);' : '';
  const ask = () =>
    askChild(`${drop} print(stateDirPath({}, { uid: 4711, home: ${JSON.stringify(home)} }));`);
  chmodSync(home, 0o555);
  assert.equal(ask(), '/tmp/singlepoll-4711');
  chmodSync(home, 0o755);
  mkdirSync(state, { recursive: true });
  for (const parent of parents) chmodSync(parent, 0o555);
  assert.equal(ask(), state);
  for (const parent of parents) chmodSync(parent, 0o755);
  rmSync(state, { recursive: true });
  writeFileSync(state, '');
  assert.match(refusalOf(() => openStateDir({}, user(home))).message, /is not a folder/);
});

test('made with its parents and a folder for each bot, 0700, whatever the umask; a look makes nothing', () => {
  assert.equal(findStateDir(named('a/b/c'), user(null)), null);
  assert.equal(existsSync(at('a')), false);
  for (const [umask, name] of [
    [0, 'a/b/c'],
    [0o277, 'umask'],
  ] as const) {
    const before = process.umask(umask);
    try {
      openStateDir(named(name), user(null));
      assert.equal(openBotDir(123456, named(name), user(null)), at(`${name}/123456`));
      assert.deepEqual([mode(at(name)), mode(at(`${name}/123456`))], ['700', '700']);
    } finally {
      process.umask(before);
    }
  }
  assert.deepEqual([mode(at('a')), mode(at('a/b'))], ['700', '700']);
  assert.deepEqual(findStateDir(named('a/b/c'), user(null)), at('a/b/c'));
  const state = openStateDir(named('bots'), user(null));
  symlinkSync(dir, join(state, '5'));
  assert.match(refusalOf(() => openBotDir(5, named('bots'), user(null))).message, /is a symlink/);
});

test('one that was made by hand is closed when it is opened: our own, empty, and not writable for others', () => {
  mkdirSync(at('by-hand'));
  chmodSync(at('by-hand'), 0o755);
  findStateDir(named('by-hand'), user(null));
  assert.equal(mode(at('by-hand')), '755', 'a look changes nothing');
  openStateDir(named('by-hand'), user(null));
  assert.equal(mode(at('by-hand')), '700');
});

test('what cannot be trusted is refused, to start in and to look into', () => {
  const folder =
    (bits: number, isUsed = false) =>
    (path: string) => {
      mkdirSync(path);
      if (isUsed) writeFileSync(join(path, 'x'), '');
      chmodSync(path, bits);
    };
  const refused: [(path: string) => void, number, RegExp, RegExp][] = [
    [(path) => symlinkSync('/nonexistent/x', path), uid, /is a symlink/, /rm /],
    [(path) => writeFileSync(path, ''), uid, /is not a folder/, /SINGLEPOLL_DIR=/],
    [folder(0o700), uid + 1, /another user \(uid \d+, this is \d+\)/, /SINGLEPOLL_DIR=/],
    [folder(0o755, true), uid, /\(mode 0755\)/, /^chmod 700 \//],
    [folder(0o720), uid, /mode 0720/, /^chmod 700 \//],
    [folder(0o1777), uid, /mode 1777/, /^SINGLEPOLL_DIR=.*\/singlepoll, a folder of its own/],
  ];
  for (const [index, [make, as, message, hint]] of refused.entries()) {
    const name = `refused-${index}`;
    make(at(name));
    for (const action of [openStateDir, findStateDir]) {
      const refusal = refusalOf(() => action(named(name), user(null, as)));
      assert.match(refusal.message, message);
      assert.ok(refusal.message.includes(JSON.stringify(at(name))));
      assert.match(refusal.hint ?? '', hint);
    }
  }
  writeFileSync(at('plain-file'), '');
  const impossible: [string, RegExp][] = [
    [at('plain-file/x'), /ENOTDIR: not a directory$/],
    [at('x'.repeat(300)), /ENAMETOOLONG: name too long$/],
    ...['/proc/self/singlepoll', '/proc/none/at/all'].map((it): [string, RegExp] => [it, /be made: ENOENT/]),
  ];
  for (const [path, message] of impossible)
    assert.match(refusalOf(() => openStateDir({ SINGLEPOLL_DIR: path }, user(null))).message, message);
});
