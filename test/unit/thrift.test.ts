/** Optimizing is off for a quiet worker and on, for good, after a flood: by the flags asked for, and by what V8 then does. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import {
  FLOOD_BYTES,
  FLOOD_CALLS,
  FLOOD_OUTPUT_BYTES,
  FLOOD_TOIL_BYTES,
  startThrift,
} from '../../src/machine/thrift.ts';

function recorded(): { flags: string[]; thrift: ReturnType<typeof startThrift> } {
  const flags: string[] = [];
  return { flags, thrift: startThrift((flag) => flags.push(flag)) };
}

const SAVING = ['--no-opt', '--always-sparkplug', '--liftoff-only'];
const TIERS = ['--no-liftoff-only', '--wasm-tier-up', '--wasm-dynamic-tiering'];

test('a quiet worker never ends the thrift, however long it talks', () => {
  const { flags, thrift } = recorded();
  for (let second = 0; second < 1_000; second++)
    thrift.passed(FLOOD_OUTPUT_BYTES / 2, FLOOD_OUTPUT_BYTES / 2, second * 1_001);
  assert.deepEqual(flags, SAVING);
});

test('so do calls through the gateway, when they are many', () => {
  const { flags, thrift } = recorded();
  for (let second = 0; second < 50; second++)
    for (let i = 0; i < FLOOD_CALLS / 2; i++) thrift.called(second * 1_001);
  assert.deepEqual(flags, SAVING);
  for (let i = 0; i <= FLOOD_CALLS; i++) thrift.called(90_000 + i);
  assert.deepEqual(flags, [...SAVING, '--opt']);
});

test('so do big bodies, when they are fast', () => {
  const { flags, thrift } = recorded();
  for (let i = 0; i < 1_000; i++) thrift.streamed(FLOOD_BYTES / 32, i * 100);
  assert.deepEqual(flags, SAVING);
  for (let i = 0; i <= 32; i++) thrift.streamed(FLOOD_BYTES / 32, 200_000 + i);
  assert.deepEqual(flags, [...SAVING, '--opt']);
});

test('a flood of output after one of calls still brings all that it needs', () => {
  const { flags, thrift } = recorded();
  for (let i = 0; i <= FLOOD_CALLS; i++) thrift.called(1_000 + i);
  thrift.passed(FLOOD_OUTPUT_BYTES, 0, 5_000);
  assert.deepEqual(flags, [...SAVING, '--opt', ...TIERS]);
});

test('a flood of output brings the vectors up to speed once, and JavaScript only when that has the work', () => {
  const { flags, thrift } = recorded();
  for (let i = 0; i < 100; i++) thrift.passed(FLOOD_OUTPUT_BYTES / 16, 0, 5_000 + i);
  assert.deepEqual(flags, [...SAVING, ...TIERS]);
  for (let i = 0; i < 100; i++) thrift.passed(FLOOD_TOIL_BYTES / 16, FLOOD_TOIL_BYTES / 16, 6_000 + i);
  assert.deepEqual(flags, [...SAVING, ...TIERS, '--opt']);
});

test('V8 does as it is told', () => {
  const script = `
    import { FLOOD_TOIL_BYTES, startThrift } from './src/machine/thrift.ts';
    const thrift = startThrift();
    function early(n) { let sum = 0; for (let i = 0; i < n; i++) sum += i % 7; return sum; }
    function late(n) { let sum = 0; for (let i = 0; i < n; i++) sum += i % 7; return sum; }
    for (let i = 0; i < 300; i++) early(100_000);
    thrift.passed(FLOOD_TOIL_BYTES, FLOOD_TOIL_BYTES, 0);
    for (let i = 0; i < 300; i++) late(100_000);`;
  const { stdout, status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--trace-opt', '--input-type=module', '-e', script],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0);
  assert.match(stdout, /completed (?:optimizing|compiling) .*\blate\b/);
  assert.doesNotMatch(stdout, /completed (?:optimizing|compiling) .*\bearly\b/);
});
