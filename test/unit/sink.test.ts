/** Our stdout and stderr, whatever they are: in order, never blocking, never throwing; what is lost is counted and told. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { openSink, type Sink, type SinkNote } from '../../src/output/sink.ts';
import { until } from '../support/wait.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'sink-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));
const open: Sink[] = [];
afterEach(() => {
  for (const sink of open.splice(0)) sink.close();
});

function opened(fd: number, writeSync?: Parameters<typeof openSink>[1]) {
  const sink = openSink(fd, writeSync);
  const notes: SinkNote[] = [];
  sink.onNote = (note) => notes.push(note);
  open.push(sink);
  return { sink, notes };
}

/** A file's sink whose writes are answered by `answer`: a number of bytes taken, or an error's code. */
function scripted(answer: (length: number) => number | string) {
  const taken: Buffer[] = [];
  const it = opened(fs.openSync(join(folder, 'out'), 'w'), (_fd, bytes, offset, length) => {
    const result = answer(length);
    if (typeof result === 'string') throw Object.assign(new Error(result), { code: result });
    taken.push(Buffer.from(bytes.subarray(offset, offset + result)));
    return result;
  });
  return { ...it, text: () => Buffer.concat(taken).toString() };
}

function free(sink: Sink, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (sink.write(Buffer.from(text), resolve)) resolve();
  });
}

test('partial writes and interrupted ones are gone on with; a busy one gets the rest later, in order', async () => {
  const answers: (number | string)[] = [3, 'EINTR', 1, 2, 6];
  const { sink, notes, text } = scripted((length) => answers.shift() ?? length);
  const never = () => assert.fail('told to be free twice');
  assert.equal(sink.write(Buffer.from('hello, world'), never), true);
  answers.push('EAGAIN', 2, 'EAGAIN', 'EAGAIN');
  const freed: number[] = [];
  assert.equal(
    sink.write(Buffer.from(' first'), () => freed.push(1)),
    false,
  );
  assert.equal(
    sink.write(Buffer.from(' second'), () => freed.push(2)),
    false,
  );
  await free(sink, ' third');
  assert.deepEqual([freed, text(), notes], [[1, 2], 'hello, world first second third', []]);
});

test('a full disk costs bytes, is told once, is not asked at every write, and its recovery is told', async () => {
  let isFull = true;
  let asked = 0;
  const { sink, notes, text } = scripted((length) => {
    asked++;
    return isFull ? 'ENOSPC' : length;
  });
  for (let i = 0; i < 100; i++) await free(sink, '1234567890');
  assert.equal(asked, 1);
  assert.deepEqual(notes, [{ kind: 'failing', code: 'ENOSPC' }]);
  assert.equal(sink.droppedBytes, 1000);
  isFull = false;
  await until('its recovery', async () => {
    await free(sink, 'x');
    return notes.length === 2;
  });
  assert.deepEqual(notes[1], { kind: 'recovered', droppedBytes: sink.droppedBytes });
  assert.equal(text(), 'x');
});

for (const [name, fd, code] of [
  ['a reader that left', null, 'EPIPE'],
  ['a descriptor that is not open', 999_999, 'EBADF'],
] as const)
  test(`${name} is told once; everything after is dropped and frees its buffer`, async () => {
    const { sink, notes } = fd === null ? scripted(() => code) : opened(fd);
    await free(sink, 'abc');
    await free(sink, 'defg');
    assert.deepEqual(notes, [{ kind: 'closed', code }]);
    assert.equal(sink.droppedBytes, 7);
  });

test('a reader that leaves a full pipe behind is told as such, and no other descriptor is written to', async () => {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes);
  const { sink, notes } = opened(pipes.writeFds[0]);
  pipes.closeWriteEnds();
  fs.closeSync(pipes.readFds[1]);
  const chunk = Buffer.alloc(48 * 1024, 'x');
  sink.write(chunk, () => {});
  const freed = new Promise<void>((resolve) => {
    // A pump goes on reading, and writing, at once.
    sink.write(chunk, () => process.nextTick(() => resolve(free(sink, 'more'))));
  });
  fs.closeSync(pipes.readFds[0]);
  await freed;
  assert.deepEqual(notes, [{ kind: 'closed', code: 'EPIPE' }]);
});

test('closing frees what waits', async () => {
  const { sink } = scripted(() => 'EAGAIN');
  const waiting = free(sink, 'abc');
  sink.close();
  await waiting;
  assert.equal(sink.droppedBytes, 3);
});
