/** `singlepoll logs`: the last lines of a run's log, and on request what follows. */
import { join } from 'node:path';
import { findStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { recallLog } from '../output/log.ts';
import { followLog } from '../output/log-follow.ts';
import { plain } from '../output/plain.ts';
import { configureUnlessNamed, namedBot, warn } from './context.ts';
import type { Invocation } from './invocation.ts';
import { findNamed, type KnownBot, knownBots, livingRuns, severalBots } from './runs.ts';

const DEFAULT_LINES = 10;

export async function run(invocation: Invocation): Promise<number> {
  const lines = parseLines(invocation.own.lines);
  const folder = await folderOf(invocation);
  const written = await followLog({
    path: () => recallLog(folder),
    lines,
    follow: invocation.own.follow === true,
    write,
    say: (text) => process.stderr.write(`singlepoll: ${plain(text, 1_000)}\n`),
  });
  if (written) return EXIT.ok;
  throw new SinglepollError(
    EXIT.config,
    `no log at ${plain(recallLog(folder), 1_000)}: only a detached run writes one, or one with --log-file`,
    'singlepoll start -d -- COMMAND',
  );
}

function parseLines(value: unknown): number {
  if (value === undefined) return DEFAULT_LINES;
  if (value === 'all') return Number.POSITIVE_INFINITY;
  if (typeof value === 'string' && /^\d{1,15}$/.test(value)) return Number(value);
  throw new SinglepollError(EXIT.usage, '--lines takes a number, or all', 'singlepoll logs -n 100');
}

/** The folder of the bot that is meant: named, else configured here, else the only one that runs or ever ran. */
async function folderOf(invocation: Invocation): Promise<string> {
  const name = namedBot(invocation);
  if (name !== null) return (await findNamed(name)).bot.folder;
  const { config, warnings } = await configureUnlessNamed(invocation);
  warn(warnings);
  const state = findStateDir(process.env);
  if (!state) throw noneRun();
  if (config.botId !== null) return join(state.path, String(config.botId));
  const runs = await livingRuns();
  const ids = [...new Set(runs.map(({ botId }) => botId))];
  if (ids.length > 1) throw severalBots(runs);
  const bots = knownBots();
  const only = ids.length === 1 ? bots.find(({ id }) => id === ids[0]) : bots[0];
  if (!only) throw noneRun();
  if (ids.length === 0 && bots.length > 1) throw severalKnown(bots);
  return only.folder;
}

function noneRun(): SinglepollError {
  return new SinglepollError(
    EXIT.config,
    'no log: no bot has been run by this user on this machine',
    'singlepoll start -d -- COMMAND',
  );
}

function severalKnown(bots: readonly KnownBot[]): SinglepollError {
  return new SinglepollError(
    EXIT.usage,
    `several bots have been run on this machine, none runs, and none is named here: ${bots.map(({ id }) => id).join(', ')}`,
    'cd to the folder of the bot, or name it: --bot ID or --bot @username',
  );
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
