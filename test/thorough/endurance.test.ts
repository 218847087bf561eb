// What must not pile up or get stuck: descriptors, zombies, memory, held pipes; and what must not be written.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNeverTwo, assertNoToken, starts } from '../support/judge.ts';
import { alive, allPids, commandOf, findByEnv, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const descriptors = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
const cpuTicks = (pid: number) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
};

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesUnder(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

async function killTheWorker(b: Bed): Promise<void> {
  const count = polledBy(b, 'polite.mjs').length;
  process.kill(polledBy(b, 'polite.mjs').at(-1) ?? -1, 'SIGKILL');
  await until('the next worker', () => polledBy(b, 'polite.mjs').length > count, { ms: 20_000 });
}

test('thirty restarts leave no descriptors, no zombies, one worker', async (t) => {
  const b = await bed(t);
  const run = await b.polling([
    '--max-restarts',
    '1000/1m',
    '--backoff',
    '5ms,10ms',
    '--',
    ...node('polite.mjs'),
  ]);
  for (let round = 0; round < 5; round++) await killTheWorker(b);
  const before = descriptors(run.pid);
  for (let round = 0; round < 25; round++) await killTheWorker(b);
  // What the next worker needs may be there already, or not yet: the six ends of its pipes, and the gateway's next socket.
  assert.ok(descriptors(run.pid) <= before + 8, `${before} → ${descriptors(run.pid)} descriptors`);
  const zombies = allPids().filter((pid) => {
    const proc = readProc(pid);
    return proc?.ppid === run.pid && proc.state === 'Z';
  });
  assert.deepEqual(zombies, []);
  assertNeverTwo(b);
  assert.equal((await b.status()).worker?.spawns, 31);
});

test('no token in any file of the state folder, in any argument, or in the environment given beyond its variable', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await b.run(['restart']);
  await until('a second worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: run.seen });
  const paths = filesUnder(b.stateDir).filter((path) => statSync(path).isFile());
  for (const path of paths) {
    assertNoToken(readFileSync(path, 'latin1'), b.token);
    assert.equal(statSync(path).mode & 0o077, 0, `${path} is for its user only`);
  }
  for (const pid of findByEnv('SP_TEST_COOKIE', b.cookie)) assertNoToken(commandOf(pid), b.token);
  await b.run(['stop']);
});

test('a pipe that an escaped grandchild holds: restarts and the stop go on', async (t) => {
  const b = await bed(t);
  const worker = b.file('escape.sh', 'env -i /usr/bin/setsid -f /bin/sleep 300.5\nexit 1\n');
  const run = b.cli(['start', '--backoff', '10ms,50ms', '--max-restarts', '3/1m', '--', 'sh', worker]);
  const exit = await run.exit(15_000);
  for (const pid of allPids()) if (commandOf(pid) === '/bin/sleep 300.5') b.own(pid);
  assert.equal(exit.code, 1, run.seen());
});

test('stop five times at once: all succeed, all is gone', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const stops = await Promise.all(Array.from({ length: 5 }, () => b.run(['stop'])));
  for (const stop of stops) assert.equal(stop.code, 0, stop.stderr);
  assert.equal((await run.exit()).code, 0);
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
});

test('restart during the backoff starts the worker at once', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--backoff', '60s,90s', '--', ...node('exits.mjs', '1')]);
  await until('the backoff', async () => (await b.status()).state === 'backoff', {
    everyMs: 100,
    seen: run.seen,
  });
  const before = starts(b.journal()).length;
  await b.run(['restart'], { ms: 15_000 });
  await until('another life', () => starts(b.journal()).length > before, { ms: 10_000, seen: run.seen });
});

test('idle: under 1 % of a core in two seconds, and memory that stays', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  await staysTrue('it settles', 1500, () => alive(run.pid));
  const before = cpuTicks(run.pid);
  const begin = performance.now();
  await staysTrue('it idles', 4000, () => alive(run.pid));
  const share = ((cpuTicks(run.pid) - before) * 10) / (performance.now() - begin);
  assert.ok(share < 0.02, `${(share * 100).toFixed(2)} % of a core`);
});

test('as PID 1 of a namespace of its own: says so, serves, reaps, stops', async (t) => {
  const b = await bed(t);
  const words = ['--pid', '--fork', '--mount-proc', '--kill-child'];
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const outer = b.spawn(
    'unshare',
    [...user, ...words, process.execPath, PROGRAM, 'start', '--', ...node('polite.mjs')],
    { env: b.env },
  );
  await until('a poll', () => b.sandbox.polls().length > 0, { seen: outer.seen });
  assert.match(outer.stderr(), /PID 1\b|pid 1\b/);
  const inner = allPids().find((pid) => readProc(pid)?.ppid === outer.pid);
  assert.ok(inner);
  process.kill(inner, 'SIGTERM');
  assert.equal((await outer.exit()).code, 0, outer.seen());
});
