import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { newFolder } from '../support/place.ts';

const folder = newFolder();

function openFds(): string[] {
  return fs
    .readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return '';
      }
    })
    .filter((target) => target.startsWith(folder));
}

test('a worker gets real pipes: it can open /dev/stdout and /dev/stderr, which it could not with sockets', async () => {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes);
  assert.deepEqual(fs.readdirSync(folder), [], 'no file stays behind');
  const script = 'echo one > /dev/stdout; echo two > /dev/stderr';
  const { status } = spawnSync('sh', ['-c', script], { stdio: ['ignore', ...pipes.writeFds] });
  assert.equal(status, 0);
  pipes.closeWriteEnds();
  assert.deepEqual(
    pipes.readFds.map((fd) => fs.readFileSync(fd, 'utf8')),
    ['one\n', 'two\n'],
  );
  for (const fd of pipes.readFds) fs.closeSync(fd);
  assert.deepEqual(openFds(), []);
});

test('pipes that are not used leave nothing open', async () => {
  const pipes = await openWorkerPipes(folder);
  assert.equal(openFds().length, 4);
  pipes?.discard();
  assert.deepEqual(openFds(), []);
});

test('pipes of a supervisor that was killed while it made them go; those that another one makes now stay', async () => {
  const { pid } = spawnSync('true');
  const own = newFolder();
  const mine = `.err-${process.ppid}-01234567`;
  for (const name of [`.out-${pid}-01234567`, mine, 'log']) fs.writeFileSync(join(own, name), '');
  (await openWorkerPipes(own))?.discard();
  assert.deepEqual(fs.readdirSync(own).sort(), [mine, 'log'].sort());
});

test('null where no pipe can be made', async () => {
  assert.equal(await openWorkerPipes(join(folder, 'not there')), null);
  assert.equal(await openWorkerPipes('/proc'), null);
  assert.deepEqual(openFds(), []);
});
