/**
 * Finds the supervisor that a command means: by the lock of the configured bot, whatever folder or state folder it was
 * started with; else a deploy-mode one of this bot or folder; else, where no token is known here, the only one that runs.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/config.ts';
import { findStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import {
  type Answer,
  askControl,
  NoAnswer,
  NoSupervisor,
  type Request,
  WentAway,
} from '../machine/control.ts';
import { type Holder, lockHolder, lockKey } from '../machine/lock.ts';
import { plain } from '../output/plain.ts';
import { isDeploySocket } from '../supervise/socket-names.ts';
import { findNamed, livingRuns, severalBots } from './runs.ts';
import { statusOf } from './status-of.ts';

/** How long the socket of a supervisor that holds the lock is waited for: it looks every 5 s whether it is still there. */
const NO_CONTROL_MS = 8_000;

export interface Located {
  /** Null where it holds the lock but tells nothing (hung, or another user's). */
  readonly control: string | null;
  readonly holder: Holder | null;
}

/** `bot`: as it was given by --bot. Null: none runs. Throws 64 where several could be meant. */
export async function locate(config: Config, bot: string | null = null): Promise<Located | null> {
  if (bot !== null) {
    const { run } = await findNamed(bot);
    return run && { control: run.control, holder: null };
  }
  const holder = await pollingSupervisor(config);
  if (holder) return { control: holder.answers ? holder.control : null, holder };
  const state = findStateDir(process.env);
  if (!state) return null;
  const deploy = await findDeploy(state.path, config);
  if (deploy || config.token) return deploy;
  return await findOnly();
}

/** Who holds this bot's lock: a supervisor in polling mode, since deploy mode takes none. */
export async function pollingSupervisor(config: Config): Promise<Holder | null> {
  if (!config.token || config.botId === null) return null;
  return await lockHolder(lockKey(String(config.botId), config.token));
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
  let current = holder;
  let socket = control;
  for (;;) {
    if (!socket) throw unreachable(current);
    try {
      return await askControl(socket, request, {
        timeoutMs,
        say: (line) => process.stderr.write(`${line}\n`),
      });
    } catch (error) {
      if (error instanceof NoAnswer || isDenied(error)) throw unreachable(current);
      if (!(error instanceof NoSupervisor || error instanceof WentAway)) throw error;
      const ended = new NoSupervisor(error instanceof WentAway ? 'it has ended meanwhile' : error.message);
      if (!current || !config.token || config.botId === null) throw ended;
      current = await lockHolder(lockKey(String(config.botId), config.token));
      // Another one has taken its place: not the one that was meant.
      if (!current || current.pid !== holder?.pid) throw ended;
      if (performance.now() > giveUpAtMs) throw unreachable(current);
      socket = current.answers ? current.control : null;
      await pause(50);
    }
  }
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

/** The error of a supervisor that holds the lock and does not answer, or may not be asked. */
export function unreachable(holder: Holder | null): SinglepollError {
  const who = holder ? `the supervisor (pid ${holder.pid})` : 'the supervisor';
  if (holder && holder.uid !== null && holder.uid !== process.getuid?.()) {
    return new SinglepollError(
      EXIT.refused,
      `${who} belongs to another user (uid ${holder.uid})`,
      `sudo -u '#${holder.uid}' singlepoll stop`,
    );
  }
  return new SinglepollError(
    EXIT.otherPoller,
    holder?.answers
      ? `${who} runs, but can't be reached at its control socket ${plain(holder.control ?? '')}`
      : `${who} does not answer: hung or stopped`,
    'singlepoll reset    # ends it, if need be with SIGKILL, and starts again',
  );
}
