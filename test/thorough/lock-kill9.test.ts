// The lock goes at the instant of death: kill -9, start again at once, in rounds; two starters race in each.
// SP_TEST_LOCK_ROUNDS sets the number of rounds (default 60).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed } from '../support/bed.ts';
import { alive, commandOf, findByEnv, readProc } from '../support/proc.ts';
import { until } from '../support/wait.ts';

const ROUNDS = Number(process.env.SP_TEST_LOCK_ROUNDS ?? 60);

test(`lock: ${ROUNDS} times kill -9, each time one of two racing starters has it, none is locked out`, async (t) => {
  const b = await bed(t);
  const command = ['start', '--', 'sh', '-c', 'echo "up $$"; exec sleep 1000'];
  let holder = b.cli(command);
  await holder.waitFor(/up \d+/);
  for (let round = 0; round < ROUNDS; round++) {
    const workers = [...holder.stdout().matchAll(/up (\d+)/g)].map((found) => Number(found[1]));
    holder.signal('SIGKILL');
    await until('the death of the holder', () => !alive(holder.pid), { everyMs: 1 });
    const pair = [b.cli(command), b.cli(command)];
    await until(
      'one winner and one loser',
      () => pair.filter((run) => run.ended()).length === 1 && pair.some((run) => /up \d+/.test(run.stdout())),
      {
        seen: () =>
          pair
            .map((run) => `${run.pid} ${JSON.stringify(readProc(run.pid))}\n${run.seen()}`)
            .concat(findByEnv('SP_TEST_COOKIE', b.cookie).map((pid) => `${pid} ${commandOf(pid)}`))
            .join('\n'),
      },
    );
    const loser = pair.find((run) => run.ended());
    const winner = pair.find((run) => !run.ended());
    assert.ok(winner && loser);
    assert.equal(loser.ended()?.code, 75, `round ${round}: ${loser.seen()}`);
    assert.equal(loser.stdout(), '', 'the loser started no worker');
    assert.match(
      loser.stderr(),
      new RegExp(`\\b${winner.pid}\\b`),
      `round ${round}: it names the holder ${winner.pid}`,
    );
    for (const pid of workers)
      assert.equal(alive(pid), false, `round ${round}: worker ${pid} of the dead one lives`);
    holder = winner;
  }
});
