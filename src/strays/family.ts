/**
 * Who descends from whom in one snapshot, and which processes stand around singlepoll. PURE.
 * Shared by grading (who is never a stray) and by the kill plan (who is never signalled).
 */
import { isSinglepoll } from './bystander.ts';
import type { Proc, Snapshot } from './process.ts';
import { readProgram } from './program.ts';

/** What is known about this supervisor when strays are looked for. */
export interface Place {
  readonly botId: string;
  readonly selfPid: number;
  /** The worker that may live now; null between two workers, and for commands without a supervisor. */
  readonly worker: { readonly pid: number; readonly run: string; readonly spawn: string } | null;
  /** Other processes of this supervisor (a built-in sandbox, a detached helper). */
  readonly helperPids: ReadonlySet<number>;
}

/** The processes around singlepoll that no rule may touch. */
export interface Surroundings {
  readonly ancestors: ReadonlySet<number>;
  readonly workerTree: ReadonlySet<number>;
  /** Supervisors found by what they do: they started a process with a run id that they do not carry themselves. */
  readonly supervisors: ReadonlySet<number>;
  /** Pid → the nearest living supervisor above it that is not this one. */
  readonly supervised: ReadonlyMap<number, number>;
  readonly children: ReadonlyMap<number, readonly Proc[]>;
}

export function childrenOf(snapshot: Snapshot): Map<number, Proc[]> {
  const children = new Map<number, Proc[]>();
  for (const proc of snapshot.procs.values()) {
    const list = children.get(proc.ppid);
    if (list) list.push(proc);
    else children.set(proc.ppid, [proc]);
  }
  return children;
}

/** Pids above `pid`, nearest first, without itself. */
export function ancestorsOf(snapshot: Pick<Snapshot, 'procs'>, pid: number): number[] {
  const line: number[] = [];
  let current = snapshot.procs.get(pid)?.ppid ?? 0;
  // A snapshot is not one instant: a reused pid could close a circle.
  while (current > 0 && !line.includes(current)) {
    line.push(current);
    current = snapshot.procs.get(current)?.ppid ?? 0;
  }
  return line;
}

/** `root` and all below it, parents before children; `enter` may keep a branch out. */
export function descend(
  root: Proc,
  children: ReadonlyMap<number, readonly Proc[]>,
  enter: (proc: Proc) => boolean = () => true,
): Proc[] {
  const found = [root];
  const pids = new Set([root.pid]);
  for (let i = 0; i < found.length; i++) {
    for (const child of children.get(found[i]!.pid) ?? []) {
      if (pids.has(child.pid) || !enter(child)) continue;
      pids.add(child.pid);
      found.push(child);
    }
  }
  return found;
}

export function surroundings(snapshot: Snapshot, place: Place): Surroundings {
  const children = childrenOf(snapshot);
  const ancestors = new Set(ancestorsOf(snapshot, place.selfPid));
  const workerTree = new Set<number>();
  const supervisors = new Set<number>();
  const { worker } = place;
  const top = worker ? snapshot.procs.get(worker.pid) : undefined;
  if (top) for (const proc of descend(top, children)) workerTree.add(proc.pid);
  for (const proc of snapshot.procs.values()) {
    const run = proc.env?.run ?? null;
    if (run === null) continue;
    if (worker && run === worker.run && proc.env?.spawn === worker.spawn) workerTree.add(proc.pid);
    const parent = snapshot.procs.get(proc.ppid);
    // Pid 1 and other reapers inherit orphans; they are not marked by it, as nothing stops them anyway.
    if (parent && parent.pid > 1 && parent.env && parent.env.run !== run) supervisors.add(parent.pid);
  }
  const supervised = supervisedBy(snapshot, place.selfPid, supervisors);
  return { ancestors, workerTree, supervisors, supervised, children };
}

/** Pid 1 counts for nobody: orphans of all kinds end there, also where it is a singlepoll (in a container). */
function supervisedBy(
  snapshot: Snapshot,
  selfPid: number,
  supervisors: ReadonlySet<number>,
): Map<number, number> {
  const found = new Map<number, number>();
  const isOne = ({ pid, state, argv, comm }: Proc) =>
    pid > 1 &&
    pid !== selfPid &&
    state !== 'Z' &&
    (supervisors.has(pid) || isSinglepoll(readProgram(argv, comm)));
  const ones = new Set([...snapshot.procs.values()].filter(isOne).map(({ pid }) => pid));
  if (ones.size === 0) return found;
  for (const { pid } of snapshot.procs.values()) {
    const above = ancestorsOf(snapshot, pid).find((it) => ones.has(it));
    if (above !== undefined) found.set(pid, above);
  }
  return found;
}

/**
 * What is left of the session and the group that a worker led which has ended. Its number is given to nobody else as long as they
 * live, so a process of that number is a sign that they are gone.
 */
export function leftBy(snapshot: Snapshot, worker: number, around: Surroundings): Proc[] {
  const heir = snapshot.procs.get(worker);
  if (worker <= 1 || around.workerTree.has(worker) || (heir && heir.state !== 'Z')) return [];
  return [...snapshot.procs.values()].filter(
    ({ pid, sid, pgid, state }) =>
      (sid === worker || pgid === worker) && pid !== worker && state !== 'Z' && !around.workerTree.has(pid),
  );
}
