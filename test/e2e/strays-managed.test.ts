// Pollers that a manager keeps alive are named with its command and not fought; a worker that polls is never ended because of what
// some process looks like. Where nobody of this machine reacts, somebody elsewhere polls, and only then that is said.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import type { Bed } from '../support/bed.ts';
import { RIVAL_AFTER } from '../support/gateway.ts';
import { it, xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { startRemoteRival } from '../support/rival.ts';
import {
  askedBy,
  harmed,
  hiddenFolder,
  hold,
  living,
  startWorker,
  supervisord,
  workerWorks,
} from '../support/strays.ts';
import { until } from '../support/wait.ts';

/** A supervisord of the test's own that runs one command as the program `name`; waits until that has asked `method`. */
async function supervised(b: Bed, name: string, command: readonly string[], method: string, env = {}) {
  const run = b.spawn('supervisord', ['-n', '-c', supervisord(b, name, command)], {
    env: { ...env, SP_NAME: name },
  });
  const pids = () => askedBy(b, name, method);
  await until(`${name} to ask ${method}`, () => pids().length > 0, run);
  return { run, pids, stop: new RegExp(`supervisorctl -c \\S*${name}\\.conf stop bots:${name}`) };
}

/** A poller with a hidden token. */
const managedStray = (b: Bed, name: string, args: readonly string[] = []) =>
  supervised(b, name, hiddenFolder(b, name, { args }).command, 'getUpdates');

/** Types the printed command; it must end the stray. */
async function typed(stderr: string, pids: () => number[]): Promise<void> {
  const command = /(supervisorctl -c \S+ stop \S+)/.exec(stderr)?.[1] ?? 'false';
  const ran = spawnSync('bash', ['-c', command], { timeout: 20_000 });
  assert.equal(ran.status, 0, String(ran.stderr));
  await until('it to be gone', () => pids().every((pid) => !alive(pid)));
}

/** A 409 may be held for 3 s: the least that tells a rival that stays from one that goes. */
const SOON = '9s';
const ELSEWHERE = /elsewhere|another machine|not found on this machine/;

for (const [what, args] of [
  ['a hidden poller', []],
  ['one that ends at each 409 and is started again', ['--at-409', 'end']],
] as const)
  it(`${what} under supervisord: 75 with the command, which works; nothing was fought`, async (b) => {
    const stray = await managedStray(b, 'kept', args);
    const those = living([stray.run.pid, ...(args.length > 0 ? [] : stray.pids())]);
    const run = startWorker(b);
    await run.ends(75);
    assert.match(run.stderr(), stray.stop);
    assert.deepEqual(harmed(b, those), [], run.seen());
    await typed(run.stderr(), stray.pids);
    await workerWorks(b, startWorker(b));
  });

for (const choice of ['yield', 'insist'] as const)
  xit(`a managed poller while running, --on-rival ${choice}: named with the command, never as elsewhere`, async (b) => {
    const run = startWorker(b, '--on-rival', choice);
    const mine = await workerWorks(b, run);
    const stray = await managedStray(b, 'late');
    const those = living([stray.run.pid, ...stray.pids()]);
    await run.waitFor(stray.stop);
    assert.match(run.stderr(), new RegExp(`\\b${stray.pids()[0]}\\b`));
    if (choice === 'yield') {
      await run.ends(75);
      assert.equal(alive(mine), false, 'it gets the bot');
    } else {
      const conflicts = () => b.sandbox.polls().filter(({ status }) => status === 409).length;
      const before = conflicts();
      await until('the fight to go on', () => conflicts() >= before + 3, run);
      assert.ok(alive(mine) && run.ended() === null, run.seen());
    }
    assert.deepEqual(harmed(b, those), [], run.seen());
    assert.doesNotMatch(run.stderr(), ELSEWHERE);
    await typed(run.stderr(), stray.pids);
  });

const monitor = (b: Bed) => hold(b, 'monitor', ['monitor'], 'getMe');

it('a rival that shows on this machine nowhere, beside a worker that insists: the sender is not blamed, and elsewhere is said', async (b) => {
  b.env[RIVAL_AFTER] = SOON;
  const run = startWorker(b, '--on-rival', 'insist');
  const mine = await workerWorks(b, run);
  const holder = living([(await monitor(b)).pid]);
  const rival = await startRemoteRival(b.t, b);
  await run.waitFor(ELSEWHERE);
  await rival.leave();
  assert.deepEqual(harmed(b, holder), [], run.seen());
  assert.doesNotMatch(run.stderr(), /\[stray\] stopping/);
  assert.ok(alive(mine) && run.ended() === null, run.seen());
});
