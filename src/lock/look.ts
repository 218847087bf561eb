/**
 * Looks at the names of a lock: who has bound which, and what each can prove. The verdict on a name counts only if the same socket
 * was bound to it before and after the question, since a name may change hands at any moment.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { statOf } from '../machine/procfs.ts';
import type { Shown } from './election.ts';
import {
  type BoundSocket,
  boundSockets,
  listenerOf,
  pidNamespace,
  processesOf,
  processOf,
  runsSinglepoll,
  type SocketProcess,
} from './process.ts';
import { type Answer, challenge, type LockKey } from './proof.ts';

/** Who keeps the lock from us. */
export interface Holder {
  /** `supervisor`: it has proven itself. `old`: of a release that can't. `silent`: it does not answer. */
  readonly kind: 'supervisor' | 'old' | 'silent';
  /** As seen from here; null: not to be seen from here. */
  readonly pid: number | null;
  /** With the pid it names one process for ever; null: the kernel does not show that this pid has the socket. */
  readonly startId: string | null;
  readonly uid: number | null;
  /** In another pid namespace: its pid, even where it is known, is nobody that we would signal. */
  readonly elsewhere: boolean;
  /** Null: not to be told. */
  readonly runsSinglepoll: boolean | null;
  readonly comm: string | null;
  /** ISO 8601. */
  readonly startedAt: string | null;
  readonly cwd: string | null;
  readonly version: string | null;
  /** Where it says that its control socket is: to be shown to people, never to be connected to. */
  readonly control: string | null;
  /** One that is stopped (SIGSTOP) or hangs does not. */
  readonly answers: boolean;
}

/** Who has bound a name and gives wrong answers. */
export interface Squatter {
  readonly pid: number | null;
  readonly uid: number | null;
  readonly comm: string | null;
}

export interface Look {
  readonly shown: readonly Shown[];
  /** Of each name that is held by somebody to reckon with. */
  readonly holders: readonly (Holder | null)[];
  readonly squatters: readonly Squatter[];
}

const SILENT_MS = 2_000;
/** One that is not stopped gets this long: on a busy machine an answer takes its time. */
const PATIENCE_MS = 6_000;

/** `mine` is not looked at. */
export async function lookAt(key: LockKey, mine: number | null): Promise<Look> {
  const bound = socketsOf(key.names);
  const seen = await Promise.all(
    key.names.map(async (name, index): Promise<Verdict> => {
      if (index === mine) return { shown: 'holder' };
      return bound.some((socket) => socket.path === shownPath(name)) ? await examine(key, name) : FREE;
    }),
  );
  return {
    shown: seen.map(({ shown }) => shown),
    holders: seen.map(({ holder }) => holder ?? null),
    squatters: seen.map(({ squatter }) => squatter).filter((it) => it !== undefined),
  };
}

interface Verdict {
  readonly shown: Shown;
  readonly holder?: Holder;
  readonly squatter?: Squatter;
}

const FREE: Verdict = { shown: 'free' };

/** As /proc/net/unix shows it: every zero byte is an @. */
function shownPath(name: string): string {
  return `@${name}`.padEnd(108, '@');
}

/**
 * The sockets that are bound to these names, and those that only look so: a stranger may bind a name with @ where ours has zero
 * bytes. What answers at the name is the right one; which row is its own, only its owner tells.
 */
function socketsOf(names: readonly string[]): BoundSocket[] {
  const paths = new Set(names.map(shownPath));
  if (process.platform === 'linux') return boundSockets((path) => paths.has(path));
  return [...paths].map((path) => ({ inode: 0, listening: true, path }));
}

/**
 * A wrong answer proves that at the moment of the connection the name was a liar's, and no supervisor's: that is all that the
 * election needs, whoever has the name by now.
 */
async function examine(key: LockKey, name: string): Promise<Verdict> {
  const patientUntilMs = performance.now() + PATIENCE_MS;
  let quiet: Verdict | null = null;
  for (let tries = 1; ; tries++) {
    const reply = await challenge(key, name, SILENT_MS);
    let sockets = socketsOf([name]);
    if (reply.kind === 'proven') return await proven(reply.answer, sockets);
    if (reply.kind === 'unproven') return await unproven(reply.pid, name, sockets);
    if (reply.kind === 'wrong') return { shown: 'liar', squatter: await behind(name, sockets) };
    if (reply.kind === 'nobody') {
      // Bound, and nobody listens: for a moment, or for ever.
      sockets = sockets.filter(({ listening }) => !listening);
      if (sockets.length === 0) return FREE;
    }
    // A supervisor that hangs is looked up once, since that takes a process of its own. One that is ending, or has too many connections, closes them.
    if (reply.kind === 'silent') quiet ??= await silent(name, sockets);
    const isOver = performance.now() > patientUntilMs || (quiet && isStopped(quiet.holder?.pid ?? null));
    if (isOver) return quiet ?? (await silent(name, sockets));
    await pause(Math.min(100, 5 * tries));
  }
}

