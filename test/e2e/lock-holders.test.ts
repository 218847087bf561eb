// Who may hold a bot's lock, and what each means for a start, stop and reset: one that is stopped, one of an older release, one in another
// container, of another user, with another state folder, or with an older token. Every command that is printed is typed.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Bed, bed, node, randomToken } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { lockNames, NOBODY, paddedName } from '../support/squatter.ts';
import { until } from '../support/wait.ts';

const START = ['start', '--', ...node('polite.mjs')];

/** The commands that an error shows, without their comments. */
const hintsOf = (stderr: string): string[] => {
  const lines = stderr.split('\n');
  return lines
    .filter((line) => line.startsWith('  → '))
    .map((line) => line.slice(4).split('    #')[0]!.trim());
};

/** As typed in a shell in which `singlepoll` is in the PATH. */
async function type(b: Bed, command: string) {
  const bin = join(b.dir, 'bin');
  mkdirSync(bin, { recursive: true });
  b.file('../bin/singlepoll', `#!/bin/sh\nexec ${process.execPath} -- ${PROGRAM} "$@"\n`, 0o755);
  const run = b.spawn('/bin/sh', ['-c', command], { env: { ...b.env, PATH: `${bin}:${b.env.PATH}` } });
  const exit = await run.exit(40_000);
  return { ...exit, stdout: run.stdout(), stderr: run.stderr() };
}

function folder(b: Bed, name: string, uid = 0): string {
  const path = join(b.dir, name);
  mkdirSync(path, { mode: 0o700 });
  chownSync(path, uid, uid);
  return path;
}

async function oldHolder(b: Bed) {
  const script = join(b.dir, 'singlepoll.cjs');
  copyFileSync(fileURLToPath(new URL('../fixtures/old-holder.cjs', import.meta.url)), script);
  const hex = Buffer.from(paddedName(lockNames(b)[0]!)).toString('hex');
  return b.spawn(process.execPath, [script, hex]);
}

test('holders: one that is stopped does not answer: 75, and reset ends it', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  holder.signal('SIGSTOP');
  const result = await b.run(START);
  assert.equal(result.code, 75, result.stderr);
  assert.match(result.stderr, new RegExp(`\\b${holder.pid}\\b.*does not answer`));
  assert.deepEqual(hintsOf(result.stderr), ['singlepoll reset']);
  const reset = await b.run(['reset', '--no-start']);
  assert.equal(reset.code, 0, reset.stderr);
  assert.equal(alive(holder.pid), false);
});

test('holders: an older release is named, and ended by the command that is printed; the other way round it yields', async (t) => {
  const b = await bed(t);
  const old = await oldHolder(b);
  await old.waitFor('holds');
  const result = await b.run(START);
  assert.equal(result.code, 75, result.stderr);
  assert.match(result.stderr, new RegExp(`\\b${old.pid}\\b.*older release`));
  assert.equal(starts(b.journal()).length, 0);
  assert.equal((await type(b, hintsOf(result.stderr)[0]!)).code, 0);
  assert.equal((await old.exit()).code, 0);
  await b.polling(['--', ...node('polite.mjs')]);
  const late = await oldHolder(b);
  assert.equal((await late.exit()).code, 75);
});

test('holders: reset ends an older release', async (t) => {
  const b = await bed(t);
  const old = await oldHolder(b);
  await old.waitFor('holds');
  const reset = await b.run(['reset', '--no-start']);
  assert.equal(reset.code, 0, reset.stderr);
  assert.equal((await old.exit()).code, 0);
});

test('holders: one in another container is named so, and never signalled', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, SINGLEPOLL_DIR: folder(b, 'inside') };
  const command = ['-p', '-f', '--kill-child', '--mount-proc', process.execPath, '--', PROGRAM, ...START];
  const inside = b.spawn('unshare', command, { env });
  await until('it to poll', () => b.sandbox.polls().length > 0, { seen: inside.seen });
  for (const words of [START, ['stop'], ['reset', '--no-start'], ['start', '--takeover', '--', 'true']]) {
    const result = await b.run(words);
    assert.equal(result.code, 75, `${words}: ${result.stderr}`);
    assert.match(result.stderr, /another container/);
  }
  assert.equal(inside.ended(), null);
  assert.equal(starts(b.journal()).length, 1);
});

test('holders: one with another state folder is stopped by the command that is printed', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, SINGLEPOLL_DIR: folder(b, 'other state') };
  const plain = { ...b.env, SINGLEPOLL_DIR: folder(b, 'other') };
  for (const theirs of [plain, env]) {
    const holder = await b.polling(['--', ...node('polite.mjs')], { env: theirs });
    for (const words of [START, ['stop'], ['restart']]) {
      const result = await b.run(words);
      assert.equal(result.code, 75, result.stderr);
      assert.match(result.stderr, new RegExp(`\\b${holder.pid}\\b`));
      assert.equal(holder.ended(), null);
    }
    const stop = await b.run(['stop']);
    const typed = await type(b, hintsOf(stop.stderr)[0]!);
    assert.equal(typed.code, 0, `${hintsOf(stop.stderr)}: ${typed.stderr}`);
    assert.equal((await holder.exit()).code, 0);
  }
});

