/**
 * The state folder: SINGLEPOLL_DIR, otherwise one that depends only on the user, so that all supervisors and commands of this
 * user find each other, whatever HOME, XDG_*, TMPDIR and the working folder are.
 *
 * Its contents are trusted (control sockets, commands to run again), so a folder that another user could have written is
 * refused, not repaired.
 */
import { accessSync, chmodSync, constants, lstatSync, readdirSync, type Stats } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { EXIT, SinglepollError } from '../errors.ts';
import { isUsableFolder, makeFolder, modeText } from '../files.ts';
import { shellQuote } from '../shell.ts';
import { showValue } from './messages.ts';

/** The state folder where no folder can be made: nothing can be written or found in it. */
const NOWHERE = '/proc/no-state-folder';

/** The path is, or would be, in a state folder that can't be made. */
export function isNowhere(path: string): boolean {
  return path.startsWith(NOWHERE);
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The effective user, on whom the default depends; tests pass their own. The home is that of the passwd entry, never HOME. */
export function currentUser(): { readonly uid: number; readonly home: string | null } {
  const uid = process.geteuid?.() ?? -1;
  try {
    return { uid, home: userInfo().homedir };
  } catch {
    // No passwd entry, as with `docker run --user 12345`.
    return { uid, home: null };
  }
}

export type User = ReturnType<typeof currentUser>;

/** Where the state folder is or would be; creates nothing. Throws 78 if SINGLEPOLL_DIR is a relative path. */
export function stateDirPath(env: Environment, user: User = currentUser()): string {
  const { SINGLEPOLL_DIR: named } = env;
  if (named && !isAbsolute(named))
    throw new SinglepollError(
      EXIT.config,
      `SINGLEPOLL_DIR is ${showValue(named)}: a relative path is another folder for each working folder${named.startsWith('~') ? ' (~ is not expanded here)' : ''}`,
      `export SINGLEPOLL_DIR=${shellQuote(resolve(named.replace(/^~(?=\/|$)/, user.home ?? '~')))}`,
    );
  if (named) return resolve(named);
  if (user.home !== null && isUsable(user.home)) return join(user.home, '.local/state/singlepoll');
  const name = `singlepoll-${user.uid}`;
  if (exists(`/tmp/${name}`) || isWritable('/tmp')) return `/tmp/${name}`;
  // A container with a read-only root usually has /dev/shm.
  if (isWritable('/dev/shm')) return `/dev/shm/${name}`;
  return canHold(`/tmp/${name}`) ? `/tmp/${name}` : NOWHERE;
}

const isWritable = (folder: string): boolean => isUsableFolder(folder, constants.W_OK);

/** A home is usable if it exists and the state folder exists or can be created in it. */
function isUsable(passwdHome: string): boolean {
  const home = resolve(passwdHome);
  if (!passwdHome.startsWith('/') || home === '/') return false;
  const path = join(home, '.local/state/singlepoll');
  // An existing folder stays the place even if it can't be used: otherwise two starts could miss each other.
  return exists(path) || (exists(home) && canHold(path));
}

/** The nearest folder that exists at a path or above it may be written. */
function canHold(path: string): boolean {
  const above = dirname(path);
  if (!exists(path) && above !== path) return canHold(above);
  return isWritable(path);
}

/** True for a dangling symlink, too. */
export function exists(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

/** Creates (0700) or checks the state folder. Throws SinglepollError 78 if it can't be trusted or written. */
export function openStateDir(env: Environment, user: User = currentUser()): string {
  return openPrivate(stateDirPath(env, user), user);
}

/** Creates or checks the folder of one bot in it, where one can be made; null: deploy mode without a bot. Throws like openStateDir. */
export function openBotDir(
  botId: number | null,
  env: Environment = process.env,
  user = currentUser(),
): string {
  const name = String(botId ?? 0);
  if (stateDirPath(env, user) === NOWHERE) return join(NOWHERE, name);
  return openPrivate(join(openStateDir(env, user), name), user);
}

/** The state folder if there is one; needs no write access. Throws 78 if it can't be trusted. */
export function findStateDir(env: Environment, user: User = currentUser()): string | null {
  const path = stateDirPath(env, user);
  return check(path, user) && path;
}

/** Says where the state folder is or would be, and creates nothing. Throws 78 if it can't be trusted, written or created. */
export function tryStateDir() {
  const user = currentUser();
  const path = stateDirPath(process.env, user);
  const isThere = check(path, user) !== null;
  if (path === NOWHERE || !canHold(path)) throw refusal(path, isThere ? 'is not writable' : 'cannot be made');
  return { path, isThere };
}

/** Where the folder of a bot is or would be; null without a bot or a state folder. */
export function findBotDir(botId: number | null): string | null {
  const state = botId === null ? null : findStateDir(process.env);
  return state && join(state, String(botId));
}

function openPrivate(path: string, user: User): string {
  try {
    if (!exists(path)) {
      makeFolder(path);
      // The umask may have removed needed rights. This is done only for a folder that we made: in /tmp another user may own it.
      chmodSync(path, 0o700);
    }
  } catch (error) {
    // Another start has just created it, or a folder above it; it is checked like any other.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return openPrivate(path, user);
    throw refusal(path, `cannot be made: ${reason(error)}`);
  }
  const stat = check(path, user);
  try {
    // An empty folder that was made by hand, into which no other user could have written, is closed.
    if (stat && (stat.mode & 0o077) !== 0) chmodSync(path, 0o700);
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return path;
  } catch (error) {
    const isReadOnly = (error as NodeJS.ErrnoException).code === 'EROFS';
    throw refusal(path, `is not writable: ${reason(error)}`, isReadOnly ? ELSEWHERE : `chmod 700 ${path}`);
  }
}

/** Null: there is none. Throws if it can't be trusted. */
function check(path: string, user: User): Stats | null {
  let stat: Stats | undefined;
  try {
    stat = lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw refusal(path, `cannot be looked at: ${reason(error)}`);
  }
  if (!stat) return null;
  if (stat.isSymbolicLink())
    throw refusal(path, 'is a symlink', `rm ${path}   (or SINGLEPOLL_DIR with its target)`);
  if (!stat.isDirectory()) throw refusal(path, 'is not a folder');
  if (stat.uid !== user.uid)
    throw refusal(path, `belongs to another user (uid ${stat.uid}, this is ${user.uid})`);
  if ((stat.mode & 0o077) === 0) return stat;
  // The rights of a shared folder, such as /tmp, /var or one with a sticky bit, must not be changed.
  const isShared = (stat.mode & 0o1000) !== 0 || path === '/' || dirname(path) === '/';
  if (!isShared && (stat.mode & 0o022) === 0 && readdirSync(path).length === 0) return stat;
  const cure = isShared
    ? `SINGLEPOLL_DIR=${join(path, 'singlepoll')}, a folder of its own`
    : `chmod 700 ${path}`;
  throw refusal(path, `is open to other users (mode ${modeText(stat.mode)})`, cure);
}

export const UNWRITABLE = 'neither the home folder nor /tmp nor /dev/shm can be written';
const ELSEWHERE = 'name a folder of your own: SINGLEPOLL_DIR=/path/to/folder';

/** `ENOSPC: no space left on device, mkdir '/x'` without the system call. */
function reason(error: unknown): string {
  return (error as Error).message.replace(/, \w+ '.*$/s, '');
}

function refusal(path: string, problem: string, hint = ELSEWHERE): SinglepollError {
  if (path === NOWHERE)
    return new SinglepollError(EXIT.config, `no state folder can be made: ${UNWRITABLE}`, hint);
  return new SinglepollError(EXIT.config, `the state folder ${showValue(path)} ${problem}`, hint);
}