/** A right answer counts for the process that the kernel names, and for no other: else it was passed on. */
async function proven(answer: Answer, sockets: readonly BoundSocket[]): Promise<Verdict> {
  const shown = answer.holds ? 'holder' : 'contender';
  const said = { kind: 'supervisor' as const, answers: true, runsSinglepoll: true, comm: null, ...answer };
  const holder = { ...said, elsewhere: answer.pidNamespace !== (pidNamespace() ?? '') };
  const found = await processesOf(inodesOf(sockets), [answer.pid]);
  const it = [...found.values()].flat().find((process) => isFrom(process, answer));
  if (it) return { shown, holder: { ...holder, pid: it.pid, startId: it.startId, uid: it.uid } };
  // Of another user, or in a pid namespace above ours: not to be seen, and not to be signalled.
  if (sockets.some(({ inode }) => !found.has(inode))) return { shown, holder: { ...holder, startId: null } };
  const [liar] = [...found.values()].flat();
  return liar ? { shown: 'liar', squatter: liar } : { shown, holder: { ...holder, startId: null } };
}

const inodesOf = (sockets: readonly BoundSocket[]) =>
  sockets.map(({ inode }) => inode).filter((inode) => inode !== 0);

function isFrom(it: SocketProcess, answer: Answer): boolean {
  if (it.innerPid !== answer.pid) return false;
  if (it.pidNamespace !== null && it.pidNamespace !== answer.pidNamespace) return false;
  // Start times count from the boot of the reader's time namespace, which a container may have of its own.
  return answer.pidNamespace !== pidNamespace() || it.startId === answer.startId;
}

/** What releases before this protocol say proves nothing; that they run singlepoll does. */
async function unproven(saidPid: number, name: string, sockets: readonly BoundSocket[]): Promise<Verdict> {
  const it = await behind(name, sockets, [saidPid]);
  if (it.runsSinglepoll === false) return { shown: 'liar', squatter: it };
  return { shown: 'old', holder: { ...UNTOLD, ...it, kind: 'old', answers: true } };
}

/** By SIGSTOP or a debugger: it will not answer. One that can't be seen from here is taken for one. */
function isStopped(pid: number | null): boolean {
  const state = pid === null ? undefined : statOf(pid)?.state;
  return state === undefined || state === 'T' || state === 't';
}

async function silent(name: string, sockets: readonly BoundSocket[]): Promise<Verdict> {
  return { shown: 'silent', holder: { ...UNTOLD, ...(await behind(name, sockets)), kind: 'silent' } };
}

const UNTOLD = { startedAt: null, cwd: null, version: null, control: null, answers: false };

type Behind = Pick<Holder, 'pid' | 'uid' | 'comm' | 'startId' | 'elsewhere' | 'runsSinglepoll'>;

/** The process behind a name, by the kernel's word; where several sockets look alike, rather one of this user. */
async function behind(
  name: string,
  sockets: readonly BoundSocket[],
  hintPids: readonly number[] = [],
): Promise<Behind> {
  const found = [...(await processesOf(inodesOf(sockets), hintPids)).values()].flat();
  const it = found.find(({ uid }) => uid === process.geteuid?.()) ?? found[0];
  if (it) {
    const elsewhere = it.pidNamespace !== null && it.pidNamespace !== pidNamespace();
    const { pid, uid, comm, startId } = it;
    return { pid, uid, comm, startId, elsewhere, runsSinglepoll: await runsSinglepoll(pid) };
  }
  // Without a start id: that it has the socket now is not shown.
  const listener = process.platform === 'linux' ? await listenerOf(name) : null;
  const other = listener && listener.pid > 0 ? processOf(listener.pid) : null;
  return {
    pid: other?.pid ?? null,
    uid: listener?.uid ?? null,
    comm: other?.comm ?? null,
    startId: null,
    elsewhere: listener?.pid === 0,
    runsSinglepoll: other && (await runsSinglepoll(other.pid)),
  };
}
