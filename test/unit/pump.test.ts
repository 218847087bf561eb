/** From the worker's pipe to ours, masked, in bounded time, whatever becomes of the reader. What whole runs print: test/e2e/output.test.ts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, test } from 'node:test';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { LINE_BYTES_MAX, type PumpOptions, startPump } from '../../src/output/pump.ts';
import type { Sink } from '../../src/output/sink.ts';
import { until } from '../support/wait.ts';

const SECRET = 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1';
const OWN = `7312345678:${SECRET}`;

const folder = fs.mkdtempSync(join(tmpdir(), 'pump-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A sink that is full until it is emptied by hand, unless it is `quick`. */
function memory(quick = true) {
  let text = '';
  const waiting: (() => void)[] = [];
  const sink: Sink = {
    write(bytes, onFree) {
      text += bytes.toString();
      if (quick) onFree();
      else waiting.push(onFree);
    },
  };
  return { sink, text: () => text, empty: () => waiting.shift()?.(), waiting };
}

function begin(source: PumpOptions['source'], sink: Sink) {
  const seen: string[] = [];
  const onLines = (text: string) => seen.push(...Buffer.from(text, 'latin1').toString().split('\n'));
  return { pump: startPump({ source, sink, tokens: [OWN], onLines }), seen };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a token in two writes is masked; lines are told, masked, the last one at the end', async () => {
  const out = memory();
  const source = new PassThrough();
  const { pump, seen } = begin(source, out.sink);
  source.write(`POST /bot${OWN.slice(0, 15)}`);
  await turn();
  assert.equal(out.text(), 'POST /bot7312345678:');
  source.write(`${OWN.slice(15)}/getUpdates 409\nConflict: termi`);
  await turn();
  assert.deepEqual(seen, ['POST /bot7312345678:…/getUpdates 409']);
  source.end('nated by other getUpdates request');
  await pump.done;
  assert.equal(seen[1], 'Conflict: terminated by other getUpdates request');
  assert.equal(out.text(), seen.join('\n'));
});

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

test('a destination that takes no more is waited for, and given up when the pump is closed', async () => {
  const out = memory(false);
  const source = new PassThrough();
  const { pump } = begin(source, out.sink);
  for (const text of ['one ', 'two ', 'three']) {
    source.write(text);
    await turn();
  }
  assert.equal(out.text(), 'one ');
  out.empty();
  await turn();
  assert.equal(out.text(), 'one two ');
  await pump.close(20);
  assert.equal(out.waiting.length, 1);
});

test('a grandchild that holds the pipe open is not waited for longer than asked', async () => {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes);
  const out = memory();
  const child = spawn('sh', ['-c', 'sleep 60 & echo $!'], {
    stdio: ['ignore', pipes.writeFds[0], 'inherit'],
  });
  pipes.closeWriteEnds();
  fs.closeSync(pipes.readFds[1]);
  const { pump } = begin(pipes.readFds[0], out.sink);
  await new Promise((resolve) => child.once('exit', resolve));
  await until('its pid', () => out.text().endsWith('\n'));
  const beganMs = performance.now();
  await pump.close(100);
  assert.ok(performance.now() - beganMs >= 90);
  process.kill(Number(out.text()), 'SIGKILL');
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