test('holders: reset ends one with another state folder, by SIGTERM', async (t) => {
  const b = await bed(t);
  const env = { ...b.env, SINGLEPOLL_DIR: folder(b, 'other') };
  const holder = await b.polling(['--', ...node('polite.mjs')], { env });
  const reset = await b.run(['reset', '--no-start']);
  assert.equal(reset.code, 0, reset.stderr);
  assert.equal((await holder.exit()).code, 0, holder.seen());
});

/** A bed whose bot has got a new token; the old one is still served. */
async function withNewToken(t: TestContext) {
  const b = await bed(t);
  const old = await b.polling(['--', ...node('polite.mjs')]);
  const token = randomToken(b.botId);
  b.sandbox.raw.addBot(token);
  return { b, old, env: { ...b.env, TELEGRAM_BOT_TOKEN: token } };
}

test('holders: a run with an older token is found by start, status, restart and stop', async (t) => {
  const { b, old, env } = await withNewToken(t);
  const second = await b.run(START, { env });
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`\\b${old.pid}\\b`));
  assert.equal((await b.status({ env })).supervisor?.pid, old.pid);
  const restart = await b.run(['restart'], { env });
  assert.equal(restart.code, 0, restart.stderr);
  const stop = await b.run(['stop'], { env });
  assert.equal(stop.code, 0, stop.stderr);
  assert.equal((await old.exit()).code, 0);
  await b.polling(['--', ...node('polite.mjs')], { env });
  assertNeverTwo(b);
});

test('holders: --takeover and --wait mind a run with an older token', async (t) => {
  const { b, old, env } = await withNewToken(t);
  const waiter = b.cli(['start', '--wait', '--', ...node('polite.mjs')], { env });
  await waiter.waitFor(String(old.pid));
  const before = b.sandbox.polls().length;
  const next = b.cli(['start', '--takeover', '--', ...node('polite.mjs')], { env });
  assert.equal((await old.exit()).code, 0, next.seen());
  await until('the next one to poll', () => b.sandbox.polls().length > before, { seen: next.seen });
  assertNeverTwo(b);
});

for (const length of ['short', 'long'] as const) {
  test(`holders: reset ends a run with an older token that is stopped (${length} path)`, async (t) => {
    const { b, env: base } = await withNewToken(t);
    const state = folder(b, length === 'long' ? 'x'.repeat(150) : 'state2');
    const env = { ...base, SINGLEPOLL_DIR: state };
    assert.equal((await b.run(['stop'])).code, 0);
    const old = await b.polling(['--', ...node('polite.mjs')], { env: { ...b.env, SINGLEPOLL_DIR: state } });
    old.signal('SIGSTOP');
    const second = await b.run(START, { env });
    assert.equal(second.code, 75, second.stderr);
    assert.match(second.stderr, new RegExp(`\\b${old.pid}\\b.*does not answer`));
    const reset = await b.run(['reset', '--no-start'], { env });
    assert.equal(reset.code, 0, reset.stderr);
    assert.equal(alive(old.pid), false);
  });
}

test('holders: of another user: root says how to stop it, reset ends it; an ordinary user can’t', async (t) => {
  const b = await bed(t);
  chmodSync(b.project, 0o755);
  const theirs = { env: { ...b.env, SINGLEPOLL_DIR: folder(b, 'theirs', NOBODY) }, uid: NOBODY, cwd: '/' };
  const holder = await b.polling(['--', ...node('polite.mjs')], theirs);
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 77, stop.stderr);
  const cure = `sudo -u '#${NOBODY}' env SINGLEPOLL_DIR=${join(b.dir, 'theirs')} singlepoll stop`;
  assert.deepEqual(hintsOf(stop.stderr), [cure]);
  const reset = await b.run(['reset', '--no-start']);
  assert.equal(reset.code, 0, reset.stderr);
  assert.equal((await holder.exit()).code, 0, holder.seen());

  const roots = await b.polling(['--', ...node('polite.mjs')]);
  for (const [words, code] of [
    [START, 75],
    [['stop'], 77],
    [['reset', '--no-start'], 77],
  ] as const) {
    const result = await b.run(words, theirs);
    assert.equal(result.code, code, result.stderr);
    assert.match(result.stderr, new RegExp(`\\b${roots.pid}\\b.*root`));
  }
  assert.equal(roots.ended(), null);
  assert.ok(findByEnv('SINGLEPOLL_BOT', String(b.botId)).length > 0);
});
