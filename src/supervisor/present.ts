/**
 * Who supervises a bot now. Found by the control socket of its folder, whatever token it was started with, and by the lock of the
 * token that is known here, wherever its state folder is.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { findStateDir, stateDirPath } from '../config/state-dir.ts';
import { type Holder, lockHolder, lockKey } from '../lock/lock.ts';
import { boundSockets, pidNamespace, processesOf, runsSinglepoll } from '../lock/process.ts';
import { readLink } from '../machine/procfs.ts';
import { type Answer, askControl, CONTROL_SOCKET, NoAnswer, NoSupervisor, WentAway } from './control.ts';
import type { StatusDocument } from './status.ts';

const ANSWER_MS = 2_000;
const WENT_AWAY_TRIES = 20;

/** Where the polling supervisor of a bot listens or would. Throws 78 where the state folder can't be trusted. */
export function controlPath(botId: number | null): string | null {
  if (botId === null) return null;
  // A supervisor makes a folder anew that somebody has cleaned away.
  const folder = findStateDir(process.env)?.path ?? stateDirPath(process.env);
  return join(folder, String(botId), CONTROL_SOCKET);
}

/** Null: nobody supervises it in polling mode. */
export async function presentSupervisor({
  botId,
  token,
}: {
  readonly botId: number | null;
  readonly token: string | null;
}): Promise<Holder | null> {
  const control = controlPath(botId);
  const here = control ? await supervisorAt(control) : null;
  if (here || botId === null || token === null) return here;
  return await lockHolder(lockKey(String(botId), token));
}

/** Null: nobody listens there. Throws the system's error where the socket may not be used. */
export async function supervisorAt(socketPath: string): Promise<Holder | null> {
  let answer: Answer | null = null;
  for (let tries = 1; !answer && tries <= WENT_AWAY_TRIES; tries++) {
    try {
      answer = await askControl(socketPath, { cmd: 'status' }, { timeoutMs: ANSWER_MS });
    } catch (error) {
      if (error instanceof NoSupervisor) return null;
      if (error instanceof NoAnswer) break;
      if (!(error instanceof WentAway)) throw error;
      // It is ending, or has too many connections.
      await pause(5 * tries);
    }
  }
  const said = (answer?.status as StatusDocument | undefined)?.supervisor ?? null;
  const it = await listenerAt(socketPath, said?.pid);
  return {
    kind: answer ? 'supervisor' : 'silent',
    pid: it?.pid ?? said?.pid ?? null,
    startId: it?.startId ?? null,
    uid: process.geteuid?.() ?? null,
    elsewhere: it !== null && it.pidNamespace !== null && it.pidNamespace !== pidNamespace(),
    runsSinglepoll: it && !answer ? await runsSinglepoll(it.pid) : null,
    comm: it?.comm ?? null,
    startedAt: said?.startedAt ?? null,
    cwd: said?.cwd ?? null,
    version: said?.version ?? null,
    control: socketPath,
    answers: answer !== null,
  };
}

/** Only a process of this user can listen in its folder: others that look like it listen elsewhere. */
async function listenerAt(socketPath: string, hint: number | undefined) {
  const found = await processesOf(controlSockets(socketPath), hint === undefined ? [] : [hint]);
  return [...found.values()].flat().find(({ uid }) => uid === process.geteuid?.()) ?? null;
}

/**
 * Inodes of the sockets that listen at this path, by the kernel's word. A stranger can make a row that looks the same, in a root
 * folder of his own: whoever acts on this asks whose the process is. Empty where it listens in another network namespace.
 */
function controlSockets(socketPath: string): number[] {
  if (process.platform !== 'linux') return [];
  const folder = dirname(socketPath);
  const name = basename(socketPath);
  const paths = new Set([socketPath, join(realPath(folder), name)]);
  const isOurs = (shown: string) => {
    if (paths.has(Buffer.from(shown, 'latin1').toString())) return true;
    const [, pid, fd] = /^\/proc\/(\d+)\/fd\/(\d+)\/[^/]+$/.exec(shown) ?? [];
    if (pid === undefined || basename(shown) !== name) return false;
    return readLink(`/proc/${pid}/fd/${fd}`) === realPath(folder);
  };
  return boundSockets(isOurs)
    .filter(({ listening }) => listening)
    .map(({ inode }) => inode);
}

function realPath(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}
