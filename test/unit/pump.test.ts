import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { type Pump, type PumpOptions, startPump } from '../../src/output/pump.ts';
import type { SinkNote } from '../../src/output/sink.ts';

const SECRET = 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const OWN = `7312345678:${SECRET}`;
const MIB = 1024 * 1024;

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

type Kind = 'pipe' | 'socket';

/** A shell script as the worker, its stdout pumped to a descriptor. */
async function work(script: string, kind: Kind, options: Omit<PumpOptions, 'source' | 'tokens'>) {
  const pipes = kind === 'pipe' ? await openWorkerPipes(folder) : null;
  if (kind === 'pipe') assert.ok(pipes, 'no pipe could be made');
  const stdout = pipes ? pipes.writeFds[0] : 'pipe';
  const child = spawn('sh', ['-c', script], { cwd: folder, stdio: ['ignore', stdout, 'inherit'] });
  children.add(child);
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let source: PumpOptions['source'];
  if (pipes) {
    pipes.closeWriteEnds();
    fs.closeSync(pipes.readFds[1]);
    source = pipes.readFds[0];
  } else source = child.stdout!;
  const pump = startPump({ ...options, source, tokens: [OWN] });
  pumps.add(pump);
  return { child, exited, pump };
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

function file(name: string): { path: string; fd: number } {
  const path = join(folder, name);
  return { path, fd: keep(fs.openSync(path, 'w')) };
}

async function until(condition: () => boolean, withinMs = 10_000): Promise<void> {
  const giveUpAtMs = performance.now() + withinMs;
  while (!condition()) {
    assert.ok(performance.now() < giveUpAtMs, `not within ${withinMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What the pipe holds now. */
function readNow(fd: number): Buffer {
  const parts: Buffer[] = [];
  for (;;) {
    const part = Buffer.alloc(64 * 1024);
    try {
      const size = fs.readSync(fd, part);
      if (size === 0) break;
      parts.push(part.subarray(0, size));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
      break;
    }
  }
  return Buffer.concat(parts);
}

for (const kind of ['pipe', 'socket'] as const) {
  describe(`a worker that writes to a ${kind}`, () => {
    test('100 MB of any bytes come out as they went in, in little memory', async () => {
      const part = randomBytes(4 * MIB);
      fs.writeFileSync(join(folder, 'part'), part);
      const { path, fd } = file(`binary-${kind}`);
      const before = process.memoryUsage.rss();
      const { exited, pump } = await work('for i in $(seq 25); do cat part; done', kind, {
        destinationFd: fd,
      });
      await pump.done;
      const grown = process.memoryUsage.rss() - before;
      assert.equal(await exited, 0);
      assert.equal(pump.stats().bytes, 100 * MIB);
      const expected = createHash('sha256');
      for (let i = 0; i < 25; i++) expected.update(part);
      assert.equal(createHash('sha256').update(fs.readFileSync(path)).digest('hex'), expected.digest('hex'));
      assert.ok(grown < 64 * MIB, `grew by ${(grown / MIB).toFixed(1)} MiB`);
      fs.rmSync(path);
    });

    test('a full device: the worker ends well, one note, all bytes counted', async () => {
      const notes: SinkNote[] = [];
      const fd = keep(fs.openSync('/dev/full', 'w'));
      const { exited, pump } = await work('head -c 3000000 /dev/zero', kind, {
        destinationFd: fd,
        onNote: (note) => notes.push(note),
      });
      await pump.done;
      assert.equal(await exited, 0);
      assert.deepEqual(notes, [{ kind: 'failing', code: 'ENOSPC' }]);
      assert.deepEqual(pump.stats(), { bytes: 3_000_000, droppedBytes: 3_000_000 });
    });

    test('a reader that leaves: the worker goes on to its end, one note', async () => {
      const notes: SinkNote[] = [];
      const { readFd, writeFd } = await pipe();
      const { exited, pump } = await work('head -c 3000000 /dev/zero', kind, {
        destinationFd: writeFd,
        onNote: (note) => notes.push(note),
      });
      await until(() => readNow(readFd).length > 0);
      letGo(readFd);
      await pump.done;
      assert.equal(await exited, 0);
      assert.deepEqual(notes, [{ kind: 'closed', code: 'EPIPE' }]);
      assert.equal(pump.stats().bytes, 3_000_000);
    });

    test('a reader that stalls holds the worker up, not us; then it gets all', async () => {
      const { readFd, writeFd } = await pipe();
      const { exited, pump } = await work("yes 'some line of text' | head -c 5000000", kind, {
        destinationFd: writeFd,
      });
      let gone = false;
      void exited.then(() => {
        gone = true;
      });
      // Still for 200 ms: the pipes are full.
      let last = -1;
      let stillSinceMs = 0;
      await until(() => {
        const { bytes } = pump.stats();
        if (bytes !== last) stillSinceMs = performance.now();
        last = bytes;
        return bytes > 0 && performance.now() - stillSinceMs > 200;
      });
      assert.ok(last <= 256 * 1024, `read on although nobody takes it: ${last} bytes`);
      assert.equal(gone, false);
      const received: Buffer[] = [];
      await until(() => {
        received.push(readNow(readFd));
        return gone;
      });
      await until(() => {
        received.push(readNow(readFd));
        return received.reduce((sum, part) => sum + part.length, 0) === 5_000_000;
      });
      await pump.done;
      assert.equal(
        Buffer.concat(received).toString(),
        'some line of text\n'.repeat(300_000).slice(0, 5_000_000),
      );
    });

    test('a grandchild that holds the pipe open is not waited for longer than asked', async () => {
      const { path, fd } = file(`held-${kind}`);
      const { exited, pump } = await work('sleep 60 & echo $!', kind, { destinationFd: fd });
      await exited;
      await until(() => fs.readFileSync(path, 'utf8').endsWith('\n'));
      const sleeper = Number(fs.readFileSync(path, 'utf8'));
      try {
        const beganMs = performance.now();
        await pump.close(100);
        const tookMs = performance.now() - beganMs;
        assert.ok(tookMs >= 90 && tookMs < 2_000, `${tookMs} ms`);
        await pump.done;
      } finally {
        process.kill(sleeper, 'SIGKILL');
      }
    });

    test('closing when all has ended does not wait', async () => {
      const { path, fd } = file(`closed-${kind}`);
      const { pump } = await work('echo last words', kind, { destinationFd: fd });
      const beganMs = performance.now();
      await pump.close(30_000);
      assert.ok(performance.now() - beganMs < 5_000);
      assert.equal(fs.readFileSync(path, 'utf8'), 'last words\n');
      assert.deepEqual(pump.tail(), ['last words']);
    });
  });
}

describe('a pump', () => {
  /** The test is the worker: what it writes to `send` is pumped to a file. */
  async function fed(options: Partial<PumpOptions> = {}) {
    const { readFd, writeFd } = await pipe();
    fds.delete(readFd);
    const out = file(`fed-${fds.size}-${randomBytes(3).toString('hex')}`);
    const pump = startPump({ source: readFd, destinationFd: out.fd, tokens: [OWN], ...options });
    pumps.add(pump);
    return {
      pump,
      send: (text: string) => fs.writeSync(writeFd, text),
      end: () => letGo(writeFd),
      printed: () => fs.readFileSync(out.path, 'utf8'),
    };
  }

  test('masks a token that comes in two writes', async () => {
    const { pump, send, end, printed } = await fed();
    send(`got ${OWN.slice(0, 20)}`);
    await until(() => pump.stats().bytes === 24);
    send(`${OWN.slice(20)} and more\n`);
    end();
    await pump.done;
    assert.equal(printed(), 'got 7312345678:… and more\n');
    assert.deepEqual(pump.tail(), ['got 7312345678:… and more']);
  });

  test('prints a prompt that looks like the beginning of a token after a while', async () => {
    const { send, printed } = await fed();
    send('port 12345:yes? ');
    await until(() => printed() === 'port 12345:yes? ', 500);
    send('port 12345:ye');
    const sentMs = performance.now();
    await until(() => printed().endsWith('12345:ye'), 5_000);
    assert.ok(performance.now() - sentMs > 900);
  });

  test('never lets go of the beginning of our own secret', async () => {
    const { pump, send, end, printed } = await fed();
    send(`x ${SECRET.slice(0, 12)}`);
    await until(() => printed() === 'x ');
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    assert.equal(printed(), 'x ');
    end();
    await pump.done;
    assert.equal(printed(), 'x …');
  });

  test('shows its text, masked, and the last line at the end', async () => {
    const seen: string[] = [];
    const { pump, send, end } = await fed({ onText: (sample) => seen.push(sample) });
    send(`POST /bot${OWN}/getUpdates 409\nConflict: termi`);
    await until(() => seen.length === 1);
    send('nated by other getUpdates request');
    end();
    await pump.done;
    assert.deepEqual(seen, [
      'POST /bot7312345678:…/getUpdates 409\n',
      'Conflict: terminated by other getUpdates request',
    ]);
  });

  test('gives up on a stalled reader when it is closed', async () => {
    const destination = await pipe();
    const { pump, send } = await fed({ destinationFd: destination.writeFd });
    for (let i = 0; i < 4; i++) {
      send('x'.repeat(32 * 1024));
      await until(() => pump.stats().bytes >= Math.min(2, i + 1) * 32 * 1024);
    }
    await pump.close(100);
    assert.ok(pump.stats().bytes >= 64 * 1024);
  });
});

test('a stdout that is a socket (a parent in Node) gets every byte', async () => {
  const script = `
    import { startPump } from ${JSON.stringify(new URL('../../src/output/pump.ts', import.meta.url).href)};
    import { spawn } from 'node:child_process';
    const worker = spawn('sh', ['-c', "yes 'a line of some text' | head -c 3000000"], { stdio: ['ignore', 'pipe', 'inherit'] });
    await startPump({ source: worker.stdout, destinationFd: 1, tokens: [] }).done;`;
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
  assert.equal(code, 0);
  assert.equal(size, 3_000_000);
});
