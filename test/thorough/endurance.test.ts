// What must not get stuck or be written: tokens in files, a held pipe, PID 1.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken } from '../support/judge.ts';
import { xit } from '../support/kinds.ts';
import { allPids, commandOf, findByEnv, readProc } from '../support/proc.ts';
import { until } from '../support/wait.ts';

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
