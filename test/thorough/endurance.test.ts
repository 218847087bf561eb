// What must not pile up or get stuck: descriptors, zombies, held pipes; and what must not be written.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNeverTwo, assertNoToken } from '../support/judge.ts';
import { xit } from '../support/kinds.ts';
import { alive, allPids, commandOf, descriptors, findByEnv, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const cpuTicks = (pid: number) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
};

xit('thirty restarts leave no descriptors, no zombies, one worker; then it idles under 2 % of a core', async (b) => {
  const run = await b.polling('--max-restarts 1000/1m --backoff 5ms,10ms');
  let before = 0;
  for (let round = 0; round < 30; round++) {
    const count = polledBy(b, 'polite.mjs').length;
    process.kill(polledBy(b, 'polite.mjs').at(-1) ?? -1, 'SIGKILL');
    await until('the next worker', () => polledBy(b, 'polite.mjs').length > count, run);
    if (round === 5) before = descriptors([run.pid]);
  }
  // What the next worker needs may be there already, or not yet: the four ends of its pipes, and the gateway's next socket.
  assert.ok(descriptors([run.pid]) <= before + 8, `${before} → ${descriptors([run.pid])} descriptors`);
  const children = allPids()
    .map(readProc)
    .filter((it) => it?.ppid === run.pid);
  assert.ok(children.every((it) => it?.state !== 'Z'));
  assertNeverTwo(b);
  assert.equal((await b.status()).worker?.spawns, 31);
  await staysTrue('it settles', 1500, () => alive(run.pid));
  const ticks = cpuTicks(run.pid);
  const begun = performance.now();
  await staysTrue('it idles', 4000, () => alive(run.pid));
  const share = ((cpuTicks(run.pid) - ticks) * 10) / (performance.now() - begun);
  assert.ok(share < 0.02, `${(share * 100).toFixed(2)} % of a core`);
});

xit('no token in any file of the state folder, in any argument, or in the environment given beyond its variable', async (b) => {
  await b.polling();
  await b.exits(0, 'restart');
  const entries = readdirSync(b.stateDir, { recursive: true, encoding: 'utf8' }).map((it) =>
    join(b.stateDir, it),
  );
  for (const path of entries.filter((it) => statSync(it).isFile())) {
    assertNoToken(readFileSync(path, 'latin1'), b.token);
    assert.equal(statSync(path).mode & 0o077, 0, `${path} is for its user only`);
  }
  for (const pid of findByEnv('SP_TEST_COOKIE', b.cookie)) assertNoToken(commandOf(pid), b.token);
});

xit('a pipe that an escaped grandchild holds: restarts and the stop go on', async (b) => {
  const worker = b.file('escape.sh', 'env -i /usr/bin/setsid -f /bin/sleep 300.5\nexit 1\n');
  const run = b.start(['--backoff', '10ms,50ms', '--max-restarts', '3/1m', '--', 'sh', worker]);
  await run.ends(1);
  for (const pid of allPids()) if (commandOf(pid) === '/bin/sleep 300.5') b.own(pid);
});

xit('as PID 1 of a namespace of its own: says so, serves, reaps, stops', async (b) => {
  const words = ['--pid', '--fork', '--mount-proc', '--kill-child'];
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const start = [process.execPath, PROGRAM, 'start', '--', ...node('polite.mjs')];
  const outer = b.spawn('unshare', [...user, ...words, ...start], { env: b.env });
  await until('a poll', () => b.sandbox.polls().length > 0, outer);
  assert.match(outer.stderr(), /PID 1\b|pid 1\b/);
  const inner = allPids().find((pid) => readProc(pid)?.ppid === outer.pid);
  process.kill(inner ?? -1, 'SIGTERM');
  await outer.ends(0);
});
