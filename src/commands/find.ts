/**
 * Finds the supervisor that a command means. By --bot; else by the control socket in the folder of the configured bot, whatever
 * token it was started with; else by the lock of the token that is known here, to say who it is and how to reach it; else a
 * deploy-mode one of this bot or folder; else, where no token is known here, the only one that runs. Root sees those of other
 * users, too. Orders go to sockets of the own state folder only.
 */
import { basename, join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Config, type LoadRequest, loadConfig } from '../config/load.ts';
import { NEEDS } from '../config/options.ts';
import { absoluteFlags } from '../config/sources.ts';
import { findStateDir } from '../config/state-dir.ts';
import { TOKEN_VARIABLES } from '../config/token.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { namesIn } from '../files.ts';
import type { Holder } from '../lock/lock.ts';
import { plain } from '../output/plain.ts';
import { shellQuote } from '../shell.ts';
import {
  type Answer,
  askControl,
  CONTROL_SOCKET,
  isDeploySocket,
  NoAnswer,
  NoSupervisor,
  type Request,
  statusAt,
  WentAway,
} from '../supervisor/control.ts';
import {
  cannotAsk,
  controlPath,
  isListenedTo,
  presentSupervisor,
  supervisorAt,
  supervisorsOfOthers,
  userOf,
} from '../supervisor/holder.ts';
import { recallStart } from '../supervisor/memory.ts';
import type { StatusDocument } from '../supervisor/status.ts';

/** A supervisor that does not answer within this time is hung or stopped. */
const ANSWER_MS = 2_000;
/** How long a supervisor is waited for that holds the lock and has no socket: it looks every 5 s whether it is still there. */
const NO_CONTROL_MS = 8_000;
const HOW_TO_NAME =
  'cd to the folder of the bot, or name it with --bot: by its id, @username or the name of its folder';

/** A supervisor as it can be reached from here. */
export interface Supervisor {
  /** In the own state folder. Null where it is not there or tells nothing (hung, another user's, another state folder). */
  readonly control: string | null;
  /** Null: it has not answered. */
  readonly doc: StatusDocument | null;
  /** The holder of the lock, as the kernel and the lock's proof name it; null: not asked. */
  readonly holder: Holder | null;
}

/** A bot that this user has run; one of deploy mode without a token has the id 0. */
export type Bot = Awaited<ReturnType<typeof findBots>>[number];

/** Lists the bots that have a folder in the state folder, in the order of their ids. An empty folder is skipped: it tells nothing of its bot. */
export function knownBots() {
  const state = findStateDir(process.env) ?? '';
  return namesIn(state)
    .filter((name) => /^\d{1,16}$/.test(name))
    .map((name) => ({ id: Number(name), folder: join(state, name) }))
    .filter(({ folder }) => namesIn(folder).length > 0)
    .sort((a, b) => a.id - b.id);
}

/** Asks the supervisors of all known bots at once, and gives each bot with what they say. `only`: the id of the one that is wanted; null: all. */
export async function findBots(only: number | null = null) {
  const wanted = knownBots().filter(({ id }) => only === null || id === only);
  return await Promise.all(
    wanted.map(async ({ id, folder }) => {
      const sockets = namesIn(folder).filter((name) => name === CONTROL_SOCKET || isDeploySocket(name));
      const found = await Promise.all(sockets.sort().map((name) => ask(join(folder, name))));
      const runs = found.filter((it) => it !== null);
      const [doc, last] = [runs[0]?.doc, recallStart(folder)];
      const username = doc?.bot?.username ?? last?.username ?? null;
      return { id, folder, username, cwd: doc?.supervisor?.cwd ?? last?.cwd ?? null, runs };
    }),
  );
}

/** Null: nobody listens there. */
async function ask(control: string) {
  try {
    const doc = await statusAt(control, ANSWER_MS);
    return doc && { control, doc, holder: null };
  } catch {
    return { control, doc: null, holder: null };
  }
}

