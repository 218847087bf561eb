/** The supervisors of this user on this machine, by the sockets in the state folder, and the one that is meant by `--bot`. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { findStateDir } from '../config/state-dir.ts';
import type { StatusDocument } from '../core/status.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { plain } from '../output/plain.ts';
import { recallStart } from '../supervise/last-start.ts';
import { CONTROL_SOCKET, isDeploySocket } from '../supervise/socket-names.ts';
import { statusOf } from './status-of.ts';

/** Who does not answer within this time is hung or stopped. */
const ANSWER_MS = 2_000;

export interface Run {
  /** 0: of deploy mode, without a token. */
  readonly botId: number;
  readonly control: string;
  /** Null: something listens there and does not answer. */
  readonly doc: StatusDocument | null;
}

/** A bot that this user has run. */
export interface KnownBot {
  readonly id: number;
  /** Absolute. */
  readonly folder: string;
}

/** In the order of their ids. A folder in which nothing is left tells nothing. */
export function knownBots(): KnownBot[] {
  const state = findStateDir(process.env);
  if (!state) return [];
  return list(state.path)
    .filter((name) => /^\d{1,16}$/.test(name))
    .map((name) => ({ id: Number(name), folder: join(state.path, name) }))
    .filter(({ folder }) => list(folder).length > 0)
    .sort((a, b) => a.id - b.id);
}

/** Asks all at once. Of one bot the polling one comes first. */
export async function livingRuns(bots: readonly KnownBot[] = knownBots()): Promise<Run[]> {
  const sockets = bots.flatMap(({ id, folder }) =>
    list(folder)
      .filter((name) => name === CONTROL_SOCKET || isDeploySocket(name))
      .sort()
      .map((name) => ({ botId: id, control: join(folder, name) })),
  );
  const runs = await Promise.all(
    sockets.map(async (it): Promise<Run | null> => {
      try {
        const doc = await statusOf(it.control, ANSWER_MS);
        return doc && { ...it, doc };
      } catch {
        return { ...it, doc: null };
      }
    }),
  );
  return runs.filter((it) => it !== null);
}

export interface NamedBot {
  readonly bot: KnownBot;
  readonly run: Run | null;
}

/** What `--bot` means. Throws 64 where it is no name of a bot, or no bot of this name is known. */
export async function findNamed(name: string): Promise<NamedBot> {
  const bots = knownBots();
  const runs = await livingRuns(bots);
  const wanted = name.replace(/^@/, '').toLowerCase();
  if (!/^\w{1,64}$/.test(wanted))
    throw new SinglepollError(
      EXIT.usage,
      '--bot takes the id of a bot, or its @username',
      'singlepoll status --all',
    );
  const named = /^\d+$/.test(wanted)
    ? bots.find(({ id }) => id === Number(wanted))
    : bots.find((it) => usernameOf(it, runs)?.toLowerCase() === wanted);
  if (!named) {
    const known = bots.filter(({ id }) => id !== 0).map((it) => `  ${label(it, runs)}`);
    throw new SinglepollError(
      EXIT.usage,
      `no bot ${name} has been run by this user on this machine${known.length > 0 ? `; these have:\n${known.join('\n')}` : ''}`,
      'singlepoll status --all',
    );
  }
  return { bot: named, run: runs.find(({ botId }) => botId === named.id) ?? null };
}

/** The error where several could be meant. */
export function severalBots(runs: readonly Run[]): SinglepollError {
  const rows = runs.map(({ botId, doc }) => {
    const username = doc?.bot?.username;
    const who = botId === 0 ? 'deploy mode' : `${botId}${username ? ` @${plain(username, 64)}` : ''}`;
    return `  ${who}${doc ? `, from ${plain(doc.supervisor?.cwd ?? 'an unknown folder')}` : ', which does not answer'}`;
  });
  return new SinglepollError(
    EXIT.usage,
    `several bots run on this machine, and none is named here (no token in the environment or .env):\n${rows.join('\n')}`,
    'cd to the folder of the bot, or name it: --bot ID or --bot @username',
  );
}

function label(bot: KnownBot, runs: readonly Run[]): string {
  const username = usernameOf(bot, runs);
  return `${bot.id}${username ? ` @${plain(username, 64)}` : ''}`;
}

/** Of the one that runs, else of the last start. */
export function usernameOf(bot: KnownBot, runs: readonly Run[]): string | null {
  const running = runs.find(({ botId }) => botId === bot.id)?.doc?.bot?.username;
  return running ?? recallStart(bot.folder)?.username ?? null;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
