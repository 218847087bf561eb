/**
 * Finds the supervisor that a command means: by the control socket in the folder of the configured bot, whatever token it was
 * started with; else by the lock of the token that is known here, to say who it is and how to reach it; else a deploy-mode one of
 * this bot or folder; else, where no token is known here, the only one that runs. Orders go to sockets of the own state folder.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { findStateDir } from '../config/state-dir.ts';
import { type Holder, lockHolder, lockKey } from '../lock/lock.ts';
import {
  type Answer,
  askControl,
  controlSockets,
  NoAnswer,
  NoSupervisor,
  type Request,
  WentAway,
} from '../machine/control.ts';
import { unreachable } from '../supervise/holder-words.ts';
import { controlPath, supervisorAt } from '../supervise/present.ts';
import { isDeploySocket } from '../supervise/socket-names.ts';
import { findNamed, livingRuns, severalBots } from './runs.ts';
import { statusOf } from './status-of.ts';

/** How long a supervisor is waited for that holds the lock and has no socket: it looks every 5 s whether it is still there. */
const NO_CONTROL_MS = 8_000;

export interface Located {
  /** In the own state folder. Null where it is not there or tells nothing (hung, another user's, another state folder). */
  readonly control: string | null;
  readonly holder: Holder | null;
}

/** `bot`: as it was given by --bot. Null: none runs. Throws 64 where several could be meant. */
export async function locate(config: Config, bot: string | null = null): Promise<Located | null> {
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
  return await findOnly();
}

/** Finds the holder of the lock of the configured token. */
async function holderOf(config: Config): Promise<Holder | null> {
  if (!config.token || config.botId === null) return null;
  return await lockHolder(lockKey(String(config.botId), config.token));
}

/** It says that it listens in our folder, or is of a release that does not say. */
function isHere(holder: Holder, control: string | null): boolean {
  return holder.answers && (holder.kind === 'old' || holder.control === control) && !holder.elsewhere;
}

async function findDeploy(statePath: string, config: Config): Promise<Located | null> {
  const folder = join(statePath, String(config.botId ?? 0));
  for (const name of list(folder)) {
    if (!isDeploySocket(name)) continue;
    const control = join(folder, name);
    const doc = await statusOf(control);
    // Without a token only the folder tells whose it is.
    if (doc && (config.botId !== null || doc.supervisor?.cwd === config.cwd))
      return { control, holder: null };
  }
  return null;
}

/** Where no token is known here. */
async function findOnly(): Promise<Located | null> {
  const found = await livingRuns();
  if (found.length > 1) throw severalBots(found);
  return found[0] ? { control: found[0].control, holder: null } : null;
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
  for (;;) {
    try {
      return await askControl(control, request, {
        timeoutMs,
        say: (line) => process.stderr.write(`${line}\n`),
      });
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
