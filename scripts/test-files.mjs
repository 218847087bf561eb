// Runs test files, each in a process of its own. Whether a change is good must not depend on how busy the machine is: a file
// that fails beside others is run once more, alone, and only that result counts.
import { spawn } from 'node:child_process';

const FILE_TIMEOUT_MS = 600_000;

/** Batches run one after the other, each with so many files at once. Resolves to false when a file failed twice. */
export async function runTestFiles(batches, print = console.log) {
  const results = [];
  for (const { names, atOnce } of batches) results.push(...(await runTogether(names, atOnce, print)));
  const again = results.filter((it) => !it.ok);
  const failed = [];
  for (const { name } of again) {
    print(`\n${name} failed; it is run again alone`);
    const result = await runFile(name);
    report(result, print);
    if (!result.ok) failed.push(name);
  }
  const rescued = again.map((it) => it.name).filter((name) => !failed.includes(name));
  print('');
  for (const name of rescued) print(`passed only when run alone: ${name}`);
  for (const name of failed) print(`failed twice: ${name}`);
  print(`${results.length - failed.length} passed, ${failed.length} failed, ${again.length} run again alone`);
  return failed.length === 0;
}

async function runTogether(names, atOnce, print) {
  const results = [];
  const waiting = [...names];
  async function worker() {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const result = await runFile(name);
      report(result, print);
      results.push(result);
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, names.length) }, worker));
  return results;
}

/** Its output comes in one piece when it has ended: of several files at once it would be mixed. */
function runFile(name) {
  const begun = Date.now();
  return new Promise((resolve) => {
    const options = ['--import', 'tsx', '--test-reporter=spec', '--test-reporter-destination=stdout'];
    const child = spawn(process.execPath, [...options, name], { stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => chunks.push(chunk));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, FILE_TIMEOUT_MS);
    const end = (ok, ending) => {
      clearTimeout(timer);
      const output = Buffer.concat(chunks).toString();
      // What it started may live on and hold the pipes.
      for (const stream of [child.stdout, child.stderr]) stream?.destroy();
      resolve({ name, ok, ending, output, ms: Date.now() - begun });
    };
    child.once('error', (error) => end(false, error.message));
    child.once('exit', (code, signal) => {
      const ending = late
        ? `no end after ${FILE_TIMEOUT_MS / 1000} s`
        : signal
          ? `ended by ${signal}`
          : `exit code ${code}`;
      const close = () => end(code === 0 && !late, ending);
      child.once('close', close);
      setTimeout(close, 1_000).unref();
    });
  });
}

function report({ name, ok, ending, output, ms }, print) {
  const seconds = `${(ms / 1000).toFixed(1)} s`;
  const count = (word) => Number(new RegExp(`^ℹ ${word} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  if (ok) {
    const skipped = count('skipped') + count('todo');
    print(`✔ ${name}  ${count('tests')} tests, ${skipped > 0 ? `${skipped} skipped, ` : ''}${seconds}`);
  } else print(`\n${output.trimEnd()}\n✖ ${name}  ${ending}, ${seconds}\n`);
}
