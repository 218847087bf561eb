// The runner of these tests: a file that fails beside others gets a second run alone, and only that one counts.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
// @ts-expect-error a script without types
import { runTestFiles } from '../../scripts/test-files.mjs';

function files(t: { after(work: () => void): void }) {
  const folder = mkdtempSync(join(tmpdir(), 'singlepoll-runner-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return (name: string, body: string): string => {
    const path = join(folder, `${name}.mts`);
    const head = "import { test } from 'node:test'; import { existsSync, writeFileSync } from 'node:fs';";
    writeFileSync(path, `${head}\ntest('${name}', () => {\n${body}\n});\n`);
    return path;
  };
}

async function run(names: string[]): Promise<{ ok: boolean; lines: string[] }> {
  const lines: string[] = [];
  const ok = await runTestFiles([{ names, atOnce: 3 }], (text: string) => lines.push(text));
  return { ok, lines };
}

test('a file that fails only beside others does not fail the run, and is named', async (t) => {
  const file = files(t);
  const good = file('good', "console.log('chatter');");
  const flaky = file(
    'flaky',
    "const mark = import.meta.filename + '.seen'; if (!existsSync(mark)) { writeFileSync(mark, ''); throw new Error('busy'); }",
  );
  const { ok, lines } = await run([good, flaky]);
  assert.equal(ok, true);
  assert.equal(lines.at(-1), '2 passed, 0 failed, 1 run again alone');
  assert.ok(lines.includes(`passed only when run alone: ${flaky}`), lines.join('\n'));
  assert.ok(
    lines.some((line) => line.includes('Error: busy')),
    lines.join('\n'),
  );
  assert.ok(!lines.join('\n').includes('chatter'));
});

test('a file that fails again fails the run, and so does one that ends by a signal', async (t) => {
  const file = files(t);
  const bad = file('bad', "throw new Error('wrong');");
  const killed = file('killed', "process.kill(process.pid, 'SIGKILL');");
  const good = file('good', '');
  const { ok, lines } = await run([bad, killed, good]);
  assert.equal(ok, false);
  assert.equal(lines.at(-1), '1 passed, 2 failed, 2 run again alone');
  assert.ok(lines.includes(`failed twice: ${bad}`) && lines.includes(`failed twice: ${killed}`));
  assert.match(lines.join('\n'), /ended by SIGKILL/);
});
