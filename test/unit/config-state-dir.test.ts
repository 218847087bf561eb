/** The state folder: where it is, that it is private, and that a folder of somebody else is refused. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  currentUser,
  findStateDir,
  openBotDir,
  openStateDir,
  stateDirPath,
} from '../../src/config/state-dir.ts';
import { EXIT, SinglepollError } from '../../src/errors.ts';

const uid = process.geteuid!();
let dir = '';
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
});
after(() => rmSync(dir, { recursive: true, force: true }));
const at = (name: string): string => join(dir, name);
const user = (home: string | null, as = uid) => ({ uid: as, home });

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

describe('place', () => {
  test('SINGLEPOLL_DIR, if it is not empty', () => {
    assert.equal(stateDirPath({ SINGLEPOLL_DIR: at('named') }, user(dir)), at('named'));
    assert.equal(stateDirPath({ SINGLEPOLL_DIR: '' }, user(dir)), at('.local/state/singlepoll'));
  });
  test('the home of the passwd entry, whatever the environment says', () => {
    const env = { HOME: '/elsewhere', XDG_STATE_HOME: '/xdg', TMPDIR: '/var/tmp' };
    assert.equal(stateDirPath(env, user(`${dir}/`)), at('.local/state/singlepoll'));
  });
  test('a process with another HOME, XDG_*, TMPDIR and folder comes to the same place', () => {
    const ask = (env: Record<string, string>, cwd: string): string =>
      askChild('print(stateDirPath(process.env));', { env, cwd });
    const usual = ask({ HOME: userInfo().homedir, PATH: process.env.PATH! }, process.cwd());
    const odd = { HOME: '/nonexistent', XDG_STATE_HOME: dir, XDG_RUNTIME_DIR: dir, TMPDIR: dir };
    assert.equal(ask(odd, dir), usual);
    assert.equal(usual, stateDirPath({}, currentUser()));
  });
  test('a home of no use: /tmp, whatever TMPDIR says', () => {
    for (const home of [null, '/nonexistent', '/', '', 'home', fileURLToPath(import.meta.url)])
      assert.equal(stateDirPath({ TMPDIR: dir }, user(home, 4711)), '/tmp/singlepoll-4711', String(home));
  });
  test('a home that cannot be written: /tmp', () => {
    const home = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
    chmodSync(home, 0o555);
    try {
      // Root may write anywhere, and access(2) goes by the real user: the child gives root up once it has its modules.
      const drop = uid === 0 ? 'process.setuid(65534);' : '';
      const place = askChild(
        `${drop} print(stateDirPath({}, { uid: 4711, home: ${JSON.stringify(home)} }));`,
      );
      assert.equal(place, '/tmp/singlepoll-4711');
    } finally {
      rmSync(home, { recursive: true });
    }
  });
  test('a folder that is there stays the place when the folders above can no longer be written', () => {
    const home = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
    const parents = [home, join(home, '.local'), join(home, '.local/state')];
    const state = join(home, '.local/state/singlepoll');
    mkdirSync(state, { recursive: true });
    for (const parent of parents) chmodSync(parent, 0o555);
    try {
      const drop = uid === 0 ? 'process.setuid(65534);' : '';
      const place = askChild(
        `${drop} print(stateDirPath({}, { uid: 4711, home: ${JSON.stringify(home)} }));`,
      );
      assert.equal(place, state);
    } finally {
      for (const parent of parents) chmodSync(parent, 0o755);
      rmSync(home, { recursive: true });
    }
  });
  test('a folder that is there stays the place, also when it cannot be used', () => {
    const home = at('home-with-file');
    mkdirSync(join(home, '.local/state'), { recursive: true });
    writeFileSync(join(home, '.local/state/singlepoll'), '');
    assert.equal(stateDirPath({}, user(home)), join(home, '.local/state/singlepoll'));
    assert.match(refusalOf(() => openStateDir({}, user(home))).message, /is not a folder/);
  });
});

describe('opening', () => {
  const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

  test('makes it with its parents, 0700, whatever the umask', () => {
    const before = process.umask(0o277);
    try {
      openStateDir({ SINGLEPOLL_DIR: at('umask') }, user(null));
    } finally {
      process.umask(before);
    }
    assert.equal(mode(at('umask')), '700');
    const open = process.umask(0);
    try {
      const { path } = openStateDir({ SINGLEPOLL_DIR: at('a/b/c') }, user(null));
      assert.deepEqual([mode(path), mode(at('a/b')), mode(at('a'))], ['700', '700', '700']);
    } finally {
      process.umask(open);
    }
  });
  test('opens it again, and a folder for each bot in it', () => {
    const env = { SINGLEPOLL_DIR: at('again') };
    openStateDir(env, user(null));
    const state = openStateDir(env, user(null));
    assert.equal(openBotDir(state, 123456), at('again/123456'));
    assert.equal(openBotDir(state, 123456), at('again/123456'));
    assert.equal(mode(at('again/123456')), '700');
  });

  const folder =
    (mode: number, file = false) =>
    (path: string) => {
      mkdirSync(path);
      if (file) writeFileSync(join(path, 'x'), '');
      chmodSync(path, mode);
    };
  const refused: [string, (path: string) => void, number, RegExp, RegExp][] = [
    ['a symlink', (path) => symlinkSync(dir, path), uid, /is a symlink/, /rm /],
    ['a symlink to nothing', (path) => symlinkSync('/nonexistent/x', path), uid, /is a symlink/, /rm /],
    ['a file', (path) => writeFileSync(path, ''), uid, /is not a folder/, /SINGLEPOLL_DIR=/],
    ['of another user', folder(0o700), uid + 1, /another user \(uid \d+, this is \d+\)/, /SINGLEPOLL_DIR=/],
    ['in use and readable for others', folder(0o755, true), uid, /\(mode 0755\)/, /^chmod 700 \//],
    ['writable for the group', folder(0o720), uid, /mode 0720/, /^chmod 700 \//],
    ['writable for all', folder(0o777), uid, /mode 0777/, /^chmod 700 \//],
    ['shared', folder(0o1777), uid, /mode 1777/, /^SINGLEPOLL_DIR=.*\/singlepoll, a folder of its own/],
  ];
  for (const [index, [title, make, as, message, hint]] of refused.entries()) {
    test(`refuses ${title}, to start in and to look into`, () => {
      const path = at(`refused-${index}`);
      make(path);
      const env = { SINGLEPOLL_DIR: path };
      for (const action of [openStateDir, findStateDir]) {
        const refusal = refusalOf(() => action(env, user(null, as)));
        assert.match(refusal.message, message);
        assert.ok(refusal.message.includes(JSON.stringify(path)));
        assert.match(refusal.hint ?? '', hint);
      }
    });
  }
  test('closes one that was made by hand: our own, empty, and not writable for others', () => {
    mkdirSync(at('by-hand'));
    chmodSync(at('by-hand'), 0o755);
    const env = { SINGLEPOLL_DIR: at('by-hand') };
    assert.deepEqual(findStateDir(env, user(null)), { path: at('by-hand') });
    assert.equal(mode(at('by-hand')), '755', 'a look changes nothing');
    openStateDir(env, user(null));
    assert.equal(mode(at('by-hand')), '700');
  });
  test('refuses a bot folder just so', () => {
    const state = openStateDir({ SINGLEPOLL_DIR: at('bots') }, user(null));
    symlinkSync(dir, join(state.path, '5'));
    assert.match(refusalOf(() => openBotDir(state, 5)).message, /is a symlink/);
  });
  test('says why it cannot be made', () => {
    writeFileSync(at('plain-file'), '');
    const cases: [string, RegExp][] = [
      [at('plain-file/x'), /cannot be looked at: not a directory \(ENOTDIR\)/],
      [at('x'.repeat(300)), /name too long/],
      ['/proc/self/singlepoll', /cannot be made|cannot be looked at/],
    ];
    for (const [path, message] of cases) {
      assert.match(refusalOf(() => openStateDir({ SINGLEPOLL_DIR: path }, user(null))).message, message);
    }
  });
});

describe('looking', () => {
  test('creates nothing', () => {
    assert.equal(findStateDir({ SINGLEPOLL_DIR: at('never/made') }, user(null)), null);
    assert.equal(existsSync(at('never')), false);
  });
  test('finds what is there', () => {
    openStateDir({ SINGLEPOLL_DIR: at('there') }, user(null));
    assert.deepEqual(findStateDir({ SINGLEPOLL_DIR: at('there') }, user(null)), { path: at('there') });
  });
});
