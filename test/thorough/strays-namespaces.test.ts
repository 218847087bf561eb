// Supervisors of one bot that share no lock do not fight: the newcomer names the other and ends with 75, whose worker polls on. What
// cannot be seen from here is said to be unseen, with the command that sees it.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type Bed, bed, node, PYTHON, worker } from '../support/bed.ts';
import { PROGRAM, type Running } from '../support/cli.ts';
import { RIVAL_AFTER } from '../support/gateway.ts';
import { handled } from '../support/judge.ts';
import { xit } from '../support/kinds.ts';
import { holdOtherUsers } from '../support/place.ts';
import { alive, findByEnv, readProc } from '../support/proc.ts';
import { startAsNobody } from '../support/program-copy.ts';
import {
  askedBy,
  hiddenFolder,
  OWN_PIDS,
  openNetworkNamespace,
  polledBy,
  spawnIn,
  startHidden,
  withToken,
} from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const skip = process.getuid?.() === 0 ? false : 'namespaces need root';
const ASK_AS_ROOT = /sudo singlepoll who --probe/;

/** A supervisor with a state folder of its own, behind the words that lead into its namespaces. */
function supervisor(b: Bed, name: string, words: readonly string[], script: string): Running {
  const state = join(b.dir, `state-${name}`);
  mkdirSync(state, { mode: 0o700 });
  const env = { ...b.env, SINGLEPOLL_DIR: state, SP_WHAT: `${b.cookie}-${name}`, [RIVAL_AFTER]: '9s' };
  const command = [process.execPath, PROGRAM, 'start', '--stop-timeout', '3s', '--', ...node(script)];
  return spawnIn(b, words, command, { env });
}

const pidsOf = (b: Bed, name: string) => findByEnv('SP_WHAT', `${b.cookie}-${name}`);

type Words = (t: TestContext, b: Bed) => Promise<readonly string[]>;
const here: Words = async () => [];
const ownNetwork: Words = async (t, b) => await openNetworkNamespace(t, b);
const ownPids: Words = async () => OWN_PIDS;
const container: Words = async (t, b) => [...(await openNetworkNamespace(t, b)), ...OWN_PIDS];

/** `named`: the newcomer sees the other's processes, so it must name one of them. */
const ROWS: readonly { what: string; first: Words; second: Words; named: boolean }[] = [
  {
    what: 'each in a network of its own, one process list',
    first: ownNetwork,
    second: ownNetwork,
    named: true,
  },
  { what: 'one here, one in a network of its own', first: here, second: ownNetwork, named: true },
  { what: 'one in a container, one here', first: container, second: here, named: true },
  { what: 'one here, one in a container', first: here, second: container, named: false },
  { what: 'one with a process list of its own, one here', first: ownPids, second: here, named: true },
];

describe('two supervisors', { skip }, () => {
  for (const { what, first, second, named } of ROWS)
    xit(`${what}: the newcomer ends with 75, the incumbent works on`, async (b) => {
      const run = supervisor(b, 'incumbent', await first(b.t, b), 'polite.mjs');
      const polls = () => polledBy(b, 'polite.mjs').length > 0;
      await until('the incumbent to poll', polls, run);
      // So long that it insists.
      await staysTrue('it polls in peace', 7_000, () => run.ended() === null, run.seen);
      const began = new Map(pidsOf(b, 'incumbent').map((pid) => [pid, readProc(pid)?.startTicks]));
      const newcomer = supervisor(b, 'newcomer', await second(b.t, b), 'retries-on-409.mjs');
      await newcomer.ends(75);
      assert.doesNotMatch(newcomer.stderr(), /\[stray\] stopping/);
      const isNamed = (pid: number) => new RegExp(`\\b${pid}\\b`).test(newcomer.stderr());
      if (named) assert.ok(pidsOf(b, 'incumbent').some(isNamed), `none is named\n${newcomer.seen()}`);

      // The incumbent's processes are those that they were, its worker gets what comes, and nobody sent it a signal.
      const seen = () => `${run.seen()}\n--- newcomer\n${newcomer.seen()}`;
      const id = b.sandbox.text('to the incumbent');
      const mine = () => b.journal().filter(({ name }) => name === 'polite.mjs');
      await until('it to get the update', () => handled(mine()).has(id), { seen });
      assert.equal(new Set(polledBy(b, 'polite.mjs')).size, 1, seen());
      for (const [pid, startTicks] of began) assert.equal(readProc(pid)?.startTicks, startTicks, seen());
      assert.ok(
        mine().every(({ ev }) => ev !== 'signal' && ev !== 'conflict'),
        seen(),
      );
      assert.equal(run.ended(), null, seen());
    });
});

describe('what is seen', { skip }, () => {
  for (const hidden of [false, true])
    xit(`a poller in another network, its token ${hidden ? 'hidden' : 'in its environment'}: root names it, and it goes or start ends with 75`, async (b) => {
      const enter = await openNetworkNamespace(b.t, b);
      const place = hiddenFolder(b, 'away');
      const stray = hidden
        ? spawnIn(b, enter, place.command, { cwd: place.folder, env: { SP_NAME: 'away' } })
        : spawnIn(b, enter, [PYTHON, worker('poller.py')], { env: withToken(b) });
      await until('it to poll', () => b.sandbox.polls().length > 0, stray);
      if (hidden) {
        const { stdout } = await b.exits(1, 'who --probe');
        assert.match(stdout, new RegExp(`\\bpid ${stray.pid}\\b`));
        assert.ok(alive(stray.pid), 'who stops nobody');
      }
      b.env[RIVAL_AFTER] = '9s';
      const run = b.start('--stop-timeout 3s');
      const isOver = () => !alive(stray.pid) || run.ended();
      await until('it to be gone, or an end', isOver, run);
      if (run.ended()) await run.ends(75);
      assert.match(run.stderr(), new RegExp(`\\bpid ${stray.pid}\\b`));
      assert.doesNotMatch(run.stderr(), /elsewhere/);
    });

  test("an ordinary user, root's poller beside it or in another network: told by its user or as unseen, and how to see it", async (t) => {
    await holdOtherUsers(t);
    for (const away of [false, true]) {
      const b = await bed(t);
      if (away) {
        const enter = await openNetworkNamespace(t, b);
        const { command, folder } = hiddenFolder(b, 'unseen');
        spawnIn(b, enter, command, { cwd: folder, env: { SP_NAME: 'unseen' } });
        await until('it to poll', () => askedBy(b, 'unseen', 'getUpdates').length > 0);
      } else await startHidden(b, 'roots');
      const pids = askedBy(b, away ? 'unseen' : 'roots', 'getUpdates');
      const run = startAsNobody(b, [], { [RIVAL_AFTER]: '9s' });
      await run.ends(away ? 75 : 77);
      if (!away) assert.match(run.stderr(), /\broot\b|uid 0\b/);
      assert.match(run.stderr(), ASK_AS_ROOT);
      assert.ok(pids.every(alive));
    }
  });
});
