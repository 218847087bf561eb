// The runner of these tests: a file that fails beside others gets a second run alone, and only that one counts.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
// @ts-expect-error a script without types
import { runTestFiles } from '../../scripts/test-files.mjs';
import { newFolder } from '../support/place.ts';

function files(t: { after(work: () => void): void }) {
  const folder = newFolder(t);
  return (name: string, body: string, before = ''): string => {
    const path = join(folder, `${name}.mts`);
    const head = `import { spawn } from 'node:child_process'; import { test } from 'node:test';
      import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
      import { setTimeout as pause } from 'node:timers/promises'; ${before}`;
    writeFileSync(path, `${head}\ntest('${name}', async () => {\n${body}\n});\n`);
    return path;
  };
}

async function run(names: string[]): Promise<{ ok: boolean; lines: string[] }> {
  const lines: string[] = [];
  const jobs = names.map((name) => [name]);
  const ok = await runTestFiles({ jobs, atOnce: 3, print: (text: string) => lines.push(text) });
  return { ok, lines };
}

test('a file that fails again fails the run, and so does one that ends by a signal', async (t) => {
  const file = files(t);
  const bad = file('bad', "throw new Error('wrong');");
  const killed = file('killed', "process.kill(process.pid, 'SIGKILL');");
  const isFirst = "process.env.SP_TEST_TRY === 'first'";
  const good = file('good', `if (!(${isFirst})) throw new Error('it is the first try');`);
  const twice = file('twice', `if (${isFirst}) throw new Error('once');`);
  const { ok, lines } = await run([bad, killed, good, twice]);
  assert.equal(ok, false);
  assert.equal(lines.at(-1), '2 passed, 2 failed, 3 run again alone');
  assert.ok(lines.includes(`passed only when run alone: ${twice}`));
  assert.ok(lines.includes(`failed twice: ${bad}`) && lines.includes(`failed twice: ${killed}`));
  assert.match(lines.join('\n'), /ended by SIGKILL/);
});

test('unit tests are run without a look at packages', async (t) => {
  const folder = newFolder(t);
  for (const name of ['apt-get', 'dpkg-query', 'npm']) {
    writeFileSync(join(folder, name), `#!/bin/sh\ntouch ${join(folder, 'asked')}\nexit 1\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const script = join(import.meta.dirname, '../../scripts/test.mjs');
  const child = spawn(process.execPath, [script, 'unit/imports'], {
    env: { ...process.env, PATH: `${folder}:${process.env.PATH}` },
    stdio: 'ignore',
  });
  assert.equal(await new Promise((done) => child.once('exit', done)), 0);
  assert.equal(existsSync(join(folder, 'asked')), false);
});
