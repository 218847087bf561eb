/**
 * Finds the supervisor that a command means. By --bot; else by the control socket in the folder of the configured bot, whatever
 * token it was started with; else by the lock of the token that is known here, to say who it is and how to reach it; else a
 * deploy-mode one of this bot or folder; else, where no token is known here, the only one that runs. Orders go to sockets of the
 * own state folder only.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { findStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { type Holder, lockHolder, lockKey } from '../lock/lock.ts';
import { plain } from '../output/plain.ts';
import {
  type Answer,
  askControl,
  CONTROL_SOCKET,
  controlSockets,
  isDeploySocket,
  NoAnswer,
  NoSupervisor,
  type Request,
  WentAway,
} from '../supervisor/control.ts';
import { unreachable } from '../supervisor/holder-words.ts';
import { recallStart } from '../supervisor/memory.ts';
import { controlPath, supervisorAt } from '../supervisor/present.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { statusOf } from './answers.ts';

/** A supervisor that does not answer within this time is hung or stopped. */
const ANSWER_MS = 2_000;
/** How long a supervisor is waited for that holds the lock and has no socket: it looks every 5 s whether it is still there. */
const NO_CONTROL_MS = 8_000;
const HOW_TO_NAME = 'cd to the folder of the bot, or name it: --bot ID or --bot @username';

/** A bot that this user has run. */
export interface KnownBot {
  /** 0: of deploy mode, without a token. */
  readonly id: number;
  /** Absolute. */
  readonly folder: string;
}

export interface Run {
  readonly botId: number;
  readonly control: string;
  /** Null: something listens there and does not answer. */
  readonly doc: StatusDocument | null;
}

