/**
 * Looks at the names of a lock: which process has bound each, according to the kernel, and what it can prove. The verdict on a name
 * counts only if the same socket was bound to it before and after the question, since a name may change hands at any moment.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ownerOf, pidNamespace, readLink, readText, statOf } from '../machine/procfs.ts';
import { findOwners } from '../machine/sockets.ts';
import { isSinglepoll } from '../strays/bystander.ts';
import { createInspector } from '../strays/inspector.ts';
import { readProgram } from '../strays/program.ts';
import type { Shown } from './election.ts';
import { type Answer, challenge, type LockKey } from './proof.ts';

export interface Holder {
  /** Its pid in our pid namespace; null: it can't be seen from here. */
  readonly pid: number | null;
  /** Pid and start id together identify one process for ever. Null: the kernel does not show that this pid has the socket. */
  readonly startId: string | null;
  readonly uid: number | null;
  /** It lives in another pid namespace, so its pid must not be signalled even if it is known. */
  readonly elsewhere: boolean;
  readonly runsSinglepoll: boolean | null;
  readonly comm: string | null;
  readonly startedAt: string | null;
  readonly cwd: string | null;
  readonly version: string | null;
  /** Its control socket's path by its own account: may be shown to people, but never connected to. */
  readonly control: string | null;
  /** It has proven itself. False: it is stopped (SIGSTOP), hangs, or is something else. */
  readonly answers: boolean;
}

/** A process that has bound a name and gives wrong answers. */
export type Squatter = Pick<Holder, 'pid' | 'uid' | 'comm'>;

/** Says who has bound one name of the lock. `holder` is missing where that is certainly no supervisor, or nobody. */
export interface Verdict {
  readonly shown: Shown;
  readonly holder?: Holder;
  readonly squatter?: Squatter;
}

const SILENT_MS = 2_000;
/** How long a holder that is not stopped may take to answer, on a busy machine too. */
const PATIENCE_MS = 6_000;
/** Time limit for reading arguments, which may block the reader. */
const READ_MS = 1_500;

export async function lookAt(key: LockKey, mine: number | null): Promise<readonly Verdict[]> {
  const bound = socketsOf(key.names);
  return await Promise.all(
    key.names.map(async (name, index): Promise<Verdict> => {
      if (index === mine) return { shown: 'holder' };
      return bound.some((socket) => socket.path === shownPath(name)) ? await examine(key, name) : FREE;
    }),
  );
}

const FREE: Verdict = { shown: 'free' };

/** The name as /proc/net/unix shows it, with an @ for every zero byte. */
function shownPath(name: string): string {
  return `@${name}`.padEnd(108, '@');
}

/**
 * The sockets that are bound to these names, and those that only look so: another program may bind a name with @ where ours
 * has zero bytes. The process that answers at the name has the right one; its pid shows which row is its own.
 */
function socketsOf(names: readonly string[]): BoundSocket[] {
  const paths = new Set(names.map(shownPath));
  if (process.platform === 'linux') return boundSockets((path) => paths.has(path));
  return [...paths].map((path) => ({ inode: 0, listening: true, path }));
}

/**
 * A wrong answer proves that a liar, and no supervisor, had the name when the connection was made. The election needs no more,
 * even if the name has changed hands since.
 */
async function examine(key: LockKey, name: string): Promise<Verdict> {
  const patientUntilMs = performance.now() + PATIENCE_MS;
  let quiet: Verdict | null = null;
  for (let tries = 1; ; tries++) {
    const reply = await challenge(key, name, SILENT_MS);
    let sockets = socketsOf([name]);
    if (reply.kind === 'proven') return await proven(reply.answer, sockets);
    if (reply.kind === 'wrong') return { shown: 'liar', squatter: (await behind(sockets)) ?? UNSEEN };
    if (reply.kind === 'nobody') {
      // The name is bound but no process listens, for a moment or for ever.
      sockets = sockets.filter(({ listening }) => !listening);
      if (sockets.length === 0) return FREE;
    }
    // A hanging supervisor is looked up only once, as that starts a process. One that is ending, or that has too many
    // connections, closes ours.
    if (reply.kind === 'silent') quiet ??= await silent(sockets);
    const isOver = performance.now() > patientUntilMs || (quiet && cannotAnswer(quiet.holder?.pid ?? null));
    if (isOver) return quiet ?? (await silent(sockets));
    await pause(Math.min(100, 5 * tries));
  }
}

/** A right answer counts only if it names the process that the kernel names: otherwise it was passed on. */
async function proven(answer: Answer, sockets: readonly BoundSocket[]): Promise<Verdict> {
  const shown = answer.holds ? 'holder' : 'contender';
  const said = { answers: true, runsSinglepoll: true, comm: null, ...answer };
  const holder = { ...said, elsewhere: answer.pidNamespace !== (pidNamespace() ?? '') };
  const found = await processesOf(inodesOf(sockets), [answer.pid]);
  const owners = [...found.values()].flat();
  const it = owners.find((process) => isFrom(process, answer));
  if (it) return { shown, holder: { ...holder, pid: it.pid, startId: it.startId, uid: it.uid } };
  // A socket without an owner is another user's, or of a pid namespace above ours: its process can be neither seen nor signalled.
  const [liar] = sockets.every(({ inode }) => found.has(inode)) ? owners : [];
  return liar ? { shown: 'liar', squatter: liar } : { shown, holder: { ...holder, startId: null } };
}

