/**
 * Who supervises a bot now: found by the control socket of its folder, whatever token it was started with, and by the lock of the
 * token that is known here, wherever its state folder is. And the words about it, with the command that ends it.
 */
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { findStateDir, isNowhere, stateDirPath } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { realPath } from '../files.ts';
import { type Holder, lockHolder, lockKey, type Squatter } from '../lock/lock.ts';
import { boundSockets, processesOf, runsSinglepoll } from '../lock/look.ts';
import { userName as nameOfUser, readLink, readText } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import { duration } from '../output/words.ts';
import { asRoot, isRoot, sudo } from '../shell.ts';
import { containerIn, layersOf, unitIn } from '../strays/cgroup.ts';
import { type Answer, askControl, CONTROL_SOCKET, NoAnswer, NoSupervisor, WentAway } from './control.ts';
import { completeStatus, type StatusDocument } from './status.ts';

const ANSWER_MS = 2_000;
const WENT_AWAY_TRIES = 20;

/** Where the polling supervisor of a bot listens or would. Throws 78 where the state folder can't be trusted. */
export function controlPath(botId: number | null): string | null {
  if (botId === null) return null;
  // A supervisor makes a folder anew that somebody has cleaned away.
  const folder = findStateDir(process.env) ?? stateDirPath(process.env);
  return join(folder, String(botId), CONTROL_SOCKET);
}

/** `doc`: what it tells of itself at the control socket of our folder. */
type Present = Holder & { readonly doc: StatusDocument | null };

export async function presentSupervisor({
  botId,
  token,
}: Pick<Config, 'botId' | 'token'>): Promise<Present | null> {
  const control = controlPath(botId);
  const here = control ? await supervisorAt(control) : null;
  if (here || botId === null || token === null) return here;
  const holder = await lockHolder(lockKey(token));
  return holder && { ...holder, doc: null };
}

/** Null: nobody listens there. Throws the system's error where the socket may not be used. */
export async function supervisorAt(socketPath: string): Promise<Present | null> {
  let answer: Answer | null = null;
  for (let tries = 1; !answer && tries <= WENT_AWAY_TRIES; tries++) {
    try {
      answer = await askControl(socketPath, { cmd: 'status' }, { timeoutMs: ANSWER_MS });
    } catch (error) {
      if (error instanceof NoSupervisor) return null;
      if (error instanceof NoAnswer) break;
      if (!(error instanceof WentAway)) throw error;
      // The supervisor is ending, or has too many connections.
      await pause(5 * tries);
    }
  }
  const doc = answer?.status === undefined ? null : completeStatus(answer.status);
  const said = doc?.supervisor ?? null;
  const it = await listenerAt(socketPath, said?.pid);
  return {
    pid: it?.pid ?? said?.pid ?? null,
    startId: it?.startId ?? null,
    uid: process.geteuid?.() ?? null,
    elsewhere: it?.elsewhere ?? false,
    runsSinglepoll: it && !answer ? await runsSinglepoll(it.pid) : null,
    comm: it?.comm ?? null,
    startedAt: said?.startedAt ?? null,
    cwd: said?.cwd ?? null,
    version: said?.version ?? null,
    control: socketPath,
    answers: answer !== null,
    doc,
  };
}

const CONTROL_PATH = /^\/.*\/\d{1,16}\/(?:control|deploy-\d+)\.sock$/;

