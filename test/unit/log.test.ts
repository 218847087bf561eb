/** A log: whole stamped lines in a rotated file; full disks, files that others move or remove. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LINE_BYTES_MAX, stampedStream } from '../../src/output/log.ts';
import { openRotatedFile, type RotatedFileOptions } from '../../src/output/log-file.ts';

function bench(t: TestContext, options: Partial<RotatedFileOptions> = {}) {
  const dir = fs.mkdtempSync(join(tmpdir(), 'sp-log-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, 'x.log');
  const clock = { ms: 0 };
  const open = () =>
    openRotatedFile({
      ...{ path, maxBytes: 100, keep: 2, nowMs: () => clock.ms },
      afterGap: (bytes) => Buffer.from(`gap ${bytes}\n`),
      ...options,
    });
  const read = (name = 'x.log') => fs.readFileSync(join(dir, name), 'utf8');
  return { dir, path, clock, open, read, names: () => fs.readdirSync(dir).sort() };
}

const line = (text: string) => Buffer.from(`${text.padEnd(29, '.')}\n`);

test('rotated file: nothing grows beyond the size, so many are kept, the newest is .1', (t) => {
  const b = bench(t);
  const file = b.open();
  for (let i = 0; i < 20; i++) file.write(line(`line ${i}`));
  assert.deepEqual(b.names(), ['x.log', 'x.log.1', 'x.log.2']);
  for (const name of b.names()) assert.ok(fs.statSync(join(b.dir, name)).size <= 100);
  const text = b.read('x.log.2') + b.read('x.log.1') + b.read();
  assert.deepEqual(
    text.match(/line \d+/g),
    [12, 13, 14, 15, 16, 17, 18, 19].map((n) => `line ${n}`),
  );
  assert.equal(fs.statSync(b.path).mode & 0o777, 0o600);
  assert.equal(file.problem, null);
});

test('rotated file: it is continued, not begun anew; keep 0 keeps none', (t) => {
  const b = bench(t, { keep: 0 });
  b.open().write(line('before'));
  const file = b.open();
  file.write(line('after'));
  assert.match(b.read(), /before.*\nafter/);
  for (let i = 0; i < 5; i++) file.write(line(`line ${i}`));
  assert.deepEqual(b.names(), ['x.log']);
  assert.ok(fs.statSync(b.path).size <= 100);
});

test('rotated file: a full disk is told, counted, tried once a second, and begun anew on a line of its own', (t) => {
  let room = 40;
  let tries = 0;
  const writeSync: RotatedFileOptions['writeSync'] = (fd, bytes, at, length) => {
    tries++;
    if (room === 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    const size = Math.min(room, length);
    room -= size;
    return fs.writeSync(fd, bytes, at, size);
  };
  const b = bench(t, { writeSync, maxBytes: 10_000 });
  const file = b.open();
  file.write(line('one'));
  file.write(line('two'));
  assert.match(file.problem ?? '', /disk is full.*ENOSPC/);
  assert.equal(file.droppedBytes, 20);
  const before = tries;
  file.write(line('three'));
  assert.equal(tries, before, 'not yet');
  assert.equal(file.droppedBytes, 50);
  b.clock.ms = 1_001;
  file.write(line('four'));
  assert.notEqual(file.problem, null);
  room = 1_000;
  b.clock.ms = 2_002;
  file.write(line('five'));
  assert.equal(file.problem, null);
  assert.equal(file.droppedBytes, 80);
  assert.deepEqual(b.read().split('\n'), [
    'one'.padEnd(29, '.'),
    'two'.padEnd(10, '.'),
    'gap 80',
    'five'.padEnd(29, '.'),
    '',
  ]);
});

test('rotated file: moved away by logrotate, or removed: a new one is begun within a second', (t) => {
  const b = bench(t, { maxBytes: 10_000 });
  const file = b.open();
  file.write(line('one'));
  fs.renameSync(b.path, `${b.path}.old`);
  b.clock.ms = 1_500;
  file.write(line('two'));
  assert.match(b.read(), /^two/);
  fs.rmSync(b.path);
  b.clock.ms = 3_000;
  file.write(line('three'));
  assert.match(b.read(), /^three/);
});

test('rotated file: two that write the same one lose nothing but what is rotated away', (t) => {
  const b = bench(t, { keep: 50 });
  const files = [b.open(), b.open()];
  for (let i = 0; i < 40; i++) files[i % 2]?.write(line(`line ${i};`));
  const text = b.names().map(b.read).join('');
  for (let i = 0; i < 40; i++) assert.ok(text.includes(`line ${i};`), `line ${i}`);
});

test('rotated file: what is no regular file is never renamed', (t) => {
  const b = bench(t, { path: '/dev/null', maxBytes: 10 });
  const file = b.open();
  for (let i = 0; i < 5; i++) file.write(line('x'));
  assert.equal(file.problem, null);
  assert.ok(fs.statSync('/dev/null').isCharacterDevice());
  assert.ok(!fs.existsSync('/dev/null.1'));
});

test('rotated file: a folder in its place, a file in place of its folder: told, and no exception', (t) => {
  const b = bench(t);
  fs.mkdirSync(b.path);
  const file = b.open();
  assert.match(file.problem ?? '', /it is a folder/);
  file.write(line('lost'));
  assert.equal(file.droppedBytes, 30);
  fs.rmdirSync(b.path);
  b.clock.ms = 2_000;
  file.write(line('kept'));
  assert.equal(file.problem, null);
  assert.match(b.read(), /^gap 30\nkept/);
  fs.writeFileSync(join(b.dir, 'flat'), '');
  assert.match(bench(t, { path: join(b.dir, 'flat', 'x.log') }).open().problem ?? '', /not a folder/);
});

test('rotated file: missing folders are made, for this user alone', (t) => {
  const b = bench(t);
  const path = join(b.dir, 'a', 'b', 'x.log');
  bench(t, { path }).open().write(line('x'));
  assert.ok(fs.existsSync(path));
  assert.equal(fs.statSync(join(b.dir, 'a')).mode & 0o777, 0o700);
});

test('rotated file: where it may not be rotated it grows on, and says so', (t) => {
  const b = bench(t);
  const file = b.open();
  // A folder that is not empty can't be replaced by a file.
  fs.mkdirSync(join(`${b.path}.1`, 'x'), { recursive: true });
  fs.mkdirSync(join(`${b.path}.2`, 'x'), { recursive: true });
  for (let i = 0; i < 5; i++) file.write(line(`line ${i}`));
  assert.match(file.problem ?? '', /can't be rotated/);
  assert.equal(b.read().match(/line/g)?.length, 5);
  assert.equal(file.droppedBytes, 0);
});

const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z out /;

function stamped(...chunks: (string | Buffer)[]): string[] {
  const emitted: string[] = [];
  const stream = stampedStream('out', (lines) => emitted.push(lines.toString()));
  for (const chunk of chunks) {
    const reused = Buffer.from(chunk as string);
    stream.write(reused);
    reused.fill('#');
  }
  stream.end();
  for (const text of emitted)
    assert.ok(text.endsWith('\n') && text.length < 80 * 1024, 'whole lines, in parts');
  const lines = emitted.join('').split('\n').slice(0, -1);
  for (const line of lines) assert.match(line, STAMP);
  return lines.map((line) => line.replace(STAMP, ''));
}

test('stamps: whole lines, however the bytes are cut; an unfinished one at the end', () => {
  const bytes = Buffer.from('first\n\nzweite Zeile mit Ümlaut\r\n…\nlast');
  const whole = ['first', '', 'zweite Zeile mit Ümlaut\r', '…', 'last'];
  for (let at = 0; at <= bytes.length; at++)
    assert.deepEqual(stamped(bytes.subarray(0, at), bytes.subarray(at)), whole, `cut at ${at}`);
  assert.deepEqual(stamped(...[...bytes].map((byte) => Buffer.from([byte]))), whole);
  assert.deepEqual([stamped(), stamped('x\n')], [[], ['x']]);
});

test('stamps: a line without an end is broken; a flood of empty lines is handed on in parts', () => {
  const lines = stamped('x'.repeat(LINE_BYTES_MAX), 'y'.repeat(LINE_BYTES_MAX * 2 + 5), '\nz');
  assert.deepEqual(
    lines.map((line) => line.length),
    [LINE_BYTES_MAX, LINE_BYTES_MAX, LINE_BYTES_MAX, 5, 1],
  );
  assert.equal(stamped('\n'.repeat(64 * 1024)).length, 64 * 1024);
});