export interface Located {
  /** In the own state folder. Null where it is not there or tells nothing (hung, another user's, another state folder). */
  readonly control: string | null;
  readonly holder: Holder | null;
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

/** The supervisors of this user on this machine; all are asked at once. Of one bot the polling one comes first. */
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

/** Finds the bot that `--bot` names. Throws 64 where the text is no name of a bot, or no such bot is known. */
export async function findNamed(name: string): Promise<{ readonly bot: KnownBot; readonly run: Run | null }> {
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
  if (named) return { bot: named, run: runs.find(({ botId }) => botId === named.id) ?? null };
  const known = bots.filter(({ id }) => id !== 0).map((it) => `\n  ${label(it.id, usernameOf(it, runs))}`);
  throw new SinglepollError(
    EXIT.usage,
    `no bot ${name} has been run by this user on this machine${known.length > 0 ? `; these have:${known.join('')}` : ''}`,
    'singlepoll status --all',
  );
}

/** The username of the supervisor that runs, else that of the last start. */
export function usernameOf(bot: KnownBot, runs: readonly Run[]): string | null {
  const running = runs.find(({ botId }) => botId === bot.id)?.doc?.bot?.username;
  return running ?? recallStart(bot.folder)?.username ?? null;
}

function label(id: number, username: string | null | undefined): string {
  return `${id}${username ? ` @${plain(username, 64)}` : ''}`;
}

/** The folder of the only bot that runs, or else that was ever run. Throws 64 where several could be meant; null: none. */
export async function onlyFolder(): Promise<string | null> {
  const runs = await livingRuns();
  const ids = [...new Set(runs.map(({ botId }) => botId))];
  if (ids.length > 1) throw severalRun(runs);
  const bots = knownBots();
  if (ids.length === 0 && bots.length > 1)
    throw new SinglepollError(
      EXIT.usage,
      `several bots have been run on this machine, none runs, and none is named here: ${bots.map(({ id }) => id).join(', ')}`,
      HOW_TO_NAME,
    );
  const only = ids.length === 1 ? bots.find(({ id }) => id === ids[0]) : bots[0];
  return only?.folder ?? null;
}

function severalRun(runs: readonly Run[]): SinglepollError {
  const rows = runs.map(({ botId, doc }) => {
    const who = botId === 0 ? 'deploy mode' : label(botId, doc?.bot?.username);
    return `\n  ${who}${doc ? `, from ${plain(doc.supervisor?.cwd ?? 'an unknown folder')}` : ', which does not answer'}`;
  });
  return new SinglepollError(
    EXIT.usage,
    `several bots run on this machine, and none is named here (no token in the environment or .env):${rows.join('')}`,
    HOW_TO_NAME,
  );
}

/** `bot`: as it was given by --bot. Null: none runs. Throws 64 where several could be meant. */
export async function findSupervisor(config: Config, bot: string | null = null): Promise<Located | null> {
  if (bot !== null) {
    const { run } = await findNamed(bot);
    return run && { control: run.control, holder: null };
  }
  const control = controlPath(config.botId);
  const here = control && (await supervisorAt(control));
  if (here) return { control: here.answers ? control : null, holder: here };
  const holder = await holderOf(config);
  // A supervisor that has just begun will listen here in a moment.
  if (holder) return { control: isHere(holder, control) ? control : null, holder };
  const state = findStateDir(process.env);
  if (!state) return null;
  const deploy = await findDeploy(state.path, config);
  if (deploy || config.token) return deploy;
  const found = await livingRuns();
  if (found.length > 1) throw severalRun(found);
  return found[0] ? { control: found[0].control, holder: null } : null;
}

/** Finds the holder of the lock of the configured token. */
async function holderOf({ token, botId }: Config): Promise<Holder | null> {
  return token && botId !== null ? await lockHolder(lockKey(String(botId), token)) : null;
}

/** It says that it listens in our folder, or is of a release that does not say. */
function isHere(holder: Holder, control: string | null): boolean {
  return holder.answers && (holder.kind === 'old' || holder.control === control) && !holder.elsewhere;
}

async function findDeploy(statePath: string, { botId, cwd }: Config): Promise<Located | null> {
  const folder = join(statePath, String(botId ?? 0));
  for (const name of list(folder).filter(isDeploySocket)) {
    const control = join(folder, name);
    const doc = await statusOf(control);
    // Without a token only the folder tells whose it is.
    if (doc && (botId !== null || doc.supervisor?.cwd === cwd)) return { control, holder: null };
  }
  return null;
}

/**
 * Sends a request to the supervisor that was located. One that holds the lock but can't be reached at its socket has only
 * just begun, or serves too many others: it is asked again, for a while. Throws NoSupervisor when it has ended, else the
 * error to show.
 */
export async function askSupervisor(
  config: Config,
  { control, holder }: Located,
  request: Request,
  timeoutMs: number,
): Promise<Answer> {
  const giveUpAtMs = performance.now() + NO_CONTROL_MS;
  const own = controlPath(config.botId);
  if (!control) throw unreachable(holder, own);
  const sockets = controlSockets(control);
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  for (;;) {
    try {
      return await askControl(control, request, { timeoutMs, say });
    } catch (error) {
      if (error instanceof NoAnswer || isDenied(error)) throw unreachable(holder, own);
      if (!(error instanceof NoSupervisor || error instanceof WentAway)) throw error;
      const ended = new NoSupervisor(error instanceof WentAway ? 'it has ended meanwhile' : error.message);
      if (!(await isStillThere(config, control, sockets, holder))) throw ended;
      if (performance.now() > giveUpAtMs) throw unreachable(holder, own);
      await pause(50);
    }
  }
}

/** The same supervisor, not the next one that has taken its place. */
async function isStillThere(
  config: Config,
  control: string,
  sockets: readonly number[],
  holder: Holder | null,
): Promise<boolean> {
  // It has ended our connection only to serve others.
  if (controlSockets(control).some((inode) => sockets.includes(inode))) return true;
  const now = holder && (await holderOf(config));
  return now !== null && now.pid !== null && now.pid === holder?.pid;
}

/** The control socket is in the folder of another user. */
export function isDenied(error: unknown): boolean {
  return ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
