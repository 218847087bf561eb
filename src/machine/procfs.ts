/**
 * Reads small files below /proc. Processes may end at any moment, and files of other users may be unreadable: the result is
 * `null` then, never an exception.
 * Reads are synchronous: /proc never waits for a disk, and one read takes a few microseconds, a promise many times that.
 */
import { readdirSync, readFileSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** The text of a small file; null: it can't be read. */
export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** The present moment in the unit of a process's start time (1/100 s since the boot); NaN without /proc. */
export function ticksNow(): number {
  return Math.round(Number((readText('/proc/uptime') ?? '?').split(' ')[0]) * 100);
}

/** How many files this process may have open at once (getrlimit(2)). */
export function openFilesMax(): number {
  const limits = readText('/proc/self/limits') ?? '';
  return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
}

/** The words of a process's command line; none if it has gone or can't be read. Of a stranger they may hold up who reads them. */
export function argvOf(pid: number): string[] {
  return (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter((it) => it !== '');
}

/** The target of a link, or null. */
export function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function lookAt(path: string): Stats | null {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch {
    return null;
  }
}

/** User id of the owner of a file or folder, or -1. */
export const ownerOf = (path: string): number => lookAt(path)?.uid ?? -1;

/** Device and inode of a path's target as one comparable string, or null. */
export function inodeOf(path: string): string | null {
  const stat = lookAt(path);
  return stat && `${stat.dev}:${stat.ino}`;
}

/** All pids in the order of /proc. */
export function listPids(): number[] {
  return readdirSync('/proc').map(Number).filter(Boolean);
}

/** How long other events, such as signals and requests, may have to wait for their turn. */
const TURN_MS = 10;

/** Goes through a list that may be long, and lets other events have their turn meanwhile. */
export async function* unhurried<T>(items: Iterable<T>): AsyncGenerator<T> {
  let turnMs = performance.now();
  for (const item of items) {
    yield item;
    if (performance.now() - turnMs < TURN_MS) continue;
    await nextTurn();
    turnMs = performance.now();
  }
}

/** The parsed stat line of a process; null: it has ended. */
export function statOf(pid: number): ProcStat | null {
  const text = readText(`/proc/${pid}/stat`);
  return text === null ? null : parseProcStat(text);
}

/** As `statOf`; null also for a zombie, of which only the parent's wait is missing. */
export function aliveStat(pid: number): ProcStat | null {
  const stat = statOf(pid);
  return stat?.state === 'Z' || stat?.state === 'X' ? null : stat;
}

/** Names one process for good, as the kernel gives a pid to another process once its owner has ended. */
export interface ProcessId {
  readonly pid: number;
  /** Start time, compared right before every signal: clock ticks after boot on Linux, otherwise an opaque string. */
  readonly startId: string;
}

export function isAlive({ pid, startId }: ProcessId): boolean {
  return aliveStat(pid)?.startId === startId;
}

/** The pid namespace of this process, as `pid:[4026531836]`; null: the system has none. */
export function pidNamespace(): string | null {
  return readLink('/proc/self/ns/pid');
}

/** True if /proc is Linux's and shows processes. */
export function hasProcfs(): boolean {
  return process.platform === 'linux' && readText('/proc/self/stat') !== null;
}

/** /proc is mounted so that processes of other users are not even listed, except to root. */
export function areOthersHidden(mounts = readText('/proc/self/mounts') ?? ''): boolean {
  return /^\S+ \/proc proc \S*hidepid=(?:[12]|noaccess|invisible)/m.test(mounts);
}

export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

export function userName(uid: number): string {
  if (uid < 0) return 'unknown';
  const line = (readText('/etc/passwd') ?? '').split('\n').find((it) => it.split(':')[2] === String(uid));
  return line?.split(':')[0] || String(uid);
}

/**
 * Counts processes of our cgroup that the kernel killed for lack of memory (cgroups(7): memory.events, memory.oom_control). Null:
 * the system does not tell. In a container only the cgroup root may be readable.
 */
export function oomKills(): number | null {
  const own = readText('/proc/self/cgroup') ?? '';
  const pathIn = (controller: string) =>
    new RegExp(`^\\d+:(?:[^:\\n]*,)?${controller}(?:,[^:\\n]*)?:(.*)$`, 'm').exec(own)?.[1] ?? '';
  const files = [
    [`/sys/fs/cgroup/memory${pathIn('memory')}`, 'memory.oom_control'],
    ['/sys/fs/cgroup/memory', 'memory.oom_control'],
    [`/sys/fs/cgroup${pathIn('')}`, 'memory.events'],
    ['/sys/fs/cgroup', 'memory.events'],
  ];
  for (const [folder, name] of files) {
    const count = /^oom_kill (\d+)$/m.exec(readText(`${folder}/${name}`) ?? '')?.[1];
    if (count !== undefined) return Number(count);
  }
  return null;
}

const PF_KTHREAD = 0x00200000;
const PF_EXITING = 0x00000004;

export type ProcStat = NonNullable<ReturnType<typeof parseProcStat>>;

// Field n of the manual, counted from the state (3): state, ppid, pgrp, session, tty_nr, (tpgid), flags, (9-21), starttime,
// (23-25), startcode to startstack, (29-47), arg_start to env_end. One pass takes a third less time than cutting the line up.
const FIELDS =
  /(\S) (\d+) (-?\d+) (-?\d+) (-?\d+) \S+ (\d+) (?:\S+ ){12}(\d+)(?: (?:\S+ ){3}(\S+ \S+ \S+) (?:\S+ ){19}(\S+ \S+ \S+ \S+))?/y;

/** Parses a stat line; null: the text is none (the process ended while it was read). */
export function parseProcStat(text: string) {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return null;
  FIELDS.lastIndex = close + 2;
  const match = FIELDS.exec(text);
  if (!match) return null;
  // By index: an array's iterator makes this hot enough that V8 optimizes it in the midst of a look, for 5 ms and 4 MB.
  const {
    1: state,
    2: ppid,
    3: pgid,
    4: sid,
    5: tty,
    6: flags,
    7: startId,
    8: code = '',
    9: data = '',
  } = match;
  const comm = text.slice(open + 1, close);
  return {
    comm,
    state: state!,
    ppid: Number(ppid),
    pgid: Number(pgid),
    sid: Number(sid),
    tty: Number(tty),
    kernel: (Number(flags) & PF_KTHREAD) !== 0,
    /** It is on its way out: its command line and environment may be gone already. */
    isExiting: (Number(flags) & PF_EXITING) !== 0,
    /** Clock ticks after boot, as a string that is only compared. */
    startId: startId!,
    /**
     * Changes when the process executes another program, even of the same name, as the kernel then moves code, stack,
     * arguments and environment. All numbers are 0 if the process may not be inspected.
     */
    imageId: `${code} ${data} ${comm}`,
  };
}
