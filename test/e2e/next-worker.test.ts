// The shell that waits beside the supervisor to become the next worker: used once, gone with the supervisor, and missed by nobody.
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { alive, allPids, commandOf, environOf, readProc } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const waitingOf = ({ pid }: { readonly pid: number }): number | null =>
  allPids().find(
    (it) => readProc(it)?.ppid === pid && /^\S*dash -c .*singlepoll-next-worker/.test(commandOf(it)),
  ) ?? null;

const waits = (run: Running) => until('a shell to wait', () => waitingOf(run), { seen: run.seen });

async function successor(b: Bed, run: Running, before: number): Promise<number> {
  return until('the next worker to poll', () => polledBy(b, 'polite.mjs').find((pid) => pid !== before), {
    seen: run.seen,
  });
}

/** Without what is another's with every spawn. */
const environment = (pid: number): string[] | undefined =>
  environOf(pid)
    ?.map((it) => it.replace(/^(SINGLEPOLL_SPAWN)=.*/, '$1').replace(/^(TELEGRAM_API_ROOT)=.*/, '$1'))
    .sort();

test('next worker: the shell becomes it when the worker is killed, and another waits', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const first = polledBy(b, 'polite.mjs').at(-1) ?? -1;
  const before = environment(first);
  const shell = await waits(run);
  process.kill(first, 'SIGKILL');
  assert.equal(await successor(b, run, first), shell);
  assert.deepEqual(environment(shell), before);
  assert.equal((await b.status()).worker?.pid, shell);
  assert.notEqual(await waits(run), shell);
  // A restart that was asked for takes it as well.
  const next = await waits(run);
  run.signal('SIGHUP');
  await until('the next worker', async () => (await b.status()).worker?.pid === next, { seen: run.seen });
});

test('next worker: nothing waits when the supervisor has ended, in order or by SIGKILL', async (t) => {
  const b = await bed(t);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const run = await b.polling(['--', ...node('polite.mjs')]);
    const shell = await waits(run);
    run.signal(signal);
    await run.exit();
    await until('the shell to be gone', () => !alive(shell), { ms: 1_000 });
  }
});

test('next worker: a shell that somebody has ended is missed by nobody', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const first = polledBy(b, 'polite.mjs').at(-1) ?? -1;
  const shell = await waits(run);
  process.kill(shell, 'SIGKILL');
  await until('its end', () => readProc(shell) === null);
  await staysTrue('the worker goes on', 300, () => alive(first));
  process.kill(first, 'SIGKILL');
  const second = await successor(b, run, first);
  assert.notEqual(second, shell);
  assert.equal((await b.status()).worker?.restarts, 1);
  await waits(run);
});

test('next worker: it begins in the folder that has the name by then', async (t) => {
  const b = await bed(t);
  const folder = join(b.dir, 'app');
  const deploy = (mark: string) => {
    mkdirSync(folder);
    writeFileSync(join(folder, 'mark'), mark);
  };
  deploy('one');
  const script = b.file('where.sh', `echo "in $(cat mark)"; sleep 1000 & wait`);
  const run = b.cli(['start', '--no-gateway', '--', 'sh', script], { cwd: folder });
  await run.waitFor(/in one/);
  await waits(run);
  renameSync(folder, `${folder}-old`);
  deploy('two');
  run.signal('SIGHUP');
  await run.waitFor(/in two/);
});
