/**
 * The simulations in many more schedules than `npm test` has, every rule of their lists broken on purpose, and worlds in which the rules
 * of the lease cannot hold.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { describe, test } from 'node:test';
import { LEASE_PROFILES, stopAfterMs } from '../../src/lease/timing.ts';
import { type Limit, runSeed as runLeaseSeed } from '../simulation/keeper.ts';
import { SIMULATIONS, storyOf } from '../simulation/suite.ts';

const SEEDS = 200;

// Virtual time can wait for those that run beside and keep real times. With autogroups it is the session whose nice value counts: sched(7).
if (process.env.SP_TEST_RUN) {
  setPriority(19);
  if (existsSync('/proc/self/autogroup')) writeFileSync('/proc/self/autogroup', '19');
}

describe('simulations', { concurrency: 2 }, () => {
  for (const { name, promise } of SIMULATIONS)
    test(`${name}: ${promise}`, async () => {
      const args = ['--import', 'tsx', 'test/simulation/run.ts', name, '--broken-rules'];
      const problem = await new Promise((done) =>
        execFile(process.execPath, args, (error, stdout, stderr) => done(error && `${stdout}${stderr}`)),
      );
      assert.equal(problem, null);
    });
});

interface Width {
  twoDoorsMs: number;
  wrongPolls: number;
  readonly counts: { [name: string]: number };
}

/** The widest of some hundred worlds in which the rules of the lease cannot hold. */
async function widthOf(limit: Limit): Promise<Width> {
  const width: Width = { twoDoorsMs: 0, wrongPolls: 0, counts: {} };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await runLeaseSeed(seed, limit);
    assert.deepEqual(outcome.violations, [], storyOf(SIMULATIONS[2]!, outcome));
    width.twoDoorsMs = Math.max(width.twoDoorsMs, outcome.openTwiceMs);
    width.wrongPolls += outcome.wrongPolls;
    for (const [name, count] of Object.entries(outcome.counts))
      width.counts[name] = (width.counts[name] ?? 0) + count;
  }
  return width;
}

const STOP_MS = stopAfterMs(LEASE_PROFILES.default);

for (const [limit, what, leastMs, mostMs] of [
  [
    'unseen-freeze',
    'a frozen virtual machine that no clock has told: two doors until the wall clock is right',
    1,
    9_000,
  ],
  [
    'rolled-back-take',
    'the engine forgets the write that took the lease: two doors until the next renewal',
    1,
    STOP_MS,
  ],
  [
    'freed-by-hand',
    'somebody frees the record of a living holder: two doors until its next renewal',
    1,
    STOP_MS,
  ],
  ['wild-clocks', 'clocks that run at half or double speed', 1, Number.POSITIVE_INFINITY],
  [
    'torn-poll',
    'all stands still between the check and the send: one stale poll each time, never two doors',
    0,
    0,
  ],
  ['wrong-dates', 'dates that differ and an engine that was wiped: epochs fall, and nothing else', 0, 0],
] as const)
  test(`a known limit of the lease: ${what}`, async () => {
    const { twoDoorsMs, wrongPolls, counts } = await widthOf(limit);
    assert.ok(twoDoorsMs >= leastMs && twoDoorsMs <= mostMs, `${twoDoorsMs} ms`);
    if (limit === 'torn-poll') assert.ok(wrongPolls > 0 && wrongPolls <= counts.torn!, `${wrongPolls}`);
    if (limit !== 'wrong-dates') return;
    assert.ok(counts['limit: mN starts term N after N']! > 0);
    assert.equal(wrongPolls, 0);
  });
