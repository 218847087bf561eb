/**
 * Who descends from whom in one snapshot, and which processes stand around singlepoll. PURE.
 * Shared by grading (who is never a stray) and by the kill plan (who is never signalled).
 */
import type { Proc, Snapshot } from '../machine/process.ts';

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
export function ancestorsOf(snapshot: Snapshot, pid: number): number[] {
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
  return { ancestors, workerTree, supervisors, children };
}
