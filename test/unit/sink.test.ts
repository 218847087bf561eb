/** Our stdout and stderr, whatever they are: in order, never blocking, never throwing; what is lost is counted and told. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSink, type Sink } from '../../src/output/sink.ts';
import { PYTHON } from '../support/bed.ts';
import { newFolder } from '../support/place.ts';
import { until } from '../support/wait.ts';

const folder = newFolder();

function opened(fd: number, writeSync?: Parameters<typeof openSink>[2]) {
  const notes: string[] = [];
  return { sink: openSink(fd, (text) => notes.push(text), writeSync), notes };
}

function free(sink: Sink, text: string): Promise<void> {
  return new Promise((resolve) => {
    sink.write(Buffer.from(text), resolve);
  });
}

test('a file: partial writes and interrupted ones are gone on with; a full disk is told once, asked once a second, and its end is told', async () => {
  const answers: (number | string)[] = [3, 'EINTR', 1, 2, 6];
  let asked = 0;
  let text = '';
  const fd = fs.openSync(join(folder, 'out'), 'w');
  const { sink, notes } = opened(fd, (_fd, bytes, offset, length) => {
    asked++;
    const result = answers.shift() ?? length;
    if (typeof result === 'string') throw Object.assign(new Error(result), { code: result });
    text += bytes.toString('utf8', offset, offset + result);
    return result;
  });
  await free(sink, 'hello, world');
  assert.deepEqual([text, notes], ['hello, world', []]);
  answers.push(...Array.from({ length: 100 }, () => 'ENOSPC'));
  asked = 0;
  for (let i = 0; i < 100; i++) await free(sink, '1234567890');
  assert.equal(asked, 1);
  assert.match(notes.join(), /^the worker's output can't be written \(ENOSPC\); it is dropped/);
  answers.length = 0;
  await until('its recovery', async () => {
    await free(sink, 'x');
    return notes.length === 2;
  });
  assert.match(notes[1] ?? '', /can be written again; 1\d\d\d bytes were dropped$/);
  assert.equal(text, 'hello, worldx');
  fs.closeSync(fd);
});

test('a terminal that takes no more (Ctrl-S) blocks nobody, gets all of it later, and its own flags are left alone', () => {
  const sink = JSON.stringify(new URL('../../src/output/sink.ts', import.meta.url).href);
  const script = `
    import { readFileSync, writeFileSync } from 'node:fs';
    import { openSink } from ${sink};
    const sink = openSink(1);
    let left = 20, turns = 0;
    const timer = setInterval(() => { if (++turns === 10) writeFileSync(process.argv[1], ''); }, 10);
    const write = () => left-- > 0 ? sink.write(Buffer.alloc(50_000, 'x'), write) : end();
    const flags = () => Number.parseInt(/flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/1', 'utf8'))[1], 8);
    const end = () => { clearInterval(timer); process.exitCode = flags() & 0o4000 ? 1 : 0; };
    write();`;
  // Reads nothing before the writer has shown that it goes on, and then counts what comes.
  const terminal = `
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
while not os.path.exists(sys.argv[-1]): time.sleep(.01)
size = 0
try:
  while True: size += len(os.read(fd, 65536))
except OSError: pass
print(size, os.WEXITSTATUS(os.waitpid(pid, 0)[1]))`;
  const mark = join(folder, 'goes-on');
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script, mark];
  const { stdout, stderr } = spawnSync(PYTHON, ['-c', terminal, ...node], {
    cwd: join(import.meta.dirname, '../..'),
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(stdout.trim(), '1000000 0', stderr);
});
