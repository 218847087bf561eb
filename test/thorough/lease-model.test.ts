/**
 * The model of the lease (lease.pml), every state of it, by spin; and with one rule broken at a time, which spin has to find.
 *   SP_MODEL_WRITES=5   more writes per run: some 20 million states, two minutes, 1.7 GB
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

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

function check(...defines: readonly string[]): Verdict {
  const folder = mkdtempSync(join(tmpdir(), 'lease-model-'));
  try {
    copyFileSync(join(import.meta.dirname, 'lease.pml'), join(folder, 'lease.pml'));
    run('spin', ['-a', ...defines.map((it) => `-D${it}`), 'lease.pml'], folder);
    const options = ['-O2', '-DSAFETY', '-DCOLLAPSE', '-DNOREDUCE', '-w', '-o', 'pan', 'pan.c'];
    run('gcc', options, folder);
    const told = run('./pan', ['-m20000'], folder);
    assert.doesNotMatch(told, /max search depth too small/);
    const [, errors] = /errors: (\d+)/.exec(told) ?? assert.fail(told);
    const [, states] = /([\d.e+]+) states, stored/.exec(told) ?? assert.fail(told);
    return { errors: Number(errors), states: Number(states) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const RIGHT: readonly (readonly [string, readonly string[], number])[] = [
  ['lost, late and doubled requests, ticks that are missed', [`MAXR=${WRITES}`], 700_000],
  ['a hand-over that is asked for over the record', [`MAXR=${WRITES}`, 'ASK'], 900_000],
  ['an engine that forgets everything, twice', [`MAXR=${WRITES}`, ...LOSSES], 1_700_000],
];

for (const [name, defines, atLeast] of RIGHT) {
  test(`never two holders: ${name}`, () => {
    const { errors, states } = check(...defines);
    assert.equal(errors, 0);
    assert.ok(states >= atLeast, `${states} states: the model has become smaller`);
  });
}

const BROKEN: readonly (readonly [string, readonly string[]])[] = [
  ['counts its deadline from the answer', ['BUG_RECV']],
  ['writes without comparing', ['BUG_BLIND']],
  ['leaves no margin before the ttl', ['BUG_MARGIN']],
  ['does not wait anew when the record has changed', ['BUG_NORESET']],
  ['takes a record that has vanished at once', ['LOSS', 'BUG_ABSENT']],
  ['takes one absence for another', ['T=3', 'LOSS', 'LOSSES=2', 'BUG_ABSENCE']],
  ['frees the record before the worker is gone', ['BUG_REAP']],
  ['counts its deadline from the sight of its own name', ['ASK', 'BUG_SIGHT']],
];

for (const [name, defines] of BROKEN) {
  test(`found: a machine that ${name}`, () => {
    assert.equal(check(...defines).errors, 1);
  });
}

const LIMITS: readonly (readonly [string, readonly string[]])[] = [
  ['a supervisor that stands still while its worker goes on without a gateway', ['PAUSE']],
  ['an engine that forgets the write that took the lease', ['MAXR=4', 'ROLL']],
];

for (const [name, defines] of LIMITS) {
  test(`a known limit: ${name}`, () => {
    assert.equal(check(...defines).errors, 1);
  });
}
