// Who may hold a bot's lock, and what each means for a start, stop and reset: one in another pid namespace, of another user, with another state folder, or with an older token. Every command that is printed is typed. And reset, the
// emergency: it survives a supervisor that hangs and one that died, takes strays, verifies, starts again.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { allGone, type Bed, bed, node, POLITE, randomToken } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { it, test, xit, xtest } from '../support/kinds.ts';
import { holdOtherUsers } from '../support/place.ts';
import { alive, findByEnv, readProc } from '../support/proc.ts';
import { NOBODY } from '../support/squatter.ts';
import { OWN_PIDS, polledBy, pollingStray, spawnIn } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const START = ['start', ...POLITE];

/** The commands that an error shows, without their comments. */
const hintsOf = (stderr: string): string[] =>
  stderr
    .split('\n')
    .filter((line) => line.startsWith('  → '))
    .map((line) => line.slice(4).split('    #')[0]!.trim());

/** As typed in a shell in which `singlepoll` is in the PATH; it must end well. */
async function type(b: Bed, command: string): Promise<void> {
  const bin = join(b.dir, 'bin');
  mkdirSync(bin, { recursive: true });
  b.file('../bin/singlepoll', `#!/bin/sh\nexec ${process.execPath} -- ${PROGRAM} "$@"\n`, 0o755);
  await b.spawn('/bin/sh', ['-c', command], { env: { ...b.env, PATH: `${bin}:${b.env.PATH}` } }).ends(0);
}

function folder(b: Bed, name: string, uid = 0): string {
  const path = join(b.dir, name);
  mkdirSync(path, { mode: 0o700 });
  chownSync(path, uid, uid);
  return path;
}

xit('one in another pid namespace is named so, and never signalled; the command that is printed stops it', async (b) => {
  const env = { ...b.env, SINGLEPOLL_DIR: folder(b, 'inside') };
  const command = ['-p', '-f', '--kill-child', '--mount-proc', process.execPath, '--', PROGRAM, ...START];
  const inside = b.spawn('unshare', command, { env });
  await until('it to poll', () => b.sandbox.polls().length > 0, inside);
  for (const words of [START, ['stop'], ['reset', '--no-start'], ['start', '--takeover', '--', 'true']])
    assert.match((await b.exits(75, words)).stderr, /another pid namespace \(a container\?\)/);
  assert.equal(inside.ended(), null);
  assert.equal(starts(b.journal()).length, 1);
  const { stderr } = await b.exits(75, 'stop', { env });
  await type({ ...b, env }, hintsOf(stderr)[0]!);
  await inside.ends(0);
});

