/** Reading a rotated log: last lines over several files, following it as it is rotated, cut off, removed, moved. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLog } from '../../src/output/log.ts';
import { followLog } from '../../src/output/log-follow.ts';
import { until } from '../support/wait.ts';

function bench(t: TestContext) {
  const dir = fs.mkdtempSync(join(tmpdir(), 'sp-follow-'));
  let reading = true;
  const said: string[] = [];
  let text = '';
  let path = join(dir, 'x.log');
  const running: Promise<unknown>[] = [];
  const read = (lines: number, follow: boolean) =>
    followLog({
      ...{ path: () => path, lines, follow, say: (it) => said.push(it) },
      write: async (bytes) => {
        text += bytes.toString();
        return reading;
      },
    });
  t.after(async () => {
    reading = false;
    fs.appendFileSync(path, 'end\n');
    await Promise.all(running);
    fs.rmSync(dir, { recursive: true, force: true });
  });
  return {
    dir,
    path,
    said,
    text: () => text,
    moveTo(name: string) {
      path = join(dir, name);
      return path;
    },
    last: async (lines: number) => {
      text = '';
      const found = await read(lines, false);
      return found ? text : null;
    },
    follow(lines: number) {
      running.push(read(lines, true));
    },
    saw: (part: string) =>
      until(part, () => text.includes(part), { seen: () => `${text}\n${said.join('\n')}` }),
  };
}

test('logs: the last lines, over rotated files, with and without an end of the last line', async (t) => {
  const b = bench(t);
  assert.equal(await b.last(10), null);
  fs.writeFileSync(`${b.path}.2`, '1\n2\n');
  fs.writeFileSync(`${b.path}.1`, '3\n4\n');
  fs.writeFileSync(b.path, '5\n6');
  assert.equal(await b.last(0), '');
  assert.equal(await b.last(1), '6');
  assert.equal(await b.last(2), '5\n6');
  assert.equal(await b.last(3), '4\n5\n6');
  assert.equal(await b.last(5), '2\n3\n4\n5\n6');
  assert.equal(await b.last(100), '1\n2\n3\n4\n5\n6');
  assert.equal(await b.last(Number.POSITIVE_INFINITY), '1\n2\n3\n4\n5\n6');
  fs.writeFileSync(b.path, '');
  assert.equal(await b.last(1), '4\n');
});

test('logs: a long last line is found over many blocks', async (t) => {
  const b = bench(t);
  const long = 'x'.repeat(200_000);
  fs.writeFileSync(b.path, `a\n${long}\nb\n`);
  assert.equal(await b.last(2), `${long}\nb\n`);
});

test('logs -f: nothing is lost or told twice while it is rotated faster than it is looked at', async (t) => {
  const b = bench(t);
  const log = openLog({ path: b.path, maxBytes: 8192, keep: 400 });
  log.write('out', 'line 0');
  b.follow(10);
  await b.saw('line 0\n');
  for (let n = 1; n < 20_000; n++) {
    log.write('out', `line ${n}`);
    if (n % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await b.saw('line 19999\n');
  const numbers = b
    .text()
    .match(/(?<=line )\d+/g)
    ?.map(Number);
  assert.deepEqual(
    numbers,
    Array.from({ length: 20_000 }, (_, n) => n),
  );
  assert.deepEqual(b.said, []);
});

test('logs -f: a log that is not there yet, is cut off, removed, and written elsewhere', async (t) => {
  const b = bench(t);
  b.follow(10);
  await until('it to wait', () => b.said.some((it) => it.includes('no log yet')));
  fs.writeFileSync(b.path, 'one\n');
  await b.saw('one\n');
  fs.truncateSync(b.path, 0);
  await until('the cut', () => b.said.some((it) => it.includes('cut off')));
  fs.appendFileSync(b.path, 'two\n');
  await b.saw('two\n');
  fs.rmSync(b.path);
  fs.writeFileSync(b.path, 'three\n');
  await b.saw('three\n');
  const next = b.moveTo('other.log');
  fs.writeFileSync(next, 'four\n');
  await b.saw('four\n');
  assert.equal(b.text(), 'one\ntwo\nthree\nfour\n');
});
