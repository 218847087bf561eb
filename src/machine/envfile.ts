/**
 * Whose token the env file of a folder holds. A program that loads its token from `.env` does not show it in its
 * environment block, so the file of its working folder is the next best witness. The file is read through
 * /proc/PID/cwd, which leads into the process's own root (a container's). Its content is never kept.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { TOKEN_NAMES } from './environ.ts';

/** `both`: tokens of several bots stand in it, ours among them; it does not say which of them is used. */
export type FileToken = 'ours' | 'other' | 'both' | 'none';

const MOST_BYTES = 1024 * 1024;
const LINE = /^\s*(?:export\s+)?([\w.-]+)\s*[=:]\s*(.*?)\s*$/;
const TOKEN_SHAPE = /^(\d{5,}):[A-Za-z0-9_-]{20,}$/;

/** Whose tokens an env file's text holds, as whole values, whatever the variables are called. */
export function fileToken(text: string, tokens: readonly string[], botId: string): FileToken {
  let ours = false;
  let other = false;
  let known: string | undefined;
  let rank: number = TOKEN_NAMES.length;
  for (const line of text.split(/\r?\n|\r/)) {
    const match = LINE.exec(line);
    if (!match) continue;
    const value = bareValue(match[2]!);
    const id = TOKEN_SHAPE.exec(value)?.[1];
    if (tokens.includes(value)) ours = true;
    else if (id !== undefined && id !== botId) other = true;
    const place = (TOKEN_NAMES as readonly string[]).indexOf(match[1]!);
    if (id !== undefined && place >= 0 && place < rank) {
      rank = place;
      known = id;
    }
  }
  // A well-known name settles it: that is the one a program reads.
  if (ours && other) return known === botId ? 'ours' : 'both';
  return ours ? 'ours' : other ? 'other' : 'none';
}

function bareValue(raw: string): string {
  const quoted = /^(["'`])(.*?)\1/.exec(raw);
  return quoted ? quoted[2]! : raw.replace(/\s+#.*$/, '');
}

export interface EnvFileReader {
  /** Whose token the file holds now; `none` also when there is no such file, or none that may be read. */
  read(path: string): FileToken;
}

/** Remembers answers by the file's identity, size and change time, so that an unchanged file is read once. */
export function createEnvFileReader(tokens: readonly string[], botId: string): EnvFileReader {
  const answers = new Map<string, FileToken>();
  return {
    read(path) {
      try {
        const before = statSync(path, { throwIfNoEntry: false });
        if (!before?.isFile() || before.size > MOST_BYTES) return 'none';
        const key = `${before.dev}:${before.ino}:${before.size}:${before.mtimeMs}:${before.ctimeMs}`;
        let answer = answers.get(key);
        if (answer === undefined) {
          answer = fileToken(readRegular(path), tokens, botId);
          if (answers.size > 1000) answers.clear();
          answers.set(key, answer);
        }
        return answer;
      } catch {
        return 'none';
      }
    },
  };
}

/** A named pipe put in the file's place must not make us wait for ever: opened without blocking, checked again. */
function readRegular(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > MOST_BYTES) return '';
    const bytes = Buffer.alloc(stat.size);
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, stat.size, 0));
  } finally {
    closeSync(fd);
  }
}
