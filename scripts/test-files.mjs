// Runs jobs of test files, each job in a process of its own. Whether a change is good must not depend on how busy the machine is: a
// file that fails beside others is run once more, alone, and only that result counts. Leaves no process, however it ends.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const FILE_TIMEOUT_MS = 2_400_000;
const TOGETHER = join(import.meta.dirname, '../test/support/together.ts');

/**
 * Each of `jobs` is a list of files that share a process, `atOnce` the number of processes; the tests of one run one by one. Resolves
 * to false when a file failed twice. `signal`: all ends at once.
 */
export async function runTestFiles({ jobs, atOnce, print = console.log, env = {}, signal }) {
  const run = randomUUID();
  const context = {
    print,
    signal,
    // Without the marks of a run, where these tests are themselves a part of one.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, SP_TEST_TRY: undefined, ...env, SP_TEST_RUN: run },
  };
  try {
    const [again, failed, waiting] = [[], [], [...jobs]];
    const worker = async () => {
      while (waiting.length > 0 && !signal?.aborted)
        again.push(...(await runJob(waiting.shift(), context, { SP_TEST_TRY: 'first' })));
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    for (const file of again) {
      if (signal?.aborted) return false;
      print(`\n${file} failed; it is run again alone`);
      failed.push(...(await runJob([file], context)));
    }
    print('');
    for (const file of again) if (!failed.includes(file)) print(`passed only when run alone: ${file}`);
    for (const file of failed) print(`failed twice: ${file}`);
    const passed = jobs.flat().length - failed.length;
    print(`${passed} passed, ${failed.length} failed, ${again.length} run again alone`);
    return failed.length === 0 && !signal?.aborted;
  } finally {
    // Once more: what was just being started has escaped the first look.
    while (endAll(run) > 0) await pause(20);
  }
}

/** The files of a job that failed. Its output comes in one piece when it has ended: that of several at once would be mixed. */
async function runJob(files, { print, signal, env }, more = {}) {
  const begun = performance.now();
  const script = files.length === 1 ? files : [TOGETHER, ...files];
  const options = ['--import', 'tsx', '--test-reporter=spec', '--test-reporter-destination=stdout'];
  // A group of its own: what belongs to it ends with it.
  const child = spawn(process.execPath, [...options, ...script], {
    ...{ stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, ...more }, detached: true },
    ...{ signal, timeout: FILE_TIMEOUT_MS, killSignal: 'SIGKILL' },
  });
  const chunks = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => chunks.push(chunk));
  const closed = new Promise((resolve) => child.once('close', resolve));
  const late = `no end after ${FILE_TIMEOUT_MS / 1000} s`;
  const ending = await once(child, 'exit').then(
    ([code, name]) => (child.killed ? late : name ? `ended by ${name}` : `exit code ${code}`),
    ({ message }) => (signal?.aborted ? 'the run was ended' : message),
  );
  // What it started may live on and hold the pipes.
  await Promise.race([closed, pause(1_000)]);
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Nobody is left in its group.
  }
  const output = Buffer.concat(chunks).toString();
  const took = `${((performance.now() - begun) / 1000).toFixed(1)} s`;
  const name = files.length === 1 ? files[0] : `${files.length} files in one process`;
  const count = (word) => Number(new RegExp(`^ℹ ${word} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  const skipped = count('skipped') + count('todo');
  const tests = `${count('tests')} tests, ${skipped > 0 ? `${skipped} skipped, ` : ''}`;
  const isGood = ending === 'exit code 0';
  print(isGood ? `✔ ${name}  ${tests}${took}` : `\n${output.trimEnd()}\n✖ ${name}  ${ending}, ${took}\n`);
  const named = files.filter((file) => output.includes(`✖ ${file} (`));
  return isGood ? [] : named.length > 0 ? named : files;
}

/** Ends every process that a run has left, and says how many: they carry its id in their environment. */
export function endAll(run) {
  const mark = `SP_TEST_RUN=${run}`;
  const left = process.platform === 'linux' ? readdirSync('/proc').filter(Number) : [];
  return left.filter((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      return environment.includes(mark) && process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended, or is not ours.
      return false;
    }
  }).length;
}
