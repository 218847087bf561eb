// Real rounds of kill -9, restart, SIGSTOP and SIGCONT, of the worker and of the supervisor, in random order at random
// moments. The stand-in's log is the judge: never two getUpdates of ours open at the same time, and no update is lost.
// SP_TEST_GATEWAY_ROUNDS sets the number of rounds (default 6, one of each kind; the contract asks for 100),
// SP_TEST_SEED repeats an order.
import assert from 'node:assert/strict';
import { createRandom } from '../simulation/random.ts';
import { type Bed, node } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { allHandled, assertOnePoll, handledCounts, ourPolls } from '../support/gateway.ts';
import { xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { until } from '../support/wait.ts';

const ROUNDS = Number(process.env.SP_TEST_GATEWAY_ROUNDS ?? 6);
const SEED = Number(process.env.SP_TEST_SEED ?? Date.now() % 1_000_000);
const OPTIONS = ['--stop-timeout', '1s', '--backoff', '10ms,100ms', '--max-restarts', '1000/1m'];

type Blow =
  | 'kill worker'
  | 'kill supervisor'
  | 'restart'
  | 'freeze worker'
  | 'freeze supervisor'
  | 'stop and start';
const BLOWS: readonly Blow[] = [
  'kill worker',
  'kill supervisor',
  'restart',
  'freeze worker',
  'freeze supervisor',
  'stop and start',
];

for (const fixture of ['polite.mjs', 'two-loops.mjs']) {
  xit(`gateway: ${ROUNDS} rounds of violence with ${fixture} (seed ${SEED}): never two polls, nothing lost`, async (b) => {
    const random = createRandom(SEED);
    const moment = (mostMs: number) => new Promise((resolve) => setTimeout(resolve, random.int(0, mostMs)));
    const start = () => b.cli(['start', ...OPTIONS, '--', ...node(fixture, '3')]);
    let run = start();
    const ids: number[] = [];
    const told: string[] = [];
    let deck: Blow[] = [];

    const strike: Record<Blow, () => Promise<void>> = {
      async 'kill worker'() {
        kill(workerPid(b), 'SIGKILL');
      },
      async 'kill supervisor'() {
        run.signal('SIGKILL');
        await until('its death', () => !alive(run.pid), { everyMs: 1 });
        if (random.chance(0.5)) await moment(500);
        run = start();
      },
      async restart() {
        const done = b.run(['restart']);
        if (random.chance(0.3)) kill(workerPid(b), 'SIGKILL');
        await done;
      },
      'freeze worker': () => frozen(workerPid(b), () => moment(2_000)),
      'freeze supervisor': () => frozen(run.pid, () => moment(2_000)),
      async 'stop and start'() {
        assert.equal((await b.run(['stop'])).code, 0);
        run = start();
      },
    };

    for (let round = 0; round < ROUNDS; round++) {
      if (deck.length === 0) deck = [...BLOWS];
      const blow = random.pick(deck);
      deck = deck.filter((other) => other !== blow);
      told.push(blow);
      ids.push(b.sandbox.text(`before ${round}`));
      // Every other round lets it come up first; the others strike anywhere in the start.
      if (round % 2 === 0) await settled(b, run, ids, told);
      await moment(400);
      await strike[blow]();
      ids.push(b.sandbox.text(`after ${round}`));
    }
    await settled(b, run, ids, told);
    assertOnePoll(b);
    const kicked = ourPolls(b).filter((poll) => poll.status === 409 && poll.clientGoneAtMs === null);
    assert.deepEqual(kicked, [], `nobody of ours was kicked; ${told.join(', ')}`);
    // Dying takes its toll in repeats, never in losses.
    assert.equal(handledCounts(b, ids).filter((count) => count === 0).length, 0);
  });
}

async function settled(b: Bed, run: Running, ids: readonly number[], told: readonly string[]): Promise<void> {
  await allHandled(b, ids, run, 40_000).catch((error: Error) => {
    throw new Error(`after ${told.join(', ')}: ${error.message}`);
  });
}

/** The worker that began last, by its own word. */
function workerPid(b: Bed): number {
  return (
    b
      .journal()
      .filter((entry) => entry.ev === 'start')
      .at(-1)?.pid ?? -1
  );
}

function kill(pid: number, signal: NodeJS.Signals): void {
  if (pid > 0 && alive(pid)) process.kill(pid, signal);
}

async function frozen(pid: number, while_: () => Promise<unknown>): Promise<void> {
  kill(pid, 'SIGSTOP');
  await while_();
  kill(pid, 'SIGCONT');
}
