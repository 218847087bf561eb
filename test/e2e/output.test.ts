// The worker's output: byte for byte to the same stream, at once, masked, however much of it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bed, node, randomToken } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken, handled } from '../support/judge.ts';
import { until } from '../support/wait.ts';

const MIB = 1024 * 1024;
const BIG_MB = 100;

test('masking: whole, in a URL, of another bot, split over two writes, byte by byte, without a newline', async (t) => {
  const b = await bed(t);
  const other = randomToken();
  b.env.SP_TEST_OTHER_TOKEN = other;
  const run = await b.polling(['--', ...node('prints-token.mjs')]);
  await run.waitFor('all printed');
  const id = Number(other.split(':')[0]);
  const [out, err] = [run.stdout(), run.stderr()];
  for (const token of [b.token, other]) assertNoToken(out + err, token);
  for (const line of [
    `whole ${b.botId}:… end`,
    `url https://api.telegram.org/bot${b.botId}:…/getUpdates end`,
    `other https://api.telegram.org/bot${id}:…/getMe end`,
    `bytewise ${b.botId}:… end`,
    `no newline ${b.botId}:…`,
  ])
    assert.ok(out.split('\n').includes(line), line);
  assert.equal(out.match(new RegExp(`^split\\d+ ${b.botId}:… end$`, 'gm'))?.length, 5, out);
  assert.match(err, new RegExp(`^stderr whole ${b.botId}:… end$`, 'm'));
  assert.equal(err.match(new RegExp(`^esplit\\d+ bot${id}:…/x end$`, 'gm'))?.length, 5, err);
  assert.ok(!out.includes('stderr whole'), 'stderr is not on stdout');
});

test('bytes: what is no token, and noise, arrive unchanged on both streams', async (t) => {
  const b = await bed(t);
  const text = [
    'at 12:34:56 100:200 bot1:2 12345678:short',
    'a 2026-11-21T10:00:00.000Z b',
    `sha 0123456789:${'g'.repeat(5)} ratio 1234567890:1`,
    '\u001b[31mred\u001b[0m \r\n tab\t bell\u0007 ünïcødé 漢字 👍',
    '',
  ].join('\n');
  // Without digits and colons, no run of them can look like a token.
  const noise = () => randomBytes(MIB).map((byte) => (byte >= 0x30 && byte <= 0x3a ? 0x80 : byte));
  const [one, two] = [noise(), noise()].map((it) => Buffer.concat([Buffer.from(text), it]));
  assert.ok(one && two);
  b.file('one', one);
  b.file('two', two);
  const err = b.file('err', '');
  const script = `exec "$@" 2> '${err}'`;
  const worker = ['sh', '-c', 'cat one & cat two >&2; wait; exec sleep 1000'];
  const run = b.spawn('sh', ['-c', script, 'sh', process.execPath, PROGRAM, 'start', '--', ...worker], {
    env: b.env,
  });
  await until('all of stdout', () => run.stdoutBytes().length >= one.length, { ms: 30_000 });
  assert.ok(run.stdoutBytes().equals(one), 'stdout is what the worker wrote');
  // On stderr singlepoll's own lines stand before and after.
  await until('all of stderr', () => readFileSync(err).includes(two), { ms: 30_000 });
});

test('bytes: a prompt without a newline appears while the worker waits', async (t) => {
  const b = await bed(t);
  for (const text of ['prompt> ', 'id 1234567890', 'ends in a colon 1234567890:']) {
    b.file('text', text);
    const run = b.cli(['start', '--', 'sh', '-c', 'cat text; exec sleep 1000']);
    await until(`"${text}"`, () => run.stdout() === text, { seen: run.seen });
    run.signal('SIGKILL');
    await run.exit();
  }
});

test('bytes: the last words of a worker that ends are complete', async (t) => {
  const b = await bed(t);
  const line = `${'z'.repeat(120)}\n`;
  const script = `require('fs').writeSync(1, ${JSON.stringify(line)}.repeat(400)); process.stdout.write(${JSON.stringify(line)}.repeat(5000), () => process.exit(3))`;
  const result = await b.run(['start', '--restart', 'never', '--', process.execPath, '-e', script]);
  assert.equal(result.code, 3, result.stderr);
  assert.equal(result.stdout.length, line.length * 5400);
});

test(`much: a reader that does not read holds the worker back, not the memory; then ${BIG_MB} MB arrive, and polls follow`, async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--', ...node('prints-much.mjs', String(BIG_MB))]);
  let bytes = 0;
  run.child.stdout?.removeAllListeners('data').pause();
  await run.waitFor(/\[worker\] started/);
  const peakKb = () =>
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${run.pid}/status`, 'latin1'))?.[1] ?? 0);
  assert.equal((await b.status()).supervisor?.pid, run.pid, 'it still answers');
  assert.ok(peakKb() < 250_000, `${peakKb()} kB`);
  run.child.stdout?.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  run.child.stdout?.resume();
  await run.waitFor(`printed ${BIG_MB * MIB}`, 90_000);
  const id = b.sandbox.text('after');
  await until('a poll after it', () => handled(b.journal()).has(id));
  await until('all of it', () => bytes >= BIG_MB * MIB);
  assert.ok(peakKb() < 300_000, `peak ${peakKb()} kB`);
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
