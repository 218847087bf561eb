// The log of a run: full and unwritable disks, rotation under a flood, the foreground, `logs` across ends and starts.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { detach, logFile, logText } from '../support/detach-bed.ts';
import { assertNoToken } from '../support/judge.ts';
import { it, test, xit } from '../support/kinds.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const POLITE = ['--', ...node('polite.mjs')];
const TMPFS = ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'tmpfs'];

/** Root may, but not in every container. */
function mayMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'sp-disk-'));
  const may = spawnSync('mount', [...TMPFS, folder]).status === 0;
  if (may) execFileSync('umount', [folder]);
  rmdirSync(folder);
  return may;
}

if (mayMount())
  test('a disk that is full (tmpfs of 1 MB) stops the log, not the polls; status says so; it goes on by itself', async (t) => {
    const disk = mkdtempSync(join(tmpdir(), 'sp-disk-'));
    execFileSync('mount', [...TMPFS, disk]);
    t.after(() => {
      execFileSync('umount', ['-l', disk]);
      rmdirSync(disk);
    });
    const b = await bed(t);
    const file = join(disk, 'x.log');
    await detach(b, ['--log-file', file, '--heartbeat', '100ms', '--', ...node('prints-much.mjs', '3')]);
    const status = await b.status();
    assert.deepEqual([status.state, status.healthy], ['polling', false]);
    const problem = status.problems.find(({ code }) => code === 'log')?.message ?? '';
    assert.match(problem, /disk is full \(ENOSPC\)/);
    assert.ok((status.log?.droppedBytes ?? 0) > 1024 * 1024);
    assert.match((await b.exits(1, 'status')).stdout, /! nothing is logged: the disk is full/);
    await b.serves();
    writeFileSync(file, '');
    await until('the log to go on', async () => (await b.status()).log?.problem === null);
    await until('a line', () => /\[hb\] alive/.test(readFileSync(file, 'utf8')));
    assert.match(readFileSync(file, 'utf8'), /\[log\] written again; \d+ bytes could not be written/);
    assert.equal(new Set(polledBy(b, 'prints-much.mjs')).size, 1, 'the same worker');
    assert.equal((await b.status()).healthy, true);
  });

it('it is rotated while the worker floods it; nothing but what is rotated away is lost; a reader that leaves ends logs', async (b) => {
  const counts = `import { writeSync } from 'node:fs';
for (let n = 0; n < 200_000; n++) {
  const line = Buffer.from('line ' + n + ' ' + process.env.TELEGRAM_BOT_TOKEN + '\\n');
  for (let at = 0; at < line.length; ) try { at += writeSync(1, line, at); } catch (e) { if (e.code !== 'EAGAIN') throw e; }
}
await import(${JSON.stringify(node('polite.mjs')[1])});`;
  await detach(b, [
    '--log-size',
    '1M',
    '--log-keep',
    '3',
    '--',
    process.execPath,
    b.file('counts.mjs', counts),
  ]);
  const folder = join(b.stateDir, String(b.botId));
  const names = readdirSync(folder).filter((name) => name.includes('.log'));
  assert.deepEqual(
    names.sort(),
    ['', '.1', '.2', '.3'].map((end) => `singlepoll.log${end}`),
  );
  for (const name of names) assert.ok(statSync(join(folder, name)).size <= 1024 * 1024, name);
  const text = [3, 2, 1].map((n) => logText(b, `${logFile(b)}.${n}`)).join('') + logText(b);
  assertNoToken(text, b.token);
  const numbers = [...text.matchAll(/^\S+ out line (\d+) \d+:…$/gm)].map(([, n]) => Number(n));
  assert.ok(numbers.length > 40_000, `${numbers.length} lines`);
  const expected = numbers.map((_n, i) => 200_000 - numbers.length + i);
  assert.deepEqual(numbers, expected);
  assert.ok((await b.run('logs -n all')).stdout.startsWith(text), 'logs shows all files as one text');
  await b.serves();
  const script = `set -o pipefail; ${process.execPath} ${PROGRAM} logs -n all | head -n 1`;
  const piped = b.spawn('bash', ['-c', script], { env: b.env });
  await piped.ends(0);
  assert.deepEqual([piped.stdout().split('\n').length, piped.stderr()], [2, '']);
});

xit('in the foreground --log-file writes what is printed, too', async (b) => {
  const run = await b.polling('--log-file x.log');
  const path = join(b.project, 'x.log');
  await until('the log', () => logText(b, path).includes('[poll]'));
  assert.equal((await b.status()).log?.path, path);
  assert.match((await b.run('logs -n 1000')).stdout, /singlepoll \[lock\] taken/);
  run.signal('SIGTERM');
  await run.exit();
  assert.match(logText(b, path), /\[stop\] .*have ended \(exit 0\)/);
  for (const line of run.stdout().trim().split('\n'))
    assert.ok(logText(b, path).includes(` out ${line}`), line);
});

it('logs: -n, and -f across the end and the next start of the run', async (b) => {
  assert.match((await b.exits(78, 'logs')).stderr, /only a detached run writes one/);
  await detach(b, POLITE);
  for (const words of ['-n 3', '-n3', '-3'])
    assert.equal((await b.run(`logs ${words}`)).stdout.split('\n').length, 4, words);
  assert.equal((await b.run('logs --tail 3')).stdout, (await b.run('logs -n 3')).stdout);
  const all = (await b.run(`logs ${b.botId} --since 10m --json`)).stdout.trimEnd().split('\n');
  const lines = all.map((line) => JSON.parse(line) as { at: string; from: string; text: string });
  assert.ok(lines.some(({ from, text }) => from === 'singlepoll' && text.startsWith('[lock] taken')));
  const { at } = lines.at(-2)!;
  const since = (await b.run(['logs', '--since', at])).stdout;
  assert.deepEqual(
    since
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ')[0]),
    lines.filter((line) => line.at >= at).map((line) => line.at),
  );
  assert.equal((await b.run(['logs', '--since', new Date(Date.now() + 60_000).toISOString()])).stdout, '');
  const follow = b.cli('logs -f -n 1');
  const shows = (pattern: RegExp, times: number) =>
    until(`${pattern}, ${times} times`, () => (follow.stdout().match(pattern)?.length ?? 0) >= times, follow);
  // It is there: what comes from now on it shows.
  await until('the last line', () => follow.stdout() !== '', follow);
  await b.exits(0, 'stop');
  await shows(/have ended/g, 1);
  await detach(b, POLITE);
  await shows(/\[lock\] taken/g, 1);
  await b.exits(0, 'stop');
  await shows(/have ended/g, 2);
  await detach(b, ['--log-file', 'other.log', ...POLITE]);
  await shows(/\[lock\] taken/g, 2);
  assert.match(follow.stderr(), /the log is .*other\.log now/);
  follow.signal('SIGINT');
  assert.equal((await follow.exit()).signal, 'SIGINT');
});
