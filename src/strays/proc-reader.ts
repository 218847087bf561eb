/**
 * Reads what one process is from /proc: arguments, environment, working folder. Runs in the inspector's child only: the
 * kernel copies arguments and environment out of the process's own memory, and waits as long as whatever backs that memory
 * makes it wait. Tokens are masked here, and environments never leave this file.
 */
import { FOREIGN_TOKEN, WHOLE_TOKEN } from '../config/token.ts';
import { createBlockReader, ownerOf, readLink } from '../machine/procfs.ts';
import type { ProcDetails, ProcEnv } from './process.ts';

const ARGV_BYTES_MAX = 16 * 1024;
const ARGV_COUNT_MAX = 64;
/** A class path of 10 KB before the script is read over, but not kept. */
const ARG_LENGTH_MAX = 1024;

/** Null: it has left. */
type ProcReader = (pid: number) => ProcDetails | null;

/** A reader that knows the token to look for. */
export function createProcReader({ token, botId }: TokenSought): ProcReader {
  const readBlock = createBlockReader();
  const holds = tokenTest(token);
  return (pid) => {
    const uid = ownerOf(`/proc/${pid}`);
    if (uid < 0) return null;
    const environ = readBlock(`/proc/${pid}/environ`)?.toString('latin1') ?? null;
    // One buffer serves both reads.
    const cmdline = readBlock(`/proc/${pid}/cmdline`, ARGV_BYTES_MAX);
    const words = cmdline?.toString('latin1') ?? '';
    return {
      uid,
      argv: cmdline ? parseArgv(cmdline.toString('utf8')) : [],
      tokenInArgs: holds(words),
      otherBots: otherBotsIn(`${environ ?? ''}\0${words}`, botId),
      cwd: readLink(`/proc/${pid}/cwd`),
      env: environ === null ? null : parseEnviron(environ, holds),
      match: null,
    };
  };
}

export interface TokenSought {
  /** This bot's token; null to look for cookies and patterns only. */
  readonly token: string | null;
  readonly botId: string;
}

/** Whether a token stands in a text, and is not just a part of a longer one. */
function tokenTest(token: string | null): (text: string) => boolean {
  if (token === null) return () => false;
  const whole = new RegExp(`(?<!\\d)${token}(?![A-Za-z0-9_-])`);
  return (text) => text.includes(token) && whole.test(text);
}

/** The arguments in a cmdline block, capped in number and length. */
function parseArgv(text: string): string[] {
  const argv = text.split('\0', ARGV_COUNT_MAX + 1).slice(0, ARGV_COUNT_MAX);
  // A program that writes a title over its arguments pads the rest with NULs.
  while (argv.at(-1) === '') argv.pop();
  if (argv.length === 0 && text !== '') return [''];
  return argv.map((word) => maskTokens(word.slice(0, ARG_LENGTH_MAX)));
}

/** Ids of the bots, other than `botId`, whose token stands in a text. */
export function otherBotsIn(text: string, botId: string): string[] {
  const ids = new Set<string>();
  for (const [, id] of text.matchAll(WHOLE_TOKEN)) if (id !== botId) ids.add(id!);
  return [...ids];
}

/** `text` with the secret part of every token cut out, as it may be shown and kept. */
export function maskTokens(text: string): string {
  return /:|%3a/i.test(text) ? text.replace(FOREIGN_TOKEN, '$1:…') : text;
}

/** Our own cookies, and what service managers leave behind in the environment of what they start. */
const VARIABLE =
  /\0(SINGLEPOLL_(?:BOT|RUN|SPAWN)|POLLING_ENABLED|pm_id|PM2_HOME|name|SUPERVISOR_(?:PROCESS_NAME|GROUP_NAME|SERVER_URL))=([^\0]{0,512})/g;

/**
 * The facts of an environment. Null when it was overwritten: a program that sets its own title may use the room for it.
 */
function parseEnviron(text: string, holds: (text: string) => boolean): ProcEnv | null {
  if (text !== '' && !text.includes('=')) return null;
  const found: Record<string, string> = {};
  for (const [, name, value] of `\0${text}`.matchAll(VARIABLE))
    found[name!] ??= Buffer.from(value!, 'latin1').toString();
  const { SINGLEPOLL_BOT, SINGLEPOLL_RUN, SINGLEPOLL_SPAWN, POLLING_ENABLED = '1', ...marks } = found;
  return {
    holdsToken: holds(text),
    bot: SINGLEPOLL_BOT ?? null,
    run: SINGLEPOLL_RUN ?? null,
    spawn: SINGLEPOLL_SPAWN ?? null,
    ...(SINGLEPOLL_RUN !== undefined && POLLING_ENABLED !== '1' ? { deploy: true } : {}),
    // `name` is PM2's variable for the app only beside its other mark; alone it may be anybody's.
    marks: marks.pm_id === undefined ? (({ name: _, ...rest }) => rest)(marks) : marks,
  };
}
