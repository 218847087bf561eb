/** From the worker's pipe to ours: every byte, masked, in bounded memory, whatever becomes of the reader. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, afterEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLastLines } from '../../src/output/last-lines.ts';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { type Pump, type PumpOptions, startPump } from '../../src/output/pump.ts';
import { openSink } from '../../src/output/sink.ts';
import { until } from '../support/wait.ts';

const SECRET = 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const OWN = `7312345678:${SECRET}`;

const folder = fs.mkdtempSync(join(tmpdir(), 'pump-'));
const children = new Set<ChildProcess>();
const fds = new Set<number>();
const pumps = new Set<Pump>();
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  for (const pump of pumps) await pump.close(0);
  pumps.clear();
  for (const fd of fds) fs.closeSync(fd);
  fds.clear();
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

function begin(source: PumpOptions['source'], destinationFd: number, onLines = (_text: string): void => {}) {
  const notes: string[] = [];
  const sink = openSink(destinationFd, (text) => notes.push(text));
  const lines = createLastLines([]).stream('out');
  const pump = startPump({ source, sink, tokens: [OWN], lines, onLines });
  pumps.add(pump);
  return { pump, notes, lines };
}

/** A shell script as the worker, its stdout pumped to a descriptor. */
async function work(script: string, destinationFd: number) {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes, 'no pipe could be made');
  const child = spawn('sh', ['-c', script], { cwd: folder, stdio: ['ignore', pipes.writeFds[0], 'inherit'] });
  children.add(child);
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  pipes.closeWriteEnds();
  fs.closeSync(pipes.readFds[1]);
  return { exited, ...begin(pipes.readFds[0], destinationFd) };
}

/** A pipe whose ends the test holds; the read end does not block. */
async function pipe(): Promise<{ readFd: number; writeFd: number }> {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes, 'no pipe could be made');
  fs.closeSync(pipes.readFds[1]);
  fs.closeSync(pipes.writeFds[1]);
  return { readFd: keep(pipes.readFds[0]), writeFd: keep(pipes.writeFds[0]) };
}

function keep(fd: number): number {
  fds.add(fd);
  return fd;
}

function letGo(fd: number): void {
  fds.delete(fd);
  fs.closeSync(fd);
}

function file(): { path: string; fd: number } {
  const path = join(folder, randomBytes(4).toString('hex'));
  return { path, fd: keep(fs.openSync(path, 'w')) };
}

