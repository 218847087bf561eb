// Runs jobs of test files, each job in a process of its own. Whether a change is good must not depend on how busy the machine is: a
// file that fails beside others is run once more, alone, and only that result counts. Leaves no process, however it ends.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

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
    // Without the mark of `node --test`, where these tests are themselves run by it.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env, SP_TEST_RUN: run },
  };
  try {
    const results = [];
    const waiting = [...jobs];
    const worker = async () => {
      while (waiting.length > 0 && !signal?.aborted) {
        const files = waiting.shift();
        results.push(await runJob(files, context));
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    const again = results.flatMap((it) => it.failed);
    const failed = [];
    for (const file of again) {
      if (signal?.aborted) return false;
      print(`\n${file} failed; it is run again alone`);
      const { failed: still } = await runJob([file], context);
      failed.push(...still);
    }
    print('');
    for (const file of again) if (!failed.includes(file)) print(`passed only when run alone: ${file}`);
    for (const file of failed) print(`failed twice: ${file}`);
    const count = jobs.flat().length;
    print(`${count - failed.length} passed, ${failed.length} failed, ${again.length} run again alone`);
    return failed.length === 0 && !signal?.aborted;
  } finally {
    endAll(run);
  }
}

/** Its output comes in one piece when it has ended: that of several at once would be mixed. */
function runJob(files, { print, signal, env }) {
  const begun = performance.now();
  const script = files.length === 1 ? files : [TOGETHER, ...files];
  const options = ['--import', 'tsx', '--test-reporter=spec', '--test-reporter-destination=stdout'];
  // A group of its own: what belongs to it ends with it.
  const child = spawn(process.execPath, [...options, ...script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
    detached: true,
  });
  const chunks = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => chunks.push(chunk));
  let why = null;
  const stop = (reason) => {
    why ??= reason;
    signalGroup(child.pid, 'SIGKILL');
  };
  const timer = setTimeout(stop, FILE_TIMEOUT_MS, `no end after ${FILE_TIMEOUT_MS / 1000} s`);
  const onAbort = () => stop('the run was ended');
  signal?.addEventListener('abort', onAbort, { once: true });
  return new Promise((resolve) => {
    let isOver = false;
    const end = (ending) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      // What it started may live on and hold the pipes.
      for (const stream of [child.stdout, child.stderr]) stream?.destroy();
      signalGroup(child.pid, 'SIGKILL');
      const output = Buffer.concat(chunks).toString();
      const ok = ending === 'exit code 0';
      report({ files, ok, ending, output, seconds: (performance.now() - begun) / 1000 }, print);
      const named = files.filter((file) => output.includes(`✖ ${file} (`));
      resolve({ failed: ok ? [] : named.length > 0 ? named : files });
    };
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, name) => {
      const ending = why ?? (name ? `ended by ${name}` : `exit code ${code}`);
      const late = setTimeout(end, 1_000, ending);
      child.once('close', () => {
        clearTimeout(late);
        end(ending);
      });
    });
  });
}

function report({ files, ok, ending, output, seconds }, print) {
  const name = files.length === 1 ? files[0] : `${files.length} files in one process`;
  const count = (word) => Number(new RegExp(`^ℹ ${word} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  const skipped = count('skipped') + count('todo');
  const tests = `${count('tests')} tests, ${skipped > 0 ? `${skipped} skipped, ` : ''}`;
  if (ok) print(`✔ ${name}  ${tests}${seconds.toFixed(1)} s`);
  else print(`\n${output.trimEnd()}\n✖ ${name}  ${ending}, ${seconds.toFixed(1)} s\n`);
}

/** Ends every process that a run has left: they carry its id in their environment. */
export function endAll(run) {
  const mark = `SP_TEST_RUN=${run}`;
  for (const pid of process.platform === 'linux' ? readdirSync('/proc').filter(Number) : []) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      if (environment.includes(mark)) process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended, or is not ours.
    }
  }
}

function signalGroup(pid, name) {
  try {
    if (pid !== undefined) process.kill(-pid, name);
  } catch {
    // Nobody is left in it.
  }
}
