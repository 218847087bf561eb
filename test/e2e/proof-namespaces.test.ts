// Supervisors of one bot that share no lock do not fight: the newcomer names the other and ends with 75, whose worker polls on. What
// cannot be seen from here is said to be unseen, with the command that sees it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { allGone, type Bed, bed, node, PYTHON, worker } from '../support/bed.ts';
import { PROGRAM, type Running } from '../support/cli.ts';
import { RIVAL_AFTER } from '../support/gateway.ts';
import { handled } from '../support/judge.ts';
import { alive, findByEnv, readProc } from '../support/proc.ts';
import { copyProgram } from '../support/program-copy.ts';
import { askedBy, hiddenFolder, LONG_MS, startHidden } from '../support/proof-bed.ts';
import { OWN_PIDS, openNetworkNamespace, spawnIn } from '../support/proof-netns.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const skip = process.getuid?.() === 0 ? false : 'namespaces need root';
const ASK_AS_ROOT = /sudo singlepoll who --probe/;
const NOBODY = 65534;

/** A supervisor with a state folder of its own, behind the words that lead into its namespaces. */
function supervisor(b: Bed, name: string, words: readonly string[], script: string): Running {
  const state = join(b.dir, `state-${name}`);
  mkdirSync(state, { mode: 0o700 });
  const env = { ...b.env, SINGLEPOLL_DIR: state, SP_WHAT: `${b.cookie}-${name}`, [RIVAL_AFTER]: '9s' };
  const command = [process.execPath, PROGRAM, 'start', '--stop-timeout', '3s', '--', ...node(script)];
  return spawnIn(b, words, command, { env });
}

const pidsOf = (b: Bed, name: string) => findByEnv('SP_WHAT', `${b.cookie}-${name}`);

/** One that has polled undisturbed for so long that it insists. */
async function incumbent(b: Bed, words: readonly string[]) {
  const run = supervisor(b, 'incumbent', words, 'polite.mjs');
  await until('the incumbent to poll', () => polledBy(b, 'polite.mjs').length > 0, {
    ms: LONG_MS,
    seen: run.seen,
  });
  await staysTrue('it polls in peace', 7_000, () => run.ended() === null, run.seen);
  return { run, began: new Map(pidsOf(b, 'incumbent').map((pid) => [pid, readProc(pid)?.startTicks])) };
}

/** The incumbent's processes are those that they were, its worker gets what comes, and nobody sent it a signal. */
async function untouched(b: Bed, { run, began }: Awaited<ReturnType<typeof incumbent>>, newcomer: Running) {
  const seen = () => `${run.seen()}\n--- newcomer\n${newcomer.seen()}`;
  const id = b.sandbox.text('to the incumbent');
  const mine = () => b.journal().filter(({ name }) => name === 'polite.mjs');
  await until('the incumbent to get the update', () => handled(mine()).has(id), { ms: LONG_MS, seen });
  assert.equal(new Set(polledBy(b, 'polite.mjs')).size, 1, seen());
  for (const [pid, startTicks] of began) assert.equal(readProc(pid)?.startTicks, startTicks, seen());
  assert.deepEqual(
    mine().filter(({ ev }) => ev === 'signal' || ev === 'conflict'),
    [],
    seen(),
  );
  assert.equal(run.ended(), null, seen());
}

type Words = (t: TestContext, b: Bed) => Promise<readonly string[]>;
const here: Words = async () => [];
const ownNetwork: Words = async (t, b) => (await openNetworkNamespace(t, b)).enter;
const ownPids: Words = async () => OWN_PIDS;
const container: Words = async (t, b) => [...(await openNetworkNamespace(t, b)).enter, ...OWN_PIDS];

/** `named`: the newcomer sees the other's processes, so it must name one of them. */
const ROWS: readonly { what: string; first: Words; second: Words; named: boolean }[] = [
  {
    what: 'each in a network of its own, one process list',
    first: ownNetwork,
    second: ownNetwork,
    named: true,
  },
  { what: 'one here, one in a network of its own', first: here, second: ownNetwork, named: true },
  { what: 'one in a network of its own, one here', first: ownNetwork, second: here, named: true },
  { what: 'one in a container, one here', first: container, second: here, named: true },
  { what: 'one here, one in a container', first: here, second: container, named: false },
  { what: 'one here, one with a process list of its own', first: here, second: ownPids, named: false },
  { what: 'one with a process list of its own, one here', first: ownPids, second: here, named: true },
];