/** Root's view of the runs of other users: what they tell, with whose they are. Nothing can be ordered there. */
export async function runsOfOthers(): Promise<(Supervisor & { readonly pid: number })[]> {
  const found = await Promise.all(
    (await supervisorsOfOthers()).map(async ({ control, pid, uid }) => {
      const doc = (await ask(control))?.doc ?? null;
      const supervisor = doc?.supervisor && { ...doc.supervisor, ...userOf(uid) };
      // Another process answers: the path means another place for its owner (another mount namespace).
      if (!supervisor || supervisor.pid !== pid) return null;
      return { pid, control: null, doc: { ...doc, supervisor }, holder: null };
    }),
  );
  return found.filter((it) => it !== null);
}

/** The bot of this id, @username, or folder, by name or path. Throws 64 where no such bot is known, or several are. */
export async function botNamed(name: string): Promise<Bot> {
  const wanted = name.replace(/^@/, '').toLowerCase();
  // In deploy mode without a token each run is known by its folder alone.
  const bots = (await findBots()).flatMap((bot) =>
    bot.id === 0
      ? bot.runs.map((run) => ({ ...bot, cwd: run.doc?.supervisor?.cwd ?? null, runs: [run] }))
      : [bot],
  );
  const isPath = /\/|^\.{1,2}$/.test(name);
  const isIn = (cwd: string | null) =>
    cwd !== null && (isPath ? cwd === resolve(name) : basename(cwd) === name);
  const byName = bots.filter(
    ({ id, username }) => String(id || '') === wanted || username?.toLowerCase() === wanted,
  );
  // An empty one, such as "$BOT" where that is not set, means none: not the bot that has no name.
  const meant = wanted === '' ? [] : byName.length > 0 ? byName : bots.filter(({ cwd }) => isIn(cwd));
  // A bot that once ran in the folder is not asked for while another runs there.
  const running = meant.filter(({ runs }) => runs.length > 0);
  const [named, ...others] = running.length === 1 ? running : meant;
  if (named && others.length === 0) return named;
  const shown = named ? [named, ...others] : bots;
  const problem = named
    ? `${plain(name, 64)} may mean any of:`
    : `no bot ${plain(name, 64) || "''"} has been run by this user on this machine${shown.length > 0 ? '; these have:' : ''}`;
  throw new SinglepollError(EXIT.usage, problem + rows(shown), 'singlepoll status --all');
}

/** Nothing is found there. */
const NOWHERE = '/nonexistent';

/**
 * The settings of a bot that is named rather than configured here: those of its last start, as far as they can still be read. Throws
 * 64 where no such bot is known, 78 where the command needs its token and that is not found.
 */
export async function configureNamed(name: string, { command, flags, cwd: here }: LoadRequest) {
  const { id, cwd, folder, runs } = await botNamed(name);
  const [last, typed] = [recallStart(folder), absoluteFlags(flags, here)];
  const request = {
    ...{ command, argvCommand: [], cwd: cwd ?? NOWHERE },
    flags: { ...last?.flags, ...typed },
  };
  const others = Object.entries(process.env).filter(
    ([key]) => !/^SINGLEPOLL_(?!DIR$)/.test(key) && !(TOKEN_VARIABLES as readonly string[]).includes(key),
  );
  // A token that is exported here most likely belongs to another bot, so it is tried last: the folder may hold none.
  for (const env of [Object.fromEntries(others), process.env]) {
    const loaded = await loadConfig({ ...request, env });
    if (loaded.ok && loaded.config.botId === id) return loaded;
  }
  if (NEEDS[command].token)
    throw new SinglepollError(
      EXIT.config,
      `the token of bot ${id} is neither in ${plain(cwd ?? 'its folder')} nor in the environment`,
      // A run of the sandbox keeps its token to itself, so no folder would help; it is known by a start that was not remembered.
      last === null && runs.length > 0
        ? `singlepoll status ${id}    # its supervisor alone has a token of singlepoll start --sandbox`
        : `cd ${shellQuote(cwd ?? '.')} && singlepoll ${command}    # with --env-file, --token-file or --token-env`,
    );
  // Without settings its supervisor can still be asked: it is found by the id.
  const bare = await loadConfig({ ...request, flags: {}, env: {}, cwd: NOWHERE });
  if (!bare.ok) throw new Error(bare.errors.join());
  return { config: { ...bare.config, botId: id || null, cwd: request.cwd }, warnings: [] };
}