describe('a worker', () => {
  test('any bytes come out as they went in; a full device costs it nothing but them', async () => {
    const part = randomBytes(4 * 1024 * 1024);
    fs.writeFileSync(join(folder, 'part'), part);
    const { path, fd } = file();
    const { exited, pump } = await work('cat part part part', fd);
    await pump.done;
    assert.equal(await exited, 0);
    assert.ok(fs.readFileSync(path).equals(Buffer.concat([part, part, part])));
    const full = await work('cat part', keep(fs.openSync('/dev/full', 'w')));
    await full.pump.done;
    assert.equal(await full.exited, 0);
    assert.match(full.notes.join(), /can't be written \(ENOSPC\)/);
  });

  test('a grandchild that holds the pipe open is not waited for longer than asked', async () => {
    const { path, fd } = file();
    const { exited, pump } = await work('sleep 60 & echo $!', fd);
    await exited;
    await until('its pid', () => fs.readFileSync(path, 'utf8').endsWith('\n'));
    const sleeper = Number(fs.readFileSync(path, 'utf8'));
    try {
      const beganMs = performance.now();
      await pump.close(100);
      assert.ok(performance.now() - beganMs >= 90);
      await pump.done;
    } finally {
      process.kill(sleeper, 'SIGKILL');
    }
  });

  test('its last words are complete when it has ended', async () => {
    const { path, fd } = file();
    const { pump, lines } = await work('printf "last words"', fd);
    await pump.close(30_000);
    assert.equal(fs.readFileSync(path, 'utf8'), 'last words');
    assert.deepEqual(lines.texts(), ['last words']);
  });
});

describe('a pump', () => {
  /** The test is the worker: what it writes to `send` is pumped to a file. */
  async function fed(onLines?: (text: string) => void) {
    const { readFd, writeFd } = await pipe();
    fds.delete(readFd);
    const out = file();
    return {
      ...begin(readFd, out.fd, onLines),
      send: (text: string) => fs.writeSync(writeFd, text),
      end: () => letGo(writeFd),
      printed: () => fs.readFileSync(out.path, 'utf8'),
    };
  }

  test('masks a token that comes in two writes', async () => {
    const { pump, send, end, printed, lines } = await fed();
    send(`got ${OWN.slice(0, 20)}`);
    await until('the first', () => printed() === 'got 7312345678:');
    send(`${OWN.slice(20)} and more\n`);
    end();
    await pump.done;
    assert.equal(printed(), 'got 7312345678:… and more\n');
    assert.deepEqual(lines.texts(), ['got 7312345678:… and more']);
  });

  test('prints a prompt that looks like the beginning of a token after a while, but never one of our own secret', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const seen: string[] = [];
    const source = new PassThrough();
    const out = file();
    const { pump } = begin(source, out.fd, (text) => seen.push(text));
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const after = async (text: string, ms: number) => {
      source.write(text);
      await turn();
      t.mock.timers.tick(ms);
      return fs.readFileSync(out.path, 'utf8');
    };
    assert.equal(await after('port 12345:yes? ', 0), 'port 12345:yes? ');
    assert.equal(await after('12345:ye', 1_999), 'port 12345:yes? 12345:');
    assert.deepEqual(seen, []);
    assert.equal(await after('s', 2_000), 'port 12345:yes? 12345:yes');
    assert.deepEqual(seen, ['port 12345:yes? 12345:yes'], 'a line by then');
    assert.match(await after(` 12345:ye ${SECRET.slice(0, 12)}`, 9_000), / 12345:ye $/);
    source.end();
    await pump.done;
    assert.match(fs.readFileSync(out.path, 'utf8'), / 12345:ye …$/);
  });

  test('tells of its lines, masked, and of the last one at the end', async () => {
    const seen: string[] = [];
    const { pump, send, end } = await fed((text) =>
      seen.push(...Buffer.from(text, 'latin1').toString().split('\n')),
    );
    send(`POST /bot${OWN}/getUpdates 409\nConflict: termi`);
    await until('a line', () => seen.length === 1);
    send('nated by other getUpdates request');
    end();
    await pump.done;
    assert.deepEqual(seen, [
      'POST /bot7312345678:…/getUpdates 409',
      'Conflict: terminated by other getUpdates request',
    ]);
  });

  test('gives up on a stalled reader when it is closed', async () => {
    const { readFd, writeFd } = await pipe();
    fds.delete(readFd);
    const destination = await pipe();
    const { pump } = begin(readFd, destination.writeFd);
    for (let i = 0; i < 6; i++) {
      fs.writeSync(writeFd, 'x'.repeat(16 * 1024));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await pump.close(100);
    await pump.done;
  });
});

test('sockets at both ends (no FIFO could be made; a parent in Node) lose no byte', async () => {
  const url = (name: string) => JSON.stringify(new URL(`../../src/output/${name}.ts`, import.meta.url).href);
  const script = `
    import { createLastLines } from ${url('last-lines')};
    import { startPump } from ${url('pump')};
    import { openSink } from ${url('sink')};
    import { spawn } from 'node:child_process';
    const worker = spawn('sh', ['-c', "yes 'a line of some text' | head -c 3000000"], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createLastLines([]).stream('out');
    await startPump({ source: worker.stdout, sink: openSink(1), tokens: [], lines, onLines() {} }).done;`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.add(child);
  let size = 0;
  child.stdout!.on('data', (chunk: Buffer) => {
    size += chunk.length;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.deepEqual([code, size], [0, 3_000_000]);
});