/** For root alone: the supervisors of other users on this machine, by the sockets that they listen at, as the kernel names their owners. */
export async function supervisorsOfOthers(): Promise<{ control: string; pid: number; uid: number }[]> {
  if (process.platform !== 'linux' || !isRoot()) return [];
  const sockets = boundSockets((path) => CONTROL_PATH.test(path)).filter(({ listening }) => listening);
  const owners = await processesOf(sockets.map(({ inode }) => inode));
  return sockets.flatMap(({ inode, path }) => {
    const it = owners.get(inode)?.find(({ uid, elsewhere }) => uid !== 0 && !elsewhere);
    return it ? [{ control: Buffer.from(path, 'latin1').toString(), pid: it.pid, uid: it.uid }] : [];
  });
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

/** Somebody listens at this control socket, though perhaps not for us. */
export const isListenedTo = (socketPath: string): boolean => controlSockets(socketPath).length > 0;

/** Not "container" alone, since `unshare` and sandboxes make such namespaces, too. */
const ELSEWHERE = 'another pid namespace (a container?)';
const UNSEEN = 'a process that can’t be seen from here';
const RESET = 'singlepoll reset    # ends it, if need be with SIGKILL, and starts again';

/** `pid 4711 (alice) since 2026-11-21 09:12:31 (2 h), from /srv/bot`. */
export function describe(holder: Holder | null): string {
  if (!holder) return 'a process that the kernel does not show (another user or container)';
  const { pid, uid, startedAt, cwd, elsewhere, comm, answers } = holder;
  const host = hostOfHolder(holder);
  const since = startedAt && `${startedAt.slice(0, 19).replace('T', ' ')} UTC`;
  const age = startedAt && duration(Math.max(0, Date.now() - Date.parse(startedAt)));
  const silent = isNoSinglepoll(holder)
    ? `(${plain(comm ?? 'unknown')}, no singlepoll; it does not answer)`
    : '(does not answer: hung or stopped)';
  const parts = [
    pid === null ? UNSEEN : `pid ${pid}`,
    host && `(${host.name})`,
    isForeign(uid) && `(${userName(uid)})`,
    since && `since ${since} (${age}),`,
    cwd && `from ${plain(cwd)}`,
    elsewhere && !host && `in ${ELSEWHERE}`,
    !answers && silent,
  ];
  return parts.filter(Boolean).join(' ');
}

const layersOfProcess = (pid: number | 'self') => layersOf(readText(`/proc/${pid}/cgroup`));

/**
 * The unit or container that it runs in, for people, and the commands that stop and start it; null: it runs in none or in ours, or the
 * system does not tell. A container is started by its engine only, according to its policy.
 */
export function hostOfHolder(holder: Holder | null) {
  // Without a start id its pid may be one of another container's list.
  if (!holder?.startId || holder.pid === null) return null;
  const layers = layersOfProcess(holder.pid);
  if (JSON.stringify(layers) === JSON.stringify(layersOfProcess('self'))) return null;
  const unit = unitIn(layers);
  if (unit) {
    const user = unit.userUid === null ? '' : '--user ';
    const systemctl = `${user === '' ? sudo() : ''}systemctl ${user}`;
    const [stopCommand, startCommand] = ['stop', 'start'].map((verb) => `${systemctl}${verb} ${unit.name}`);
    return { name: `the unit ${unit.name}`, stopCommand: stopCommand!, startCommand: startCommand! };
  }
  const container = containerIn(layers);
  const id = container?.id.slice(0, 12);
  return (
    container && { name: `container ${id}`, stopCommand: `${container.tool} stop ${id}`, startCommand: null }
  );
}

export function inTheWay(
  what: string,
  holder: Holder | null,
  control: string | null,
  code: number = EXIT.otherPoller,
  hint = cure(holder, control),
): SinglepollError {
  return new SinglepollError(code, `${what}: ${describe(holder)}`, hint);
}

/** The error of a command that needs the lock which this one holds. */
export function held(holder: Holder | null, control: string | null): SinglepollError {
  if (holder && isNoSinglepoll(holder))
    return inTheWay('a name of this bot’s lock is held by a process that does not answer', holder, control);
  const stop = hostOfHolder(holder)?.stopCommand ?? 'singlepoll stop';
  const choice = [
    'singlepoll start --takeover …    # ask it to hand over, then take its place',
    `${stop.padEnd(32)} # or end it`,
    'singlepoll start --wait …        # or stand by until it leaves',
  ].join('\n');
  const hint = isReachable(holder, control) ? choice : undefined;
  return inTheWay('this bot has a supervisor already', holder, control, EXIT.otherPoller, hint);
}

/** The error of a command that wants to ask this supervisor something and can't, also where it is ours and its control socket has gone. */
export function cannotAsk(holder: Holder | null, control: string | null): SinglepollError {
  if (holder && isNoSinglepoll(holder)) return held(holder, control);
  const far = holder && outOfReach(holder);
  const hint = isReachable(holder, control) ? RESET : undefined;
  const why = far?.why ?? whyUnasked(holder, control);
  return inTheWay(`the supervisor ${why}`, holder, control, far?.code, hint);
}

function whyUnasked(holder: Holder | null, control: string | null): string {
  if (!holder?.answers) return "can't be asked";
  // It holds the lock so that nobody starts meanwhile.
  if (holder.control === null) return 'is a reset under way, which takes no orders';
  if (!takesOrders(holder)) return 'runs without a state folder, so it takes no orders';
  if (holder.control === control) return "can't be asked";
  return `has another state folder, with its control socket ${plain(holder.control ?? '')}`;
}

/** Why an ordinary user can neither ask nor signal it, with the exit code for that; null: nothing of the kind. */
export function outOfReach({ elsewhere, uid }: Pick<Holder, 'elsewhere' | 'uid'>) {
  if (elsewhere) return { why: `runs in ${ELSEWHERE}`, code: EXIT.otherPoller };
  return isForeign(uid) ? { why: 'belongs to another user', code: EXIT.refused } : null;
}

export function squatted(botId: string, squatters: readonly Squatter[]): SinglepollError {
  const rows = squatters.map(
    ({ pid, uid, comm }) =>
      `${pid === null ? UNSEEN : `pid ${pid} (${plain(comm ?? '')})`} of ${userName(uid)}`,
  );
  const pids = [...new Set(squatters.map(({ pid }) => pid))].filter((pid) => pid !== null);
  return new SinglepollError(
    EXIT.otherPoller,
    `all names of the lock of bot ${botId} are held by somebody who is no supervisor of it: ${[...new Set(rows)].join(', ')}`,
    pids.length === 0
      ? asRoot(`ss -xlpH | grep -a singlepoll/${botId}/    # shows the pids to kill`)
      : `${squatters.some(({ uid }) => isForeign(uid)) ? sudo() : ''}kill ${pids.join(' ')}`,
  );
}

function cure(holder: Holder | null, control: string | null): string {
  if (!holder) return asRoot('singlepoll reset    # as root more can be seen');
  const { pid, startId, uid, elsewhere, answers } = holder;
  const host = hostOfHolder(holder);
  if (host && !(host.startCommand?.includes('--user') && isForeign(uid))) return host.stopCommand;
  if (elsewhere) {
    const into = pid !== null && startId !== null ? `${sudo()}nsenter -t ${pid} -a ` : '';
    return `${into}singlepoll stop    # where it runs, or stop that container`;
  }
  if (pid === null && (isRoot() || !answers))
    return asRoot('singlepoll reset    # as root its process can be seen');
  if (isNoSinglepoll(holder)) return `${isForeign(uid) ? sudo() : ''}kill ${pid}`;
  const folder = takesOrders(holder) ? dirname(dirname(holder.control ?? '')) : '';
  const named = /^[\w./@%+,:-]+$/.test(folder) ? `SINGLEPOLL_DIR=${folder} ` : null;
  if (isForeign(uid)) {
    if (!answers || isRoot()) return `${sudo()}kill ${pid}    # ends it in order`;
    const env = named && !folder.endsWith('/.local/state/singlepoll') ? `env ${named}` : '';
    return `sudo -u '#${uid}' ${env}singlepoll stop`;
  }
  if (!answers) return RESET;
  if (isReachable(holder, control)) return 'singlepoll stop';
  if (!named) return `kill ${pid}    # ends it in order; then start again`;
  return `${named}singlepoll stop    # in its own state folder\nsinglepoll reset    # or end it by signals, and start again`;
}

/** It listens where this user's commands go. */
function isReachable(holder: Holder | null, control: string | null): boolean {
  if (!holder?.answers || !takesOrders(holder)) return false;
  return holder.control === control && !isForeign(holder.uid) && !holder.elsewhere;
}

function takesOrders({ control }: Holder): boolean {
  return control !== null && !isNowhere(control);
}

/** False also where it is not known what the process runs. */
function isNoSinglepoll({ answers, runsSinglepoll }: Holder): boolean {
  return !answers && runsSinglepoll === false;
}

function isForeign(uid: number | null): boolean {
  return uid !== null && uid !== process.geteuid?.();
}

/** For a status; empty where it is the user who asks. */
export const userOf = (uid: number | null): { user?: string } =>
  isForeign(uid) ? { user: userName(uid) } : {};

const userName = (uid: number | null): string => (uid === null ? 'another user' : plain(nameOfUser(uid), 40));
