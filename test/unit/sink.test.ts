import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { openSink, type Sink, type SinkNote } from '../../src/output/sink.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'sink-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const open: Sink[] = [];
afterEach(() => {
  for (const sink of open.splice(0)) sink.close();
});

/** A file's sink whose writes are answered by `answer`: a number of bytes taken, or an error's code. */
function scripted(answer: (length: number) => number | string) {
  const fd = fs.openSync(join(folder, 'out'), 'w');
  const taken: Buffer[] = [];
  const notes: SinkNote[] = [];
  const sink = openSink(fd, (_fd, bytes, offset, length) => {
    const result = answer(length);
    if (typeof result === 'string') throw Object.assign(new Error(result), { code: result });
    taken.push(Buffer.from(bytes.subarray(offset, offset + result)));
    return result;
  });
  sink.onNote = (note) => notes.push(note);
  open.push(sink);
  return { sink, notes, text: () => Buffer.concat(taken).toString() };
}

function free(sink: Sink, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (sink.write(Buffer.from(text), resolve)) resolve();
  });
}

test('partial writes and interrupted ones are gone on with', () => {
  const answers: (number | string)[] = [3, 'EINTR', 1, 2];
  const { sink, text } = scripted((length) => answers.shift() ?? length);
  assert.equal(
    sink.write(Buffer.from('hello, world'), () => {}),
    true,
  );
  assert.equal(text(), 'hello, world');
});

test('a destination that is busy gets the rest later, in order, and nothing waits in the event loop', async () => {
  let busy = 4;
  const { sink, notes, text } = scripted((length) => (busy-- > 0 ? 'EAGAIN' : Math.min(length, 2)));
  const freed: number[] = [];
  assert.equal(
    sink.write(Buffer.from('first '), () => freed.push(1)),
    false,
  );
  assert.equal(
    sink.write(Buffer.from('second '), () => freed.push(2)),
    false,
  );
  await free(sink, 'third');
  assert.deepEqual(freed, [1, 2]);
  assert.equal(text(), 'first second third');
  assert.deepEqual(notes, []);
});

test('a full disk costs bytes, is told once, is not asked at every write, and its recovery is told', async () => {
  let full = true;
  let asked = 0;
  const { sink, notes, text } = scripted((length) => {
    asked++;
    return full ? 'ENOSPC' : length;
  });
  for (let i = 0; i < 100; i++) await free(sink, '1234567890');
  assert.equal(asked, 1);
  assert.deepEqual(notes, [{ kind: 'failing', code: 'ENOSPC' }]);
  assert.equal(sink.droppedBytes, 1000);
  full = false;
  const giveUpAtMs = performance.now() + 5_000;
  let dropped = 1000;
  while (notes.length < 2 && performance.now() < giveUpAtMs) {
    await free(sink, 'x');
    if (notes.length < 2) dropped++;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(notes[1], { kind: 'recovered', droppedBytes: dropped });
  assert.equal(text(), 'x');
  await free(sink, 'y');
  assert.equal(text(), 'xy');
});

test('a reader that left is told once; everything after is dropped and frees its buffer', async () => {
  const { sink, notes } = scripted(() => 'EPIPE');
  await free(sink, 'abc');
  await free(sink, 'defg');
  assert.deepEqual(notes, [{ kind: 'closed', code: 'EPIPE' }]);
  assert.equal(sink.droppedBytes, 7);
});

test('a reader that leaves a full pipe behind is told as such, and no other descriptor is written to', async () => {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes);
  const [readFd] = pipes.readFds;
  const sink = openSink(pipes.writeFds[0]);
  open.push(sink);
  pipes.closeWriteEnds();
  fs.closeSync(pipes.readFds[1]);
  const told = new Promise<SinkNote>((resolve) => {
    sink.onNote = resolve;
  });
  const chunk = Buffer.alloc(48 * 1024, 'x');
  sink.write(chunk, () => {});
  const freed = new Promise<void>((resolve) => {
    // A pump goes on reading, and writing, at once.
    sink.write(chunk, () => process.nextTick(() => resolve(free(sink, 'more'))));
  });
  fs.closeSync(readFd);
  assert.deepEqual(await told, { kind: 'closed', code: 'EPIPE' });
  await freed;
});

test('closing frees what waits', async () => {
  const { sink } = scripted(() => 'EAGAIN');
  const waiting = free(sink, 'abc');
  sink.close();
  await waiting;
  assert.equal(sink.droppedBytes, 3);
});

test('a descriptor that is not open is a closed destination, not an error', async () => {
  const sink = openSink(999_999);
  open.push(sink);
  const notes: SinkNote[] = [];
  sink.onNote = (note) => notes.push(note);
  await free(sink, 'abc');
  assert.deepEqual(notes, [{ kind: 'closed', code: 'EBADF' }]);
});
