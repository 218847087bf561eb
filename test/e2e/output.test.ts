// The worker's output: byte for byte to the same stream, at once, masked, however much of it.
// SP_TEST_BIG_MB sets how much is printed (default 200; the contract speaks of 2048).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bed, node, randomToken } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken, handled } from '../support/judge.ts';
import { until } from '../support/wait.ts';

const BIG_MB = Number(process.env.SP_TEST_BIG_MB ?? 200);

test('masking: whole, in a URL, of another bot, split over two writes, byte by byte, without a newline', async (t) => {
  const b = await bed(t);
  const other = randomToken();
  b.env.SP_TEST_OTHER_TOKEN = other;
  const run = await b.polling(['--', ...node('prints-token.mjs')]);
  await run.waitFor('all printed');
  const id = Number(other.split(':')[0]);
  const both = run.stdout() + run.stderr();
  assertNoToken(both, b.token);
  assertNoToken(both, other);
  const out = run.stdout();
  assert.match(out, new RegExp(`^whole ${b.botId}:… end$`, 'm'));
  assert.match(out, new RegExp(`^url https://api\\.telegram\\.org/bot${b.botId}:…/getUpdates end$`, 'm'));
  assert.match(out, new RegExp(`^other https://api\\.telegram\\.org/bot${id}:…/getMe end$`, 'm'));
  assert.match(out, new RegExp(`^bytewise ${b.botId}:… end$`, 'm'));
  assert.match(out, new RegExp(`^no newline ${b.botId}:…$`, 'm'));
  assert.equal(out.match(new RegExp(`^split\\d+ ${b.botId}:… end$`, 'gm'))?.length, 5, out);
  const err = run.stderr();
  assert.match(err, new RegExp(`^stderr whole ${b.botId}:… end$`, 'm'));
  assert.equal(err.match(new RegExp(`^esplit\\d+ bot${id}:…/x end$`, 'gm'))?.length, 5, err);
  assert.ok(!out.includes('stderr whole'), 'stderr is not on stdout');
});

test('masking: what is no token passes unchanged', async (t) => {
  const b = await bed(t);
  const text = [
    'at 12:34:56 100:200 bot1:2 12345678:short',
    'a 2026-11-21T10:00:00.000Z b',
    `sha 0123456789:${'g'.repeat(5)}`,
    'ratio 1234567890:1',
    '\u001b[31mred\u001b[0m \r\n tab\t bell\u0007',
    'ünïcødé 漢字 👍',
    '',
  ].join('\n');
  b.file('text', text);
  const run = b.cli(['start', '--', 'sh', '-c', 'cat text; exec sleep 1000']);
  await until('all of it', () => run.stdout().length >= text.length, { seen: run.seen });
  assert.equal(run.stdout(), text);
});

test('bytes: 3 MB of noise arrive unchanged on both streams', async (t) => {
  const b = await bed(t);
  // Without digits and colons, no run of them can look like a token.
  const noise = () =>
    Buffer.from(randomBytes(3 * 1024 * 1024).map((byte) => (byte >= 0x30 && byte <= 0x3a ? 0x80 : byte)));
  const [one, two] = [noise(), noise()];
  b.file('one', one);
  b.file('two', two);
  const run = b.cli(['start', '--', 'sh', '-c', 'cat one & cat two >&2; wait; exec sleep 1000']);
  await until('all of stdout', () => run.stdoutBytes().length >= one.length, { ms: 30_000 });
  assert.ok(run.stdoutBytes().equals(one), 'stdout is what the worker wrote');
  const file = b.file('err', '');
  run.signal('SIGTERM');
  await run.exit();
  // On stderr singlepoll's own lines stand before and after; collected through a file, as bytes.
  const child = b.spawn(
    'sh',
    [
      '-c',
      `exec "$@" 2> '${file}'`,
      'sh',
      process.execPath,
      PROGRAM,
      'start',
      '--',
      'sh',
      '-c',
      'cat two >&2; echo done; exec sleep 1000',
    ],
    {
      env: b.env,
    },
  );
  await child.waitFor('done');
  await until('all of stderr', () => readFileSync(file).includes(two), { ms: 30_000 });
});

test('bytes: a prompt without a newline appears while the worker waits', async (t) => {
  const b = await bed(t);
  for (const text of ['prompt> ', 'progress 12', 'id 1234567890', 'bot', 'ends in a colon 1234567890:']) {
    b.file('text', text);
    const run = b.cli(['start', '--', 'sh', '-c', 'cat text; exec sleep 1000']);
    await until(`"${text}"`, () => run.stdout() === text, { ms: 8000, seen: run.seen });
    run.signal('SIGKILL');
    await run.exit();
  }
});

test('bytes: the last words of a worker that ends are complete', async (t) => {
  const b = await bed(t);
  const line = `${'z'.repeat(120)}\n`;
  const result = await b.run([
    'start',
    '--restart',
    'never',
    '--',
    process.execPath,
    '-e',
    `require('fs').writeSync(1, ${JSON.stringify(line)}.repeat(400)); process.stdout.write(${JSON.stringify(line)}.repeat(5000), () => process.exit(3))`,
  ]);
  assert.equal(result.code, 3, result.stderr);
  assert.equal(result.stdout.length, line.length * 5400);
});

test(`much: ${BIG_MB} MB arrive complete, in bounded memory, and the worker polls after`, async (t) => {
  const b = await bed(t);
  let bytes = 0;
  let peakKb = 0;
  const child = spawn(
    process.execPath,
    [PROGRAM, 'start', '--', ...node('prints-much.mjs', String(BIG_MB))],
    {
      cwd: b.project,
      env: b.env,
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  b.own(child.pid ?? -1);
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  const rss = () => {
    const status = readFileSync(`/proc/${child.pid}/status`, 'latin1');
    peakKb = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
    return peakKb;
  };
  await until('all of it', () => rss() > 0 && bytes >= BIG_MB * 1024 * 1024, {
    ms: 60_000 + BIG_MB * 100,
    everyMs: 50,
    seen: () => `${bytes} bytes`,
  });
  const id = b.sandbox.text('after');
  await until('a poll after it', () => handled(b.journal()).has(id));
  assert.ok(peakKb < 400_000, `peak ${peakKb} kB`);
  // The worker's own line "worker PID polls" comes after.
  assert.ok(bytes - BIG_MB * 1024 * 1024 < 200, `${bytes} bytes`);
});

test('much: a reader that does not read holds the worker back, not the memory', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--', ...node('prints-much.mjs', '100')]);
  run.child.stdout?.pause();
  await until('the worker', () => /worker|spawn/i.test(run.stderr()), { seen: run.seen });
  const hwm = () =>
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${run.pid}/status`, 'latin1'))?.[1] ?? 0);
  const status = await b.status();
  assert.equal(status.supervisor?.pid, run.pid, 'it still answers');
  assert.ok(hwm() < 250_000, `${hwm()} kB`);
  run.child.stdout?.resume();
  await run.waitFor('printed 104857600', 40_000);
  assert.ok(hwm() < 300_000, `${hwm()} kB`);
});

test('a worker that closes its stdout and stderr goes on polling under its supervisor', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('closes-stdout.mjs')]);
  const id = b.sandbox.text('hello');
  await until('the update', () => handled(b.journal()).has(id), { seen: run.seen });
  assert.equal(run.ended(), null);
  run.signal('SIGTERM');
  assert.equal((await run.exit()).code, 0);
});