const inodesOf = (sockets: readonly BoundSocket[]) =>
  sockets.map(({ inode }) => inode).filter((inode) => inode !== 0);

function isFrom(it: SocketProcess, answer: Answer): boolean {
  if (it.innerPid !== answer.pid) return false;
  if (it.pidNamespace !== null && it.pidNamespace !== answer.pidNamespace) return false;
  // Start times count from the boot in the reader's time namespace, and a container may have its own.
  return answer.pidNamespace !== pidNamespace() || it.startId === answer.startId;
}

/** True for a process stopped by SIGSTOP or a debugger, which will not answer, and for one that can't be seen from here. */
function cannotAnswer(pid: number | null): boolean {
  const state = pid === null ? undefined : statOf(pid)?.state;
  return state === undefined || state === 'T' || state === 't';
}

async function silent(sockets: readonly BoundSocket[]): Promise<Verdict> {
  const it = await behind(sockets);
  const untold = { startedAt: null, cwd: null, version: null, control: null, answers: false } as const;
  const seen = it && { ...it, runsSinglepoll: await runsSinglepoll(it.pid) };
  return { shown: 'silent', holder: { ...untold, ...(seen ?? UNSEEN) } };
}

/** Of a process that the kernel does not show to this user. */
const UNSEEN = { pid: null, uid: null, comm: null, startId: null, elsewhere: false, runsSinglepoll: null };

/** The process behind a name, according to the kernel; of several sockets that look alike, one of this user if possible. */
async function behind(sockets: readonly BoundSocket[]): Promise<SocketProcess | null> {
  const found = [...(await processesOf(inodesOf(sockets))).values()].flat();
  return found.find(({ uid }) => uid === process.geteuid?.()) ?? found[0] ?? null;
}

type SocketProcess = NonNullable<ReturnType<typeof processOf>>;

/** The processes that have each socket open. Sockets without a process that this user may see are left out. */
export async function processesOf(
  inodes: readonly number[],
  likely?: readonly number[],
): Promise<Map<number, SocketProcess[]>> {
  const found = new Map<number, SocketProcess[]>();
  for (const [inode, pids] of await findOwners(inodes, likely)) {
    const processes = pids.map(processOf).filter((it) => it !== null);
    if (processes.length > 0) found.set(inode, processes);
  }
  return found;
}

/** Null: the process has gone. All but the namespace can be read of other users' processes, too. */
export function processOf(pid: number) {
  const stat = statOf(pid);
  if (!stat) return null;
  const namespace = readLink(`/proc/${pid}/ns/pid`);
  const inner = /^NSpid:.*?(\d+)$/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1];
  return {
    pid,
    uid: ownerOf(`/proc/${pid}`),
    startId: stat.startId,
    innerPid: Number(inner ?? pid),
    pidNamespace: namespace,
    elsewhere: namespace !== null && namespace !== pidNamespace(),
    comm: stat.comm,
  };
}

export async function runsSinglepoll(pid: number): Promise<boolean | null> {
  const nothing = { token: null, botId: '', patterns: [], projectDir: '/' };
  const inspector = createInspector({ ...nothing, scope: 'any' });
  const it = (await inspector.inspect([pid], READ_MS)).seen.get(pid);
  inspector.close();
  return it ? isSinglepoll(readProgram(it.argv)) : null;
}

interface BoundSocket {
  readonly inode: number;
  /** False: bind(2) was called, listen(2) was not. */
  readonly listening: boolean;
  /** The kernel shows every zero byte as @, so that two abstract names may look alike. */
  readonly path: string;
}

// Num: RefCount Protocol Flags Type St Inode Path.
const ROW = /^[0-9a-f]+: \S+ \S+ ([0-9A-F]+) 0001 (\S+) +(\d+) (.+)$/;
/** __SO_ACCEPTCON: listen(2) was called. */
const ACCEPTS = 0x10000;
const UNCONNECTED = '01';

/** Sockets whose path `wanted` accepts. Accepted connections, which carry the path of their listener, are left out. */
export function boundSockets(wanted: (path: string) => boolean): BoundSocket[] {
  const found: BoundSocket[] = [];
  // A name may hold any bytes; latin1 makes one character of each.
  for (const line of readFileSync('/proc/net/unix', 'latin1').split('\n')) {
    const [, flags, state, inode, path] = ROW.exec(line) ?? [];
    if (path === undefined || state !== UNCONNECTED || !wanted(path)) continue;
    const listening = (Number.parseInt(flags!, 16) & ACCEPTS) !== 0;
    found.push({ inode: Number(inode), listening, path });
  }
  return found;
}
