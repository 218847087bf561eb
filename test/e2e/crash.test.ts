// A worker that ends: policy, backoff, crash loop with its last lines and its code, commands that cannot run.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const FAST = ['--backoff', '10ms,40ms'];

test('crash loop: gives up after --max-restarts with the code of the worker and its last 20 lines', async (t) => {
  const b = await bed(t);
  const result = await b.run([
    'start',
    ...FAST,
    '--max-restarts',
    '3/1m',
    '--',
    ...node('exits.mjs', '3', '30'),
  ]);
  assert.equal(result.code, 3, result.stderr);
  assert.equal(starts(b.journal()).length, 4, 'the first and three restarts');
  assert.match(result.stderr, /crash/i);
  // The worker printed 30 lines in each of four lives; the report shows the last 20 once more.
  const shown = (line: number) => result.stderr.split(`last words ${line} of 30`).length - 1;
  assert.equal(shown(30), 5, result.stderr);
  assert.equal(shown(11), 5);
  assert.equal(shown(10), 4);
  assertNeverTwo(b);
});

test('a bug: 70, the worker is gone, and nobody follows it while the end is told', async (t) => {
  const b = await bed(t);
  const server = createServer(() => {}).listen(0, '127.0.0.1');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const boom = b.file(
    'boom.cjs',
    "if (process.argv[2] === 'start') setTimeout(() => { for (const it of [1, 2]) Promise.reject(new Error('boom ' + it)); }, 1500);",
  );
  const run = b.cli(
    ['start', '--alert-url', `http://127.0.0.1:${port}/hook`, ...FAST, '--', ...node('polite.mjs')],
    { env: { ...b.env, NODE_OPTIONS: `--require ${boom}` } },
  );
  const { code } = await run.exit();
  assert.equal(code, 70, run.stderr());
  assert.match(run.stderr(), /\[bug\] Error: boom 1[\s\S]*please report/);
  const workers = starts(b.journal());
  assert.equal(workers.length, 1, run.stderr());
  assert.ok(!alive(workers[0]?.pid ?? 0));
  assertNeverTwo(b);
});

test('status tells why the last supervisor ended, until one is stopped as asked', async (t) => {
  const b = await bed(t);
  for (const code of [3, 0]) {
    await b.run(['start', ...FAST, '--max-restarts', '1/1m', '--', ...node('exits.mjs', String(code))]);
    const { state, healthy, problems } = await b.status();
    assert.deepEqual({ state, healthy }, { state: 'stopped', healthy: false });
    assert.match(
      problems.find((it) => it.code === 'ended')?.message ?? '',
      new RegExp(`^the last supervisor ended \\d.* ago: crash loop \\(exit ${code}\\)$`),
    );
  }
  const run = b.cli(['start', '--', ...node('polls-then-exits.mjs', '60000', '0')]);
  await until('a worker', () => run.stderr().includes('] started, pid'), { seen: run.seen });
  await b.run(['stop']);
  await run.exit();
  assert.deepEqual(
    (await b.status()).problems.filter((it) => it.code === 'ended'),
    [],
  );
});

for (const [signal, code] of [
  ['SIGKILL', 137],
  ['SIGSEGV', 139],
  ['SIGTERM', 143],
] as const) {
  test(`crash loop: a worker that dies of ${signal} gives ${code}`, async (t) => {
    const b = await bed(t);
    const result = await b.run([
      'start',
      ...FAST,
      '--max-restarts',
      '1/1m',
      '--',
      ...node('dies-by-signal.mjs', signal),
    ]);
    assert.deepEqual({ code: result.code, signal: result.signal }, { code, signal: null }, result.stderr);
  });
}

test('exit 0 is no "done": restarted by default, and a crash loop with code 0 is still one', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', ...FAST, '--', ...node('polls-then-exits.mjs', '50', '0')]);
  await until('three lives', () => starts(b.journal()).length >= 3, { seen: run.seen });
  const result = await b.run(['stop']);
  assert.equal(result.code, 0);
  assert.equal((await run.exit()).code, 0);
  const loop = await b.run(['start', ...FAST, '--max-restarts', '2/1m', '--', ...node('exits.mjs', '0')]);
  assert.match(loop.stderr, /crash|too (many|often)|restarts/i);
});

