/** From the worker's pipe to ours, masked, in bounded time, whatever becomes of the reader. What whole runs print: test/e2e/output.test.ts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { LINE_BYTES_MAX, type PumpOptions, startPump } from '../../src/output/pump.ts';
import type { Sink } from '../../src/output/sink.ts';

const SECRET = 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const OWN = `7312345678:${SECRET}`;

function memory() {
  let text = '';
  const sink: Sink = {
    write(bytes, onFree) {
      text += bytes.toString();
      onFree();
    },
  };
  return { sink, text: () => text };
}

function begin(source: PumpOptions['source'], sink: Sink) {
  const seen: string[] = [];
  const onLines = (text: string) => seen.push(...Buffer.from(text, 'latin1').toString().split('\n'));
  return { pump: startPump({ source, sink, tokens: [OWN], onLines }), seen };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('lines end with their bytes, however the stream is cut and its buffer used again; one without an end is broken', async () => {
  const bytes = Buffer.from('one\r\nGrüße 🙂\n\nlast');
  for (let at = 0; at <= bytes.length; at++) {
    const source = new PassThrough();
    const { pump, seen } = begin(source, memory().sink);
    const first = Buffer.from(bytes.subarray(0, at));
    source.write(first);
    await turn();
    first.fill('#');
    source.end(bytes.subarray(at));
    await pump.done;
    assert.deepEqual(seen, ['one\r', 'Grüße 🙂', '', 'last'], `cut at ${at}`);
  }
  const source = new PassThrough();
  const { pump, seen } = begin(source, memory().sink);
  source.write(Buffer.alloc(LINE_BYTES_MAX + 1, '-'));
  await turn();
  assert.equal(seen[0]?.length, LINE_BYTES_MAX + 1);
  source.end();
  await pump.done;
});

test('a prompt that looks like the beginning of a token is printed after a while, but never one of our own secret', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const out = memory();
  const source = new PassThrough();
  const { pump, seen } = begin(source, out.sink);
  const printed = async (text: string, ms: number) => {
    source.write(text);
    await turn();
    t.mock.timers.tick(ms);
    return out.text();
  };
  assert.equal(await printed('port 12345:yes? ', 0), 'port 12345:yes? ');
  assert.equal(await printed('12345:ye', 1_999), 'port 12345:yes? 12345:');
  assert.deepEqual(seen, []);
  assert.equal(await printed('s', 2_000), 'port 12345:yes? 12345:yes');
  assert.deepEqual(seen, ['port 12345:yes? 12345:yes'], 'a line by then');
  assert.match(await printed(` 12345:ye ${SECRET.slice(0, 12)}`, 9_000), / 12345:ye $/);
  source.end();
  await pump.done;
  assert.match(out.text(), / 12345:ye …$/);
});

test('a socket as source (no FIFO could be made) loses no byte', async () => {
  const worker = spawn('sh', ['-c', "yes 'a line of some text' | head -c 3000000"]);
  let size = 0;
  const sink: Sink = {
    write(bytes, onFree) {
      size += bytes.length;
      setImmediate(onFree);
    },
  };
  await begin(worker.stdout, sink).pump.done;
  assert.equal(size, 3_000_000);
});