describe('two supervisors', { skip }, () => {
  for (const { what, first, second, named } of ROWS) {
    test(`${what}: the newcomer ends with 75, the incumbent works on`, async (t) => {
      const b = await bed(t);
      const one = await incumbent(b, await first(t, b));
      const newcomer = supervisor(b, 'newcomer', await second(t, b), 'retries-on-409.mjs');
      const exit = await newcomer.exit(LONG_MS);
      assert.equal(exit.code, 75, `${newcomer.seen()}\n--- incumbent\n${one.run.seen()}`);
      assert.doesNotMatch(newcomer.stderr(), /\[stray\] stopping/);
      if (named) {
        const pids = pidsOf(b, 'incumbent');
        assert.ok(
          pids.some((pid) => new RegExp(`\\b${pid}\\b`).test(newcomer.stderr())),
          `none of ${pids.join(', ')} is named\n${newcomer.seen()}`,
        );
      }
      await untouched(b, one, newcomer);
    });
  }
});

/** A hidden poller of root's in a network of its own. */
async function hiddenInNetwork(t: TestContext, b: Bed, name: string): Promise<() => number[]> {
  const { enter } = await openNetworkNamespace(t, b);
  const { command, folder } = hiddenFolder(b, name);
  const run = spawnIn(b, enter, command, { cwd: folder, env: { SP_NAME: name } });
  const pids = () => askedBy(b, name, 'getUpdates');
  await until('it to poll', () => pids().length > 0, { ms: LONG_MS, seen: run.seen });
  return pids;
}

/** `singlepoll start` as an ordinary user, who may read the program and its worker. */
function startAsNobody(b: Bed): Running {
  const copy = join(b.dir, 'program');
  const program = copyProgram(copy);
  for (const name of ['polite.mjs', 'poll.mjs']) copyFileSync(worker(name), join(copy, name));
  const state = join(b.dir, 'state-of-nobody');
  mkdirSync(state, { mode: 0o700 });
  spawnSync('chown', [String(NOBODY), state, b.project]);
  const env = { ...b.env, SINGLEPOLL_DIR: state, HOME: '/nonexistent', [RIVAL_AFTER]: '9s' };
  const args = [program, 'start', '--', process.execPath, join(copy, 'polite.mjs')];
  return b.spawn(process.execPath, args, { env, uid: NOBODY });
}

describe('what is seen', { skip }, () => {
  test('a poller in another network, its token in its environment: root names it, and it goes or start ends with 75', async (t) => {
    const b = await bed(t);
    const { enter } = await openNetworkNamespace(t, b);
    const env = { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
    const stray = spawnIn(b, enter, [PYTHON, worker('poller.py')], { env });
    await until('it to poll', () => polledBy(b, 'poller.py').length > 0, { ms: LONG_MS, seen: stray.seen });
    b.env[RIVAL_AFTER] = '9s';
    const run = b.cli(['start', '--stop-timeout', '3s', '--', ...node('polite.mjs')]);
    await until('it to be gone, or an end', () => !alive(stray.pid) || run.ended(), {
      ms: LONG_MS,
      seen: run.seen,
    });
    const exit = run.ended();
    if (exit) assert.equal(exit.code, 75, run.seen());
    assert.match(run.stderr(), new RegExp(`\\bpid ${stray.pid}\\b`));
    assert.doesNotMatch(run.stderr(), /elsewhere/);
  });

  test('an ordinary user, a poller in another network: unseen, and how to see it; nobody claims elsewhere', async (t) => {
    const b = await bed(t);
    const pids = await hiddenInNetwork(t, b, 'unseen');
    const run = startAsNobody(b);
    const exit = await run.exit(LONG_MS);
    assert.equal(exit.code, 75, run.seen());
    assert.match(run.stderr(), ASK_AS_ROOT);
    assert.ok(pids().every(alive));
  });

  test("an ordinary user, root's poller beside it: told by its user, and how to see more", async (t) => {
    const b = await bed(t);
    const stray = await startHidden(b, 'roots');
    const run = startAsNobody(b);
    const exit = await run.exit(LONG_MS);
    assert.ok(exit.code === 75 || exit.code === 77, run.seen());
    assert.match(run.stderr(), /\broot\b|uid 0\b/);
    assert.match(run.stderr(), ASK_AS_ROOT);
    assert.ok(stray.pids().every(alive));
  });

  test('the same with who --probe, as root: named with pid and folder', async (t) => {
    const b = await bed(t);
    const pids = await hiddenInNetwork(t, b, 'probed');
    const result = await b.run(['who', '--probe'], { ms: LONG_MS });
    assert.equal(result.code, 1, result.stderr);
    assert.match(result.stdout, new RegExp(`\\bpid ${pids()[0]}\\b`));
    assert.ok(pids().every(alive), 'who stops nobody');
    const run = b.cli(['start', '--stop-timeout', '3s', '--', ...node('polite.mjs')]);
    await until('it to be gone, or an end', () => !pids().some(alive) || run.ended(), {
      ms: LONG_MS,
      seen: run.seen,
    });
    if (!run.ended()) await allGone(pids());
    assert.match(run.stderr(), new RegExp(`\\bpid ${pids()[0]}\\b`));
  });
});
