/**
 * The model of the lease (lease.pml), every state of it, by spin; and with one rule broken at a time, which spin has to find.
 *   SP_MODEL_WRITES=5   more writes per run: some 20 million states, two minutes, 1.7 GB
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { newFolder } from '../support/place.ts';

const WRITES = process.env.SP_MODEL_WRITES ?? '4';
/** An engine that forgets has many more states: a shorter wait. */
const LOSSES = ['LOSS', 'LOSSES=2', ...(process.env.SP_MODEL_WRITES === undefined ? ['T=3'] : [])];

interface Verdict {
  readonly errors: number;
  readonly states: number;
}

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  assert.equal(error, undefined);
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

function check(t: TestContext, ...defines: readonly string[]): Verdict {
  const folder = newFolder(t);
  copyFileSync(join(import.meta.dirname, 'lease.pml'), join(folder, 'lease.pml'));
  run('spin', ['-a', ...defines.map((it) => `-D${it}`), 'lease.pml'], folder);
  const options = ['-O2', '-DSAFETY', '-DCOLLAPSE', '-DNOREDUCE', '-w', '-o', 'pan', 'pan.c'];
  run('gcc', options, folder);
  const told = run('./pan', ['-m20000'], folder);
  assert.doesNotMatch(told, /max search depth too small/);
  const [, errors] = /errors: (\d+)/.exec(told) ?? assert.fail(told);
  const [, states] = /([\d.e+]+) states, stored/.exec(told) ?? assert.fail(told);
  return { errors: Number(errors), states: Number(states) };
}

const RIGHT: readonly (readonly [string, readonly string[], number])[] = [
  ['lost, late and doubled requests, ticks that are missed', [`MAXR=${WRITES}`], 700_000],
  ['a hand-over that is asked for over the record', [`MAXR=${WRITES}`, 'ASK'], 900_000],
  ['an engine that forgets everything, twice', [`MAXR=${WRITES}`, ...LOSSES], 1_700_000],
];

for (const [name, defines, atLeast] of RIGHT)
  test(`never two holders: ${name}`, (t) => {
    const { errors, states } = check(t, ...defines);
    assert.equal(errors, 0);
    assert.ok(states >= atLeast, `${states} states: the model has become smaller`);
  });

/** Each of them spin has to find. */
const WRONG: readonly (readonly [string, readonly string[]])[] = [
  ['a machine that counts its deadline from the answer', ['BUG_RECV']],
  ['a machine that writes without comparing', ['BUG_BLIND']],
  ['a machine that leaves no margin before the ttl', ['BUG_MARGIN']],
  ['a machine that does not wait anew when the record has changed', ['BUG_NORESET']],
  ['a machine that takes a record that has vanished at once', ['LOSS', 'BUG_ABSENT']],
  ['a machine that takes one absence for another', ['T=3', 'LOSS', 'LOSSES=2', 'BUG_ABSENCE']],
  ['a machine that frees the record before the worker is gone', ['BUG_REAP']],
  ['a machine that counts its deadline from the sight of its own name', ['ASK', 'BUG_SIGHT']],
  ['a known limit: a supervisor that stands still while its worker goes on without a gateway', ['PAUSE']],
  ['a known limit: an engine that forgets the write that took the lease', ['MAXR=4', 'ROLL']],
];

for (const [name, defines] of WRONG)
  test(`found: ${name}`, (t) => assert.equal(check(t, ...defines).errors, 1));