test('--restart never passes on the code; on-failure ends at 0 and restarts at 1', async (t) => {
  const b = await bed(t);
  for (const code of [0, 1, 42, 255]) {
    const result = await b.run(['start', '--restart', 'never', '--', ...node('exits.mjs', String(code))]);
    assert.equal(result.code, code, result.stderr);
  }
  assert.equal(starts(b.journal()).length, 4);
  const killed = await b.run(['start', '--restart', 'never', '--', ...node('dies-by-signal.mjs', 'SIGKILL')]);
  assert.equal(killed.code, 137);
  const fine = await b.run(['start', '--restart', 'on-failure', '--', ...node('exits.mjs', '0')]);
  assert.equal(fine.code, 0);
  const before = starts(b.journal()).length;
  const bad = await b.run([
    'start',
    ...FAST,
    '--restart',
    'on-failure',
    '--max-restarts',
    '2/1m',
    '--',
    ...node('exits.mjs', '8'),
  ]);
  assert.equal(bad.code, 8);
  assert.equal(starts(b.journal()).length - before, 3);
});

test('backoff: the first exit is answered at once although the worker never polled, the second waits', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--backoff', '60s,90s', '--', ...node('exits.mjs', '1')]);
  await until('the wait', () => /starting it again in /.test(run.stderr()), { seen: run.seen });
  assert.equal(starts(b.journal()).length, 2, run.stderr());
  assert.match(run.stderr(), /starting it again at once[\s\S]*\(2 exits in a row\)/);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

test('backoff: waits double up to the maximum', async (t) => {
  const b = await bed(t);
  const result = await b.run(
    ['start', '--backoff', '200ms,1s', '--max-restarts', '5/1m', '--', ...node('exits.mjs', '1')],
    { ms: 40_000 },
  );
  assert.equal(result.code, 1);
  const at = starts(b.journal()).map((entry) => entry.at);
  const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0));
  assert.equal(gaps.length, 5, String(gaps));
  assert.ok((gaps[4] ?? 0) > (gaps[1] ?? 0), `waits grow: ${gaps}`);
  assert.ok(
    gaps.slice(1).every((gap) => gap >= 90 && gap < 3000),
    `within bounds: ${gaps}`,
  );
  assert.ok((gaps[3] ?? 0) + (gaps[4] ?? 0) >= 900, `doubling: ${gaps}`);
});

test('backoff: a quick death is not answered by a storm of restarts', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--', ...node('exits.mjs', '1')]);
  await until('the first life', () => starts(b.journal()).length >= 1);
  await staysTrue('at most three lives in two seconds', 2000, () => starts(b.journal()).length <= 3);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});

test('commands that cannot run: missing, not executable, a folder, an empty word', async (t) => {
  const b = await bed(t);
  const plain = b.file('plain.txt', 'no program\n');
  chmodSync(plain, 0o644);
  const folder = join(b.dir, 'folder');
  mkdirSync(folder);
  const tries: [string, number[]][] = [
    ['/no/such/program', [127, 78]],
    ['no-such-program-in-path', [127, 78]],
    [plain, [126, 127, 78]],
    [folder, [126, 127, 78]],
    ['', [64, 78, 126, 127]],
  ];
  for (const [command, codes] of tries) {
    const result = await b.run(['start', ...FAST, '--max-restarts', '1/1m', '--', command, 'arg']);
    assert.ok(codes.includes(result.code ?? -1), `${command}: ${result.code} ${result.stderr}`);
    if (command) assert.ok(result.stderr.includes(command), result.stderr);
    assert.doesNotMatch(result.stderr, /\n\s+at .*:\d+:\d+/, 'no stack trace');
  }
});

test('a worker that forks and leaves: its daemon never polls beside the next worker', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', ...FAST, '--max-restarts', '3/1m', '--', ...node('forks-and-leaves.mjs')]);
  await run.exit();
  const polite = starts(b.journal()).filter((entry) => entry.name === 'polite.mjs');
  // Most are stopped before their first instruction.
  for (const entry of polite) assert.deepEqual(entry.others, [], 'two daemons at once');
  await until('the last daemon to be gone as well', () =>
    polledBy(b, 'polite.mjs').every((pid) => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    }),
  );
});
