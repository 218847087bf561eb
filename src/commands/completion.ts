/**
 * `singlepoll completion`: a script that holds all that can be typed. Libraries (omelette, tabtab) ask the program at every TAB,
 * which starts a Node each time; a script answers at once.
 */
import type { Command } from 'commander';
import { bash } from '../completion/bash.ts';
import { fish } from '../completion/fish.ts';
import { grammarOf } from '../completion/grammar.ts';
import { zsh } from '../completion/zsh.ts';
import { EXIT } from '../errors.ts';

export const SHELLS = { bash, zsh, fish };

export function run(shell: keyof typeof SHELLS, program: Command): number {
  process.stdout.write(SHELLS[shell](grammarOf(program)));
  return EXIT.ok;
}
