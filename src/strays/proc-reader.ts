/**
 * Reads what one process is from /proc: arguments, environment, working folder. Runs in the inspector's child only: the
 * kernel copies arguments and environment out of the process's own memory, and waits as long as whatever backs that memory
 * makes it wait. Tokens are masked here, and environment blocks never leave this file.
 */
import {
  createBlockReader,
  ownerOf,
  type ProcStat,
  parseProcStat,
  readLink,
  readStat,
} from '../machine/procfs.ts';
import { holdsWholeToken, maskTokens, otherBotsIn, scanEnviron } from './environ.ts';
import type { ProcDetails } from './process.ts';

const ARGV_BYTES_MAX = 16 * 1024;
const ARGV_COUNT_MAX = 64;
/** A class path of 10 KB before the script is read over, but not kept. */
const ARG_LENGTH_MAX = 1024;

export interface ProcReader {
  /** Null: it has left, or belongs to the kernel. */
  read(pid: number): { readonly stat: ProcStat; readonly details: ProcDetails } | null;
  /** Overwrites what was read. */
  wipe(): void;
}

/** A reader that knows the tokens to look for. `botId` is the id before the colon of them all. */
export function createProcReader(options: { tokens: readonly string[]; botId: string }): ProcReader {
  const tokens = options.tokens.map((token) => Buffer.from(token, 'latin1'));
  const blocks = createBlockReader();
  return {
    read(pid) {
      const text = readStat(pid);
      const stat = text === null ? null : parseProcStat(text);
      if (!stat || stat.kernel) return null;
      // One buffer serves both reads: the first is done with before the second begins.
      const environ = blocks.read(`/proc/${pid}/environ`, { fills: true });
      const env = typeof environ === 'string' ? null : scanEnviron(environ, tokens);
      const others = new Set(env === null ? [] : otherBotsIn(environ as Buffer, options.botId));
      const cmdline = blocks.read(`/proc/${pid}/cmdline`, { mostBytes: ARGV_BYTES_MAX, fills: true });
      const words = typeof cmdline === 'string' ? null : cmdline;
      for (const id of words ? otherBotsIn(words, options.botId) : []) others.add(id);
      const details: ProcDetails = {
        uid: ownerOf(`/proc/${pid}`),
        argv: words ? parseArgv(words) : [],
        tokenInArgs: words !== null && tokens.some((token) => holdsWholeToken(words, token)),
        otherBots: [...others],
        cwd: readLink(`/proc/${pid}/cwd`),
        env,
        match: null,
      };
      return { stat, details };
    },
    wipe: () => blocks.wipe(),
  };
}

/** The arguments in a cmdline block that begins with one extra NUL; capped in number and length. */
function parseArgv(block: Buffer): string[] {
  if (block.length <= 1) return [];
  const argv: string[] = [];
  let from = 1;
  while (from < block.length && argv.length < ARGV_COUNT_MAX) {
    const end = block.indexOf(0, from);
    const to = end < 0 ? block.length : end;
    argv.push(maskTokens(block.toString('utf8', from, Math.min(to, from + ARG_LENGTH_MAX))));
    from = to + 1;
  }
  // A program that writes a title over its arguments pads the rest with NULs.
  while (argv.length > 1 && argv[argv.length - 1] === '') argv.pop();
  return argv;
}
