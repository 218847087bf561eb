/** `singlepoll logs`: the last lines of a run's log, and on request what follows. */
import { join } from 'node:path';
import { findStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { recallLog } from '../output/log.ts';
import { followLog } from '../output/log-follow.ts';
import { plain } from '../output/plain.ts';
import { configure, type Invocation, namedBot, warn } from './context.ts';
import { botNamed, findBots, theOnly } from './find.ts';

const DEFAULT_LINES = 10;

export async function run(invocation: Invocation): Promise<number> {
  const lines = parseLines(invocation.own.lines);
  const folder = await folderOf(invocation);
  const isWritten =
    folder !== null &&
    (await followLog({
      path: () => recallLog(folder),
      lines,
      follow: invocation.own.follow === true,
      write,
      say: (text) => process.stderr.write(`singlepoll: ${plain(text, 1_000)}\n`),
    }));
  if (isWritten) return EXIT.ok;
  throw new SinglepollError(
    EXIT.config,
    folder === null
      ? 'no log: no bot has been run by this user on this machine'
      : `no log at ${plain(recallLog(folder), 1_000)}: only a detached run writes one, or one with --log-file`,
    'singlepoll start -d -- COMMAND',
  );
}

function parseLines(value: unknown): number {
  if (value === undefined) return DEFAULT_LINES;
  if (value === 'all') return Number.POSITIVE_INFINITY;
  if (typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value);
  throw new SinglepollError(EXIT.usage, '--lines takes a number, or all', 'singlepoll logs -n 100');
}

/** Of the bot that is meant: named, else configured here, else the only one that runs or ever ran. */
async function folderOf(invocation: Invocation): Promise<string | null> {
  const name = namedBot(invocation);
  if (name !== null) return (await botNamed(name)).folder;
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  const state = findStateDir(process.env);
  if (state && config.botId !== null) return join(state.path, String(config.botId));
  const bots = await findBots();
  const running = bots.filter(({ runs }) => runs.length > 0);
  return theOnly(running.length > 0 ? running : bots)?.folder ?? null;
}

/** False: nobody reads any more, as with `| head`. */
function write(bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    process.stdout.once('error', () => resolve(false));
    process.stdout.write(bytes, (error) => {
      process.stdout.removeAllListeners('error').on('error', () => {});
      resolve(!error);
    });
  });
}