/** The only one of them; null where there is none. Throws 64 where several could be meant. */
export function theOnly(bots: readonly Bot[]): Bot | null {
  if (bots.length < 2) return bots[0] ?? null;
  const verb = bots.some(({ runs }) => runs.length > 0) ? 'run' : 'have been run';
  throw new SinglepollError(
    EXIT.usage,
    `several bots ${verb} on this machine, and none is named here (no token in the environment or .env):${rows(bots)}`,
    HOW_TO_NAME,
  );
}

/** The only bot that runs, where its token tells which it is. Throws 64 where several do. */
export async function theOnlyRun(): Promise<Bot | null> {
  return theOnly((await findBots()).filter(({ id, runs }) => id !== 0 && runs.length > 0));
}

function rows(bots: readonly Bot[]): string {
  return bots
    .map(({ id, username, cwd, runs }) => {
      const name = id === 0 ? 'deploy mode' : `${id}${username ? ` @${plain(username, 64)}` : ''}`;
      const isHung = runs.length > 0 && runs.every(({ doc }) => doc === null);
      const parts = [name, cwd && `from ${plain(cwd)}`, isHung && 'not answering'];
      return `\n  ${parts.filter(Boolean).join(', ')}`;
    })
    .join('');
}

/** Finds it also where it hangs or belongs to another user; null: none runs. Throws 64 where several could be meant. */
export async function findSupervisor(config: Config): Promise<Supervisor | null> {
  const { botId, cwd } = config;
  const control = controlPath(botId);
  const holder = await presentSupervisor(config).catch((error) => {
    // The kernel shows no listener there: our own folder can't be read, and no supervisor of another user is in the way.
    if (!isDenied(error) || control === null || !isListenedTo(control)) throw error;
    return 'denied' as const;
  });
  if (holder === 'denied') return { control: null, doc: null, holder: null };
  if (holder) {
    // It says that it listens in our folder. One that has just begun will listen in a moment.
    const here = holder.answers && holder.control === control && !holder.elsewhere ? control : null;
    if (here !== null) return { control: here, doc: holder.doc ?? (await ask(here))?.doc ?? null, holder };
    const other = (await runsOfOthers()).find(({ pid }) => pid === holder.pid);
    return { control: null, doc: other?.doc ?? null, holder };
  }
  const bots = await findBots(botId);
  const deploy = bots
    .find(({ id }) => id === (botId ?? 0))
    ?.runs.find(
      // Without a token only the folder tells whose it is.
      (run) => isDeploySocket(basename(run.control)) && (botId !== null || run.doc?.supervisor?.cwd === cwd),
    );
  if (deploy || botId !== null) return deploy ?? null;
  const running = bots.flatMap((bot) => bot.runs.map((run) => ({ ...bot, runs: [run] })));
  if (running.length > 0) return theOnly(running)?.runs[0] ?? null;
  const others = await runsOfOthers();
  return others.length === 1 ? others[0]! : null;
}

/**
 * Sends a request to a supervisor. One that holds the lock but can't be reached at its socket has only just begun, or serves too many
 * others: it is asked again, for a while. Throws NoSupervisor when it has ended, else the error to show.
 */
export async function askSupervisor(
  config: Config,
  { control, doc, holder }: Supervisor,
  request: Request,
  timeoutMs: number,
): Promise<Answer> {
  if (!control) throw cannotAsk(holder, controlPath(config.botId));
  const giveUpAtMs = performance.now() + NO_CONTROL_MS;
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const pid = doc?.supervisor?.pid ?? holder?.pid ?? null;
  for (;;) {
    try {
      return await askControl(control, request, { timeoutMs, say });
    } catch (error) {
      if (error instanceof NoAnswer || isDenied(error)) throw cannotAsk(holder, control);
      if (!(error instanceof NoSupervisor || error instanceof WentAway)) throw error;
      const now = (await presentSupervisor(config)) ?? (await supervisorAt(control));
      // The next one, which has taken its place, was not meant.
      if (pid === null || now?.pid !== pid)
        throw new NoSupervisor(`the supervisor (pid ${pid ?? 'unknown'}) has ended meanwhile`);
      if (performance.now() > giveUpAtMs) throw cannotAsk(holder, control);
      await pause(50);
    }
  }
}

/** The control socket is in the folder of another user. */
function isDenied(error: unknown): boolean {
  return ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
}
