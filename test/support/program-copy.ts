/** The built program where any user may read it: a clone may lie in a folder that is closed to others. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, worker } from './bed.ts';
import { PROGRAM, type Running } from './cli.ts';
import { NOBODY } from './squatter.ts';

/** Copies bin/ and dist/ into `folder` (made); returns the path of the program there. */
export function copyProgram(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const root = join(PROGRAM, '..', '..');
  spawnSync('cp', ['-r', join(root, 'bin'), join(root, 'dist'), join(root, 'package.json'), folder]);
  spawnSync('chmod', ['-R', 'a+rX', folder]);
  return join(folder, 'bin/singlepoll.js');
}

/** `start` as an ordinary user, who may read the program and its worker, polite.mjs. */
export function startAsNobody(
  b: Bed,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Running {
  const copy = join(b.dir, 'program');
  const program = copyProgram(copy);
  for (const name of ['polite.mjs', 'poll.mjs']) copyFileSync(worker(name), join(copy, name));
  const state = join(b.dir, 'state-of-nobody');
  mkdirSync(state, { recursive: true, mode: 0o700 });
  spawnSync('chown', [`${NOBODY}`, state, b.project]);
  const words = [program, 'start', ...args, '--', process.execPath, join(copy, 'polite.mjs')];
  const own = { ...b.env, SINGLEPOLL_DIR: state, HOME: '/nonexistent', ...env };
  return b.spawn(process.execPath, words, { env: own, uid: NOBODY });
}
