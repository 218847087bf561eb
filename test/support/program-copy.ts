/** The built program where any user may read it: a clone may lie in a folder that is closed to others. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PROGRAM } from './cli.ts';

/** Copies bin/ and dist/ into `folder` (made); returns the path of the program there. */
export function copyProgram(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const root = join(PROGRAM, '..', '..');
  spawnSync('cp', ['-r', join(root, 'bin'), join(root, 'dist'), join(root, 'package.json'), folder]);
  spawnSync('chmod', ['-R', 'a+rX', folder]);
  return join(folder, 'bin/singlepoll.js');
}
