// The worker's output: byte for byte to the same stream, at once, masked, however much of it. A terminal that hangs up, a reader that
// goes away, a full disk behind stdout: no crash, no orphan.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, fixture, node, PYTHON, randomToken } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertNoToken } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive, commandOf, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const MIB = 1024 * 1024;
const BIG_MB = 100;

it('masking: whole, in a URL, of another bot, split over two writes, byte by byte, without a newline', async (b) => {
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

it('bytes: what is no token, and noise, arrive unchanged on both streams; last words are complete', async (b) => {
  const text = [
    'at 12:34:56 100:200 bot1:2 12345678:short',
    `sha 0123456789:${'g'.repeat(5)} ratio 1234567890:1`,
    '\u001b[31mred\u001b[0m \r\n tab\t bell\u0007 ünïcødé 漢字 👍',
    '',
  ].join('\n');
  // Without digits and colons, no run of them can look like a token.
  const noise = () => randomBytes(MIB).map((byte) => (byte >= 0x30 && byte <= 0x3a ? 0x80 : byte));
  const [one, two] = [0, 1].map(() => Buffer.concat([Buffer.from(text), noise()])) as [Buffer, Buffer];
  b.file('one', one);
  b.file('two', two);
  const err = b.file('err', '');
  const worker = ['sh', '-c', 'cat one & cat two >&2; wait; exec sleep 1000'];
  const words = ['sh', process.execPath, PROGRAM, 'start', '--', ...worker];
  const run = b.spawn('sh', ['-c', `exec "$@" 2> '${err}'`, ...words], { env: b.env });
  await until('all of stdout', () => run.stdoutBytes().length >= one.length);
  assert.ok(run.stdoutBytes().equals(one), 'stdout is what the worker wrote');
  // On stderr singlepoll's own lines stand before and after.
  await until('all of stderr', () => readFileSync(err).includes(two));
  await b.exits(0, 'stop');

  const line = `${'z'.repeat(120)}\n`;
  const quoted = JSON.stringify(line);
  const script = `require('fs').writeSync(1, ${quoted}.repeat(400)); process.stdout.write(${quoted}.repeat(5000), () => process.exit(3))`;
  const { stdout } = await b.exits(3, ['start', '--restart', 'never', '--', process.execPath, '-e', script]);
  assert.equal(stdout.length, line.length * 5400);
});

it(`much: a reader that does not read holds the worker back, not the memory; then ${BIG_MB} MB arrive, and polls follow`, async (b) => {
  const run = b.start(['--', ...node('prints-much.mjs', String(BIG_MB))]);
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
  await b.serves(run);
  await until('all of it', () => bytes >= BIG_MB * MIB);
  assert.ok(peakKb() < 300_000, `peak ${peakKb()} kB`);
});

xit('a worker that closes its stdout and stderr, and streams closed from the start: it goes on polling', async (b) => {
  const run = await b.polling(['--', ...node('closes-stdout.mjs')]);
  await b.serves(run);
  await run.stop();
  const words = ['sh', process.execPath, PROGRAM, 'start', '--', ...node('polite.mjs')];
  const closed = b.spawn('sh', ['-c', 'exec "$@" <&- >&- 2>&-', ...words], { env: b.env });
  await b.serves(closed);
  await closed.stop();
});

/** Prints a line every 5 ms on both streams, beside a poller. */
const chatty = (b: Bed): string[] => [
  process.execPath,
  b.file(
    'chatty.mjs',
    `for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
setInterval(() => { console.log('tick', Date.now()); console.error('tock'); }, 5);
await import(${JSON.stringify(node('polite.mjs')[1])});\n`,
  ),
];

for (const how of ['has gone (EPIPE)', 'is a full disk (/dev/full)'] as const)
  it(`the reader of both streams ${how}: supervisor and worker go on, and stop`, async (b) => {
    const full = how.startsWith('is') ? openSync('/dev/full', 'w') : null;
    const run = await b.polling(
      ['--heartbeat', '100ms', '--', ...chatty(b)],
      full === null ? {} : { stdout: full, stderr: full },
    );
    if (full === null) {
      await run.waitFor('tick');
      run.child.stdout?.destroy();
      run.child.stderr?.destroy();
    }
    await b.serves(run);
    assert.equal((await b.status()).supervisor?.pid, run.pid);
    assert.equal(new Set(polledBy(b, 'chatty.mjs')).size, 1, 'the same worker');
    await run.stop();
    assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  });

const IN_PTY = fixture('in-pty.py');
const START = [process.execPath, '--', PROGRAM, 'start', '--'];

/** A terminal with a command in it, and the way to hang it up. */
async function inTerminal(b: Bed, command: readonly string[]) {
  const file = join(b.dir, 'hangup');
  const terminal = b.spawn(PYTHON, [IN_PTY, '--hangup-file', file, ...command], {
    env: { ...b.env, TERM: 'xterm' },
  });
  await until('a poll', () => b.sandbox.polls().length > 0, terminal);
  const shell = Number(/pty (\d+)/.exec(terminal.stdout())?.[1]);
  const hangUp = async () => {
    writeFileSync(file, '');
    await until('the shell to be hung up', () => !alive(shell), terminal);
  };
  return { ...terminal, hangUp, end: () => rmSync(file) };
}

xit('a terminal hangs up, with a worker that prints: supervisor and worker end', async (b) => {
  const terminal = await inTerminal(b, [...START, ...chatty(b)]);
  const workers = () => findByEnv('SINGLEPOLL_BOT', String(b.botId));
  await terminal.hangUp();
  const seen = () => `${workers().map(commandOf)}`;
  await until('the worker to be gone', () => workers().length === 0, { seen });
  terminal.end();
  await b.exits(3, 'status --json');
});

const nohup = ['nohup', ...START, ...node('polite.mjs')];
for (const [how, command] of [
  // bash names the program in `_`, and gives a background job an empty stdin.
  ['nohup node … & in bash', ['bash', '-c', '"$@" & wait', 'bash', ...nohup]],
  // dash does not; nohup takes the terminal away from stdin.
  ['nohup node … in dash', ['dash', '-c', '"$@"; exit', 'dash', ...nohup]],
] as const)
  it(`a terminal hangs up, \`${how}\`: supervisor and worker go on`, async (b) => {
    const terminal = await inTerminal(b, command);
    await terminal.hangUp();
    await b.serves(terminal);
    assert.equal(polledBy(b, 'polite.mjs').filter(alive).length, 1);
    await b.exits(0, 'stop');
    terminal.end();
  });

it('a terminal that does not know its width, as of a script or of docker exec: no line is broken', async (b) => {
  await b.polling();
  for (const [words, line] of [
    ['status', /^supervisor pid \d+, up .*, in .*, singlepoll [\d.]+\r$/m],
    ['status --history', /: the last 24 h, (nobody polled for|no gap) .*\r$/m],
  ] as const) {
    const args = [IN_PTY, process.execPath, '--', PROGRAM, ...words.split(' ')];
    const terminal = b.spawn(PYTHON, args, { env: { ...b.env, TERM: 'xterm', NO_COLOR: '1' } });
    await terminal.ends(0);
    assert.match(terminal.stdout(), line);
  }
});
