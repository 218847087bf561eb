// Nothing that a stranger's files do holds the supervisor up: a mount that never answers, as the stranger's folder or its arguments; and
// thousands of processes. `start`, `status`, `who`, the gateway and Ctrl-C work as ever. The dead mounts live in mount namespaces of their own (which takes root) and go with the test.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type Bed, bed, fixture, PYTHON } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { RIVAL_AFTER } from '../support/gateway.ts';
import { xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { startRemoteRival } from '../support/rival.ts';
import { harmed, living, proofFixture, startWorker, withToken, workerWorks } from '../support/strays.ts';
import { LONG_MS, queuedMs, randomMoment, until } from '../support/wait.ts';

const AT_ONCE_MS = 200;

/** Starts a sleeper on a file system that answers no more; gives its pid. */
async function deadMount(b: Bed, how: 'cwd' | 'args', env: Record<string, string> = {}): Promise<number> {
  const folder = join(b.dir, `mount-${how}`);
  mkdirSync(folder);
  const run = b.spawn(PYTHON, [proofFixture('dead_mount.py'), folder, how], {
    env: { ...env, SP_CONNECT: String(b.sandbox.port) },
  });
  await run.waitFor(/dead \d+/);
  return Number(/dead (\d+)/.exec(run.stdout())?.[1]);
}

interface Row {
  what: string;
  /** Gives the pids that stand about, and live on. */
  start(b: Bed): Promise<number[]>;
}

const ROWS: readonly Row[] = [
  {
    what: 'a stranger with our token whose folder is a dead mount',
    start: async (b) => [await deadMount(b, 'cwd', withToken(b))],
  },
  {
    what: 'a stranger whose folder is a dead mount',
    start: async (b) => [await deadMount(b, 'cwd')],
  },
  {
    what: 'a stranger with our token whose arguments cannot be read',
    start: async (b) => [await deadMount(b, 'args', withToken(b))],
  },
];

/** Asks a URL; gives the milliseconds, but for those that the supervisor or this process, which is the API too, waited for a CPU. */
async function timed(run: Running, url: string): Promise<number> {
  const own = () => performance.now() - queuedMs([run.pid, process.pid]);
  const began = own();
  const response = await fetch(url, { signal: AbortSignal.timeout(LONG_MS) });
  await response.arrayBuffer();
  return own() - began;
}

/** Asks each place again and again until told to stop; gives the longest answer of each, milliseconds. */
function watch(run: Running, urls: readonly string[]): { stop(): Promise<number[]>; asked(): number } {
  let on = true;
  let count = 0;
  const longest = Promise.all(
    urls.map(async (url) => {
      let most = 0;
      while (on) {
        most = Math.max(most, await timed(run, url).catch(() => LONG_MS));
        count += 1;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return most;
    }),
  );
  return {
    stop() {
      on = false;
      return longest;
    },
    asked: () => count,
  };
}

const gatewayUrl = (run: Running): string =>
  /\[gateway\] open at (http:\S+?):?\s/.exec(run.stderr())?.[1] ?? '';
const healthUrl = (run: Running): string =>
  `${/^\[http\] open at (http:\/\/[\d.]+:\d+)/m.exec(run.stderr())?.[1]}/healthz`;

/** A 409 makes the supervisor look at the machine; meanwhile each place must answer at once. */
async function answersWhileItLooks(t: TestContext, b: Bed, run: Running): Promise<void> {
  const watched = watch(run, [`${gatewayUrl(run)}/bot${b.token}/getMe`, healthUrl(run)]);
  const rival = await startRemoteRival(t, b);
  await until('conflicts', () => rival.conflicts >= 3, run);
  await until('answers', () => watched.asked() >= 40);
  await rival.leave();
  const [gateway = 0, health = 0] = await watched.stop();
  assert.ok(gateway < AT_ONCE_MS, `the gateway took ${gateway} ms\n${run.seen()}`);
  assert.ok(health < AT_ONCE_MS, `/healthz took ${health} ms\n${run.seen()}`);
}

async function endsAtOnce(run: Running): Promise<void> {
  run.signal('SIGINT');
  assert.equal((await run.exit()).code, 0, run.seen());
}

describe('stuck files', () => {
  for (const { what, start } of ROWS) {
    test(what, async (t) => {
      const b = await bed(t);
      b.env[RIVAL_AFTER] = '9s';
      const those = living(await start(b));
      const seen = await b.run(['who', '--json']);
      assert.ok(seen.code === 0 || seen.code === 1, seen.stderr);
      const run = startWorker(b, '--on-rival', 'insist', '--http', '0');
      const worker = await workerWorks(b, run);
      assert.equal((await b.status({ env: b.env })).worker?.pid, worker);
      await answersWhileItLooks(t, b, run);
      assert.equal(await workerWorks(b, run), worker);
      await endsAtOnce(run);
      assert.deepEqual(harmed(b, those), [], run.seen());
    });
  }

  xit('Ctrl-C while the machine is looked at ends start, whatever stands there', async (b) => {
    const pid = await deadMount(b, 'cwd');
    for (let round = 0; round < 4; round++) {
      const run = startWorker(b);
      await run.waitFor('[lock] taken');
      await randomMoment(1000);
      await endsAtOnce(run);
    }
    assert.ok(alive(pid));
    await workerWorks(b, startWorker(b));
  });
});

xit('three thousand processes: /healthz and the gateway answer at once while they are looked at', async (b) => {
  b.env[RIVAL_AFTER] = '9s';
  const many = b.spawn(PYTHON, [fixture('many.py'), '3000'], { env: { LEGACY_ROOT: b.sandbox.root } });
  await many.waitFor('ready');
  const run = startWorker(b, '--on-rival', 'insist', '--http', '0');
  await run.waitFor(/^\[http\] /m);
  const watched = watch(run, [healthUrl(run)]);
  await workerWorks(b, run);
  const [health = 0] = await watched.stop();
  assert.ok(health < AT_ONCE_MS, `/healthz took ${health} ms while start looked`);
  await answersWhileItLooks(b.t, b, run);
  await endsAtOnce(run);
  many.signal('SIGKILL');
  await many.exit();
});
