/** A pipe holds more than 64 KiB once it was widened, by whichever interpreter is there; where none is, nothing happens. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openWorkerPipes } from '../../src/output/pipes.ts';
import { WIDE_PIPE_BYTES, widenPipe } from '../../src/output/widen-pipe.ts';
import { staysTrue, until } from '../support/wait.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'widen-pipe-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/** How each says where it is itself; what is first in PATH may be a script of a version manager, which needs more. */
const WHERE = {
  perl: ['-e', 'print $^X'],
  python3: ['-c', 'import sys; print(sys.executable)'],
};
type Program = keyof typeof WHERE;

/** A folder to stand for PATH, with only these programs in it. */
function pathOf(...programs: Program[]): string {
  const path = fs.mkdtempSync(join(folder, 'path-'));
  for (const program of programs) {
    const found = spawnSync(program, WHERE[program], { encoding: 'utf8' }).stdout?.trim();
    assert.ok(found, `this machine has no ${program}`);
    fs.writeFileSync(join(path, program), `#!/bin/sh\nexec '${found}' "$@"\n`, { mode: 0o755 });
  }
  return path;
}

/** Widens a new pipe with this PATH; `capacity` tells how many bytes it takes now (and fills and empties it). */
async function widened(path: string, use: (capacity: () => number) => Promise<void>): Promise<void> {
  const pipes = await openWorkerPipes(folder);
  assert.ok(pipes);
  const [readFd] = pipes.readFds;
  const { O_WRONLY, O_NONBLOCK } = fs.constants;
  const writeFd = fs.openSync(`/proc/self/fd/${readFd}`, O_WRONLY | O_NONBLOCK);
  const before = process.env.PATH;
  try {
    process.env.PATH = path;
    widenPipe(readFd);
    process.env.PATH = before;
    await use(() => {
      // open(2): the flag belongs to the open file, which the interpreter shares with us.
      const flags = /^flags:\s+0(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${readFd}`, 'utf8'))?.[1];
      assert.ok(Number.parseInt(flags ?? '', 8) & O_NONBLOCK, 'reading it would block now');
      const size = fs.writeSync(writeFd, Buffer.alloc(2 * WIDE_PIPE_BYTES));
      for (let left = size; left > 0; ) left -= fs.readSync(readFd, Buffer.alloc(left));
      return size;
    });
  } finally {
    process.env.PATH = before;
    fs.closeSync(writeFd);
    pipes.discard();
  }
}

for (const program of ['perl', 'python3'] as const) {
  test(`${program} widens a pipe`, () =>
    widened(pathOf(program), async (capacity) => {
      await until('the pipe to hold more', () => capacity() === WIDE_PIPE_BYTES);
    }));
}

test('without an interpreter the pipe stays as it is, and so does everything else', () =>
  widened(pathOf(), (capacity) => staysTrue('the pipe as it was', 100, () => capacity() === 64 * 1024)));