xit('root in a pid namespace of its own, beside one outside that hangs: no sudo, which would change nothing', async (b) => {
  const outside = await b.polling();
  outside.signal('SIGSTOP');
  const command = [process.execPath, '--', PROGRAM, ...START];
  const inside = spawnIn(b, OWN_PIDS, command, { env: b.env });
  await inside.ends(75);
  assert.match(inside.stderr(), /→ singlepoll reset +# on the host, outside of this container or namespace/);
  assert.doesNotMatch(inside.stderr(), /sudo/);
  outside.signal('SIGCONT');
});

xit('one with another state folder is stopped by the command that is printed, or by reset', async (b) => {
  const theirs = { env: { ...b.env, SINGLEPOLL_DIR: folder(b, 'other state') } };
  const holder = await b.polling([], theirs);
  for (const words of [START, ['restart']])
    assert.match((await b.exits(75, words)).stderr, new RegExp(`\\b${holder.pid}\\b`));
  const stop = await b.exits(75, 'stop');
  assert.equal(holder.ended(), null);
  await type(b, hintsOf(stop.stderr)[0]!);
  await holder.ends(0);
  const second = await b.polling([], theirs);
  await b.exits(0, 'reset --no-start');
  await second.ends(0);
});

/** A bed whose bot has got a new token; the old one is still served. */
async function withNewToken(t: TestContext) {
  const b = await bed(t);
  const token = randomToken(b.botId);
  b.sandbox.raw.addBot(token);
  return { b, env: { ...b.env, TELEGRAM_BOT_TOKEN: token } };
}

test('a run with an older token is found by start, status, restart and stop; --takeover and --wait mind it', async (t) => {
  const { b, env } = await withNewToken(t);
  const old = await b.polling();
  assert.match((await b.exits(75, START, { env })).stderr, new RegExp(`\\b${old.pid}\\b`));
  assert.equal((await b.status({ env })).supervisor?.pid, old.pid);
  await b.exits(0, 'restart', { env });
  const waiter = b.start('--wait', { env });
  await waiter.waitFor(String(old.pid));
  const before = b.sandbox.polls().length;
  const next = b.start('--takeover', { env });
  await old.ends(0);
  await until('the next one to poll', () => b.sandbox.polls().length > before, next);
  assertNeverTwo(b);
  await b.exits(0, 'stop', { env });
});

for (const name of ['state2', 'x'.repeat(150)])
  xtest(`reset ends a run with an older token that hangs (state folder of ${name.length} letters)`, async (t) => {
    const { b, env } = await withNewToken(t);
    const SINGLEPOLL_DIR = folder(b, name);
    const old = await b.polling([], { env: { ...b.env, SINGLEPOLL_DIR } });
    old.signal('SIGSTOP');
    const { stderr } = await b.exits(75, START, { env: { ...env, SINGLEPOLL_DIR } });
    assert.match(stderr, new RegExp(`\\b${old.pid}\\b.*does not answer`));
    await b.exits(0, 'reset --no-start', { env: { ...env, SINGLEPOLL_DIR } });
    assert.equal(alive(old.pid), false);
  });

xit('of another user: root sees it as a run, with whose it is, says how to stop it, and reset ends it; an ordinary user can’t', async (b) => {
  chmodSync(b.project, 0o755);
  const theirs = { env: { ...b.env, SINGLEPOLL_DIR: folder(b, 'theirs', NOBODY) }, uid: NOBODY, cwd: '/' };
  await holdOtherUsers(b.t);
  const holder = await b.polling([], theirs);
  const { stderr } = await b.exits(77, 'stop');
  assert.deepEqual(hintsOf(stderr), [`kill ${holder.pid}`]);
  const { healthy, supervisor, strays } = await b.status();
  assert.deepEqual([healthy, supervisor?.user, strays], [true, 'nobody', []]);
  const all = await b.exits(0, 'status --all');
  assert.match(all.stdout, new RegExp(`${b.botId}.* of nobody +\\w+ +${holder.pid}\\b`));
  const seen = await b.exits(0, 'who', theirs);
  assert.match(
    seen.stdout,
    /^nobody else among the \d+ processes that this user may see holds its token or carries its name; \d+ processes .* root/m,
  );
  assert.equal(JSON.parse((await b.exits(0, 'who --json', theirs)).stdout).complete, false);
  await b.exits(0, 'reset --no-start');
  await holder.ends(0);
  const roots = await b.polling();
  for (const [words, code] of [
    [START, 75],
    [['stop'], 77],
    [['restart'], 77],
    [['reset', '--no-start'], 77],
  ] as const)
    assert.match((await b.exits(code, words, theirs)).stderr, new RegExp(`\\b${roots.pid}\\b.*root`));
  for (const words of ['who', 'status']) await b.exits([0, 1, 3], words, theirs);
  assert.equal(roots.ended(), null);
  assert.ok(findByEnv('SINGLEPOLL_BOT', String(b.botId)).length > 0);
});

for (const state of ['healthy', 'hung'] as const)
  it(`reset: a supervisor that is ${state}; the last command runs again, with its options; twice`, async (b) => {
    let old = await b.polling('--max-restarts 7/3m --stop-timeout 2s');
    for (let round = 0; round < 2; round++) {
      const workers = polledBy(b, 'polite.mjs');
      if (state === 'hung') old.signal('SIGSTOP');
      const next = b.cli('reset --stop-timeout 2s');
      const isNew = () => polledBy(b, 'polite.mjs').some((pid) => !workers.includes(pid));
      await until('a new worker to poll', isNew, next);
      assert.equal(alive(old.pid), false, 'the old supervisor is gone');
      await allGone(workers);
      assert.match(next.stderr(), /--max-restarts "7\/3m"/);
      assertNoToken(next.stdout() + next.stderr(), b.token);
      if (state === 'healthy') await old.ends(0);
      old = next;
    }
    await b.exits(0, 'status --json');
    assertNeverTwo(b);
  });

xit('a state folder that may not be read: 78 with its path, and no word of a supervisor that hangs', async (b) => {
  chmodSync(b.project, 0o755);
  const theirs = { env: { ...b.env, SINGLEPOLL_DIR: folder(b, 'closed', NOBODY) }, uid: NOBODY, cwd: '/' };
  await holdOtherUsers(b.t);
  const run = await b.polling([], theirs);
  await b.exits(0, 'stop', theirs);
  await run.ends(0);
  chmodSync(join(theirs.env.SINGLEPOLL_DIR, String(b.botId)), 0);
  for (const words of ['status', 'stop', 'restart', 'reset --no-start', 'logs']) {
    const { stderr } = await b.exits(78, words, theirs);
    assert.match(stderr, /the system refuses: .*EACCES.*closed.*\n {2}→ namei -l \S*closed/, words);
  }
});

xit('reset: a supervisor that is killed while it ends as asked, of whose end its parent takes no note, has ended', async (b) => {
  const command = [process.execPath, '--', PROGRAM, 'start', '--stop-timeout', '60s', '--'];
  const words = [...command, ...node('ignores-term.mjs')];
  const parent = b.spawn('sh', ['-c', '"$@" & exec sleep 1000', 'sh', ...words], { env: b.env });
  await until('it to poll', () => polledBy(b, 'ignores-term.mjs').length > 0, parent);
  const pid = (await b.status()).supervisor?.pid ?? -1;
  const reset = b.cli('reset --no-start');
  await reset.waitFor(/ending the supervisor/);
  process.kill(pid, 'SIGKILL');
  await reset.ends(0);
  assert.equal(readProc(pid)?.state, 'Z');
  assert.deepEqual(polledBy(b, 'ignores-term.mjs').filter(alive), []);
});

it('reset --no-start: supervisor, worker, strays and webhook are gone, exit 0, nothing is left', async (b) => {
  const old = await b.polling(['--stop-timeout', '2s', '--', ...node('setsid-child.mjs')]);
  old.signal('SIGSTOP');
  const stray = await pollingStray(b, 'production_polling_bot.py');
  await b.sandbox.setWebhook('https://hooks.example.com/s3cret-path-4711');
  const pending = (await b.sandbox.webhookInfo()).pending_update_count;
  const { text } = await b.exits(0, 'reset --no-start --stop-timeout 2s');
  // The hung one may wake at the SIGTERM and stop the stray itself on its way out: either says so.
  assert.match(text + old.stderr(), new RegExp(`\\b${stray.pid}\\b`));
  assert.doesNotMatch(text, /4711/);
  assertNoToken(text, b.token);
  assert.deepEqual([old.pid, stray.pid].filter(alive), [], `${text}\n${old.seen()}`);
  // The shell that waits for the next worker ends with its supervisor's pipe.
  await until('the last process to end', () => findByEnv('SINGLEPOLL_BOT', String(b.botId)).length === 0);
  const { url, pending_update_count: left } = await b.sandbox.webhookInfo();
  assert.deepEqual([url, left], ['', pending], 'updates are kept');
  await b.exits(3, 'status');
});

it('reset typed inside the worker, with which it would end itself: 64, and everything goes on', async (b) => {
  const run = await b.polling();
  // As a worker gives it to what it starts.
  const env = { ...b.env, SINGLEPOLL_BOT: String(b.botId), SINGLEPOLL_RUN: 'a-run' };
  for (const [words, next] of [
    ['reset', 'restart'],
    ['reset --no-start', 'stop'],
  ] as const) {
    const { stderr } = await b.exits(64, words, { env });
    assert.deepEqual(hintsOf(stderr), [`singlepoll ${next}`]);
    assert.equal(run.ended(), null);
  }
  await b.serves(run);
  await b.exits(0, 'stop', { env });
  await run.ends(0);
  const next = b.cli('reset', { env });
  await next.waitFor(/\[poll\] worker \d+ polls/);
});

it('reset: with a command given that one runs; nothing to start is 78; where nothing runs --no-start is 0', async (b) => {
  await b.exits(78, 'reset');
  await b.exits(0, 'reset --no-start');
  await b.polling();
  const next = b.cli(['reset', '--', ...node('retries-on-409.mjs')]);
  await until('the given worker', () => polledBy(b, 'retries-on-409.mjs').length === 1, next);
  assert.equal(polledBy(b, 'polite.mjs').length, 1);
  await b.exits(0, 'stop');
  // One that could not be remembered, for it holds the token: reset does not go back to an older command.
  await b.exits(0, ['start', '--restart', 'never', '--', 'true', b.token]);
  await b.exits(78, 'reset');
  assert.deepEqual(readdirSync(join(b.stateDir, String(b.botId))), ['history.json']);
});

xit('reset: from another folder the last command runs in its own folder, flags mean files of this one; a folder that is gone is 78', async (b) => {
  const cwd = join(b.dir, 'release-1');
  mkdirSync(cwd);
  const old = await b.polling(['--', ...node('prints-env.mjs')], { cwd });
  old.signal('SIGKILL');
  writeFileSync(join(b.dir, 'here.env'), 'FROM_HERE=yes\n');
  const next = b.cli('reset --env-file here.env --log-file here.log', { cwd: b.dir });
  await until('the worker', () => next.stdout().includes('ENV '), next);
  const shown = next.stdout().split('ENV ')[1]?.split('\n')[0] ?? '';
  assert.equal(JSON.parse(shown).cwd, cwd);
  assert.match(shown, /"FROM_HERE":"yes"/);
  assert.ok(existsSync(join(b.dir, 'here.log')));
  rmSync(cwd, { recursive: true });
  const { stderr } = await b.exits(78, 'reset');
  assert.match(stderr, /working folder .*release-1.* gone/);
  assert.equal(next.ended(), null, 'nothing was stopped for it');
});

it('a reset under way takes no orders, and is named as one, with the command that ends it', async (b) => {
  const stray = await pollingStray(b, 'stubborn_bot.py', { args: ['--ignore-term'] });
  const reset = b.cli('reset --no-start --stop-timeout 60s');
  await reset.waitFor(/stopping pid/);
  const { stderr } = await b.exits(75, 'stop');
  const named =
    /the supervisor is a reset under way, which takes no orders: pid (\d+) [\s\S]*→ kill (\d+) /.exec(stderr);
  assert.deepEqual(named?.slice(1), [String(reset.pid), String(reset.pid)], stderr);
  process.kill(Number(named?.[2]));
  await reset.exit();
  assert.ok(alive(stray.pid), 'it had its time still');
});
