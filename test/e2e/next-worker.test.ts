// The shell that waits beside the supervisor to become the next worker: used once, gone with the supervisor, and missed by nobody.
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Running } from '../support/cli.ts';
import { it, xit } from '../support/kinds.ts';
import { alive, allPids, commandOf, environOf, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const isWaiting = (pid: number, supervisor: number) =>
  readProc(pid)?.ppid === supervisor && /^\S*dash -c .*singlepoll-next-worker/.test(commandOf(pid));
const waits = (run: Running) =>
  until('a shell to wait', () => allPids().find((pid) => isWaiting(pid, run.pid)), run);

/** Without what is another's with every spawn. */
const environment = (pid: number): string[] | undefined =>
  environOf(pid)
    ?.map((it) => it.replace(/^(SINGLEPOLL_SPAWN|SINGLEPOLL_HOOK|TELEGRAM_API_ROOT)=.*/, '$1'))
    .sort();

it('it becomes the worker when that is killed, and another waits; one that somebody has ended is missed by nobody', async (b) => {
  const run = await b.polling();
  const latest = () => polledBy(b, 'polite.mjs').at(-1) ?? -1;
  const successor = async (before: number) => {
    process.kill(before, 'SIGKILL');
    await until('the next worker to poll', () => latest() !== before, run);
    return latest();
  };
  const before = environment(latest());
  const shell = await waits(run);
  assert.equal(await successor(latest()), shell);
  assert.deepEqual(environment(shell), before);
  // A restart that was asked for takes it as well.
  const next = await waits(run);
  run.signal('SIGHUP');
  await until('the next worker', async () => (await b.status()).worker?.pid === next, run);
  const killed = await waits(run);
  process.kill(killed, 'SIGKILL');
  await until('its end', () => readProc(killed) === null);
  assert.ok(alive(next), 'the worker goes on');
  assert.notEqual(await successor(next), killed);
  await waits(run);
});

it('nothing waits when the supervisor has ended, in order or by SIGKILL', async (b) => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const run = await b.polling();
    const shell = await waits(run);
    run.signal(signal);
    await run.exit();
    await until('the shell to be gone', () => !alive(shell));
  }
});

xit('it begins in the folder that has the name by then', async (b) => {
  const folder = join(b.dir, 'app');
  const deploy = (mark: string) => {
    mkdirSync(folder);
    writeFileSync(join(folder, 'mark'), mark);
  };
  deploy('one');
  const script = b.file('where.sh', `echo "in $(cat mark)"; sleep 1000 & wait`);
  const run = b.start(['--no-gateway', '--', 'sh', script], { cwd: folder });
  await run.waitFor(/in one/);
  await waits(run);
  renameSync(folder, `${folder}-old`);
  deploy('two');
  run.signal('SIGHUP');
  await run.waitFor(/in two/);
});
