/** A log: whole stamped lines in a rotated file; full disks, files that others move or remove. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type LogOptions, openLog } from '../../src/output/log.ts';
import { LINE_BYTES_MAX } from '../../src/output/pump.ts';
import { newFolder } from '../support/place.ts';

const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:out|singlepoll) /gm;
/** Of `line` with its stamp and newline: three fit into the 180 bytes of `bench`. */
const LINE_BYTES = 50;

function bench(t: TestContext, options: Partial<LogOptions> = {}) {
  const dir = newFolder(t);
  const path = options.path ?? join(dir, 'x.log');
  const clock = { ms: 0 };
  const open = () => openLog({ maxBytes: 180, keep: 2, nowMs: () => clock.ms, ...options, path });
  const read = (name = 'x.log') => fs.readFileSync(join(dir, name), 'utf8').replaceAll(STAMP, '');
  return { dir, path, clock, open, read, names: () => fs.readdirSync(dir).sort() };
}

const line = (text: string) => text.padEnd(20, '.');

function writeTo(log: ReturnType<typeof openLog>, ...texts: string[]): void {
  for (const text of texts) log.write('out', line(text));
}

const numbered = (count: number) => Array.from({ length: count }, (_, i) => `line ${i};`);

test('rotation: nothing grows beyond the size, so many are kept, the newest is .1; it is continued, not begun anew', (t) => {
  const b = bench(t);
  const log = b.open();
  writeTo(log, ...numbered(20));
  assert.deepEqual(b.names(), ['x.log', 'x.log.1', 'x.log.2']);
  for (const name of b.names()) assert.ok(fs.statSync(join(b.dir, name)).size <= 180);
  const text = ['x.log.2', 'x.log.1', 'x.log'].map(b.read).join('');
  assert.deepEqual(text.match(/line \d+;/g), numbered(20).slice(-8));
  assert.equal(fs.statSync(b.path).mode & 0o777, 0o600);
  writeTo(b.open(), 'more');
  assert.match(b.read(), /line 19;.*\nmore/);
  assert.equal(log.facts().problem, null);
  const none = bench(t, { keep: 0 });
  writeTo(none.open(), ...numbered(5));
  assert.deepEqual(none.names(), ['x.log']);
  assert.ok(fs.statSync(none.path).size <= 180);
});

test('a full disk is told, counted, tried once a second, and what follows begins on a line of its own', (t) => {
  let room = LINE_BYTES + 35;
  let tries = 0;
  const writeSync: LogOptions['writeSync'] = (fd, bytes, at, length) => {
    tries++;
    if (room === 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    const size = Math.min(room, length);
    room -= size;
    return fs.writeSync(fd, bytes, at, size);
  };
  const b = bench(t, { writeSync, maxBytes: 10_000 });
  const log = b.open();
  writeTo(log, 'one', 'two');
  assert.match(log.facts().problem ?? '', /disk is full.*ENOSPC/);
  assert.equal(log.facts().droppedBytes, LINE_BYTES - 35);
  const before = tries;
  writeTo(log, 'three');
  assert.equal(tries, before, 'not yet');
  b.clock.ms = 1_001;
  writeTo(log, 'four');
  assert.notEqual(log.facts().problem, null);
  room = 1_000;
  b.clock.ms = 2_002;
  writeTo(log, 'five');
  const lost = 3 * LINE_BYTES - 35;
  assert.deepEqual(log.facts(), { path: b.path, problem: null, droppedBytes: lost });
  const gap = `[log] written again; ${lost} bytes could not be written and are lost`;
  assert.deepEqual(b.read().split('\n'), [line('one'), 'two...', gap, line('five'), '']);
});

test('moved away by logrotate, or removed: a new one is begun within a second', (t) => {
  const b = bench(t, { maxBytes: 10_000 });
  const log = b.open();
  writeTo(log, 'one');
  fs.renameSync(b.path, `${b.path}.old`);
  b.clock.ms = 1_500;
  writeTo(log, 'two');
  assert.match(b.read(), /^two/);
  fs.rmSync(b.path);
  b.clock.ms = 3_000;
  writeTo(log, 'three');
  assert.match(b.read(), /^three/);
});

test('what is no regular file is never renamed; missing folders are made, for this user alone', (t) => {
  const device = bench(t, { path: '/dev/null', maxBytes: 10 }).open();
  writeTo(device, ...numbered(5));
  assert.equal(device.facts().problem, null);
  assert.ok(fs.statSync('/dev/null').isCharacterDevice() && !fs.existsSync('/dev/null.1'));
  const b = bench(t);
  const path = join(b.dir, 'a', 'b', 'x.log');
  bench(t, { path }).open();
  assert.ok(fs.existsSync(path));
  assert.equal(fs.statSync(join(b.dir, 'a')).mode & 0o777, 0o700);
});

test('each line has its stamp; a long one is broken; a flood of empty ones is no way beyond the size', (t) => {
  const b = bench(t, { maxBytes: 100_000, keep: 30 });
  const log = b.open();
  log.write('singlepoll', Buffer.from('first\n\nzweite Zeile mit Ümlaut\r').toString('latin1'));
  log.write('out', 'x'.repeat(LINE_BYTES_MAX * 2 + 5));
  assert.match(fs.readFileSync(b.path, 'utf8'), /^\S+ singlepoll first\n\S+ singlepoll \n/);
  const lengths = b
    .read()
    .split('\n')
    .map((it) => it.length);
  assert.deepEqual(lengths, [5, 0, 24, LINE_BYTES_MAX, LINE_BYTES_MAX, 5, 0]);
  assert.match(b.read(), /^zweite Zeile mit Ümlaut\r$/m);
  log.write('out', '\n'.repeat(64 * 1024 - 1));
  for (const name of b.names()) assert.ok(fs.statSync(join(b.dir, name)).size <= 100_000, name);
  assert.equal(b.names().map(b.read).join('').split('\n').length - 1, 6 + 64 * 1024);
});
