/**
 * The process tree of one snapshot, and the processes that are stopped with a stray: upwards the parents that exist only to run it (a master,
 * a reloader, `npm start`, a wrapper), but never a person's shell, a process manager or singlepoll; downwards and sideways everything that
 * belongs to them, even in another session, group or parent. PURE.
 */
import type { ProcessId } from '../machine/procfs.ts';
import { bystander, isInteractiveShell, isSinglepoll, namesIn } from './bystander.ts';
import type { Proc, Snapshot } from './process.ts';
import { baseName, readProgram } from './program.ts';

/** This supervisor's processes at the time of a look. */
export interface Place {
  readonly botId: string;
  readonly selfPid: number;
  /** The worker that may live now; null between two workers, and for commands without a supervisor. */
  readonly worker: { readonly pid: number; readonly run: string; readonly spawn: string } | null;
}

/** One snapshot, and the processes around singlepoll in it, which are never stopped. */
export interface Surroundings extends Place, Pick<Snapshot, 'procs'> {
  readonly ancestors: ReadonlySet<number>;
  readonly workerTree: ReadonlySet<number>;
  /** Supervisors, recognized because they started a process with a run id that they do not have themselves. */
  readonly supervisors: ReadonlySet<number>;
  readonly children: ReadonlyMap<number, readonly Proc[]>;
}

function childrenOf(procs: Snapshot['procs']): Map<number, Proc[]> {
  const children = new Map<number, Proc[]>();
  for (const proc of procs.values()) {
    const list = children.get(proc.ppid);
    if (list) list.push(proc);
    else children.set(proc.ppid, [proc]);
  }
  return children;
}

/** Pids above `pid`, nearest first, without itself. */
export function ancestorsOf(procs: Snapshot['procs'], pid: number): number[] {
  const line: number[] = [];
  let current = procs.get(pid)?.ppid ?? 0;
  // A snapshot takes time, so a reused pid could close a circle.
  while (current > 0 && !line.includes(current)) {
    line.push(current);
    current = procs.get(current)?.ppid ?? 0;
  }
  return line;
}

/** `root` and all its descendants, parents before children; `enter` may exclude a branch. */
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

export function surroundings({ procs }: Pick<Snapshot, 'procs'>, place: Place): Surroundings {
  const children = childrenOf(procs);
  const ancestors = new Set(ancestorsOf(procs, place.selfPid));
  const workerTree = new Set<number>();
  const supervisors = new Set<number>();
  const { worker } = place;
  const top = worker ? procs.get(worker.pid) : undefined;
  if (top) for (const proc of descend(top, children)) workerTree.add(proc.pid);
  for (const proc of procs.values()) {
    const run = proc.env?.run ?? null;
    if (run === null) continue;
    if (worker && run === worker.run && proc.env?.spawn === worker.spawn) workerTree.add(proc.pid);
    const parent = procs.get(proc.ppid);
    // Pid 1 inherits orphans, so it is not taken for a supervisor.
    if (parent && parent.pid > 1 && parent.env && parent.env.run !== run) supervisors.add(parent.pid);
  }
  return { ...place, procs, ancestors, workerTree, supervisors, children };
}

/**
 * The nearest living supervisor above a process that is not this one. Pid 1 does not count, as all orphans end there, even if it is
 * a singlepoll (in a container).
 */
export function supervisorOf(pid: number, { procs, selfPid, supervisors }: Surroundings): number | null {
  for (const above of ancestorsOf(procs, pid)) {
    // Our own descendants belong to no other supervisor, although a `start -d` that waits for us may be above us.
    if (above === selfPid || above === 1) return null;
    const it = procs.get(above);
    if (it && it.state !== 'Z' && (supervisors.has(above) || isSinglepoll(readProgram(it.argv, it.comm))))
      return above;
  }
  return null;
}

/**
 * Lists what is left of the session and the group of an ended worker. As long as one of its processes lives, the kernel gives the worker's
 * pid to no other; so where another process has that pid, nothing is left.
 */
export function leftBy(worker: number, { procs, workerTree }: Surroundings): Proc[] {
  const heir = procs.get(worker);
  if (worker <= 1 || workerTree.has(worker) || (heir && heir.state !== 'Z')) return [];
  return [...procs.values()].filter(
    ({ pid, sid, pgid, state }) =>
      (sid === worker || pgid === worker) && pid !== worker && state !== 'Z' && !workerTree.has(pid),
  );
}

/** True for processes that are never graded or signalled, whatever they do. */
export function isUntouchable({ pid }: Proc, around: Surroundings): boolean {
  const { ancestors, workerTree, supervisors } = around;
  return pid <= 1 || pid === around.selfPid || [ancestors, workerTree, supervisors].some((it) => it.has(pid));
}

/** Programs that only run another command, and watchers that restart it when its files change. */
const RUNNERS =
  namesIn(`timeout nohup env setsid flock nice ionice chrt taskset stdbuf setpriv chpst unbuffer script sudo doas su runuser gosu
  su-exec npm npx yarn yarnpkg pnpm pnpx bunx corepack uv uvx poetry pipenv pdm rye hatch dotenv dotenvx direnv xvfb-run catchsegv
  nodemon node-dev ts-node ts-node-dev tsnd tsx watchmedo watchfiles watchexec reflex air cargo-watch hupper jurigged
  honcho foreman concurrently npm-run-all run-p run-s cross-env env-cmd time entr watch gunicorn uwsgi hypercorn uvicorn flask daphne granian make`);

/** Children of `multiprocessing`, which uvicorn and others use to run an app in workers. */
const MULTIPROCESSING = /multiprocessing\.(?:spawn|forkserver|resource_tracker)/;

/** Both run the same script (a forked master and its worker, a reloader and its child). */
function sameProgram(parent: Proc, child: Proc): boolean {
  const above = readProgram(parent.argv, parent.comm);
  const below = readProgram(child.argv, child.comm);
  const outer = above.scripts.at(-1);
  const inner = below.scripts.at(-1);
  if (outer !== undefined && inner !== undefined)
    return outer === inner || (parent.cwd === child.cwd && baseName(outer) === baseName(inner));
  if (outer !== undefined || inner !== undefined)
    return below.family === 'python' && child.argv.some((arg) => MULTIPROCESSING.test(arg));
  return above.path === below.path && above.family === null;
}

function runsOnly(parent: Proc, child: Proc, { children }: Surroundings): boolean {
  const kind = bystander(parent);
  if (kind !== null && kind !== 'shell') return false;
  if (kind === null && sameProgram(parent, child)) return true;
  const { name, scripts } = readProgram(parent.argv, parent.comm);
  // npm is shown as `npm-cli.js` or `npx-cli.js` before it sets a title; yarn and pnpm as `yarn.js`, `pnpm.cjs`.
  const names = scripts.map((it) => baseName(it).replace(/(?:-cli)?\.(?:[cm]?js|py|rb)$/, ''));
  const isRunner =
    kind === 'shell' ? !isInteractiveShell(parent.argv) : [name, ...names].some((it) => RUNNERS.has(it));
  const below = new Set(descend(child, children));
  return isRunner && (children.get(parent.pid) ?? []).every((it) => it.state === 'Z' || below.has(it));
}

/** Climbs from a stray to the topmost process that exists only to run it. */
export function treeTop(stray: Proc, around: Surroundings): Proc {
  let top = stray;
  for (const pid of ancestorsOf(around.procs, stray.pid)) {
    const parent = around.procs.get(pid);
    if (!parent || parent === stray || isUntouchable(parent, around) || isOfAnother(parent, around)) break;
    if (!runsOnly(parent, top, around)) return top;
    top = parent;
  }
  return top;
}

/**
 * Everything that belongs to `roots`: their descendants; processes of the same singlepoll run and spawn; members of
 * sessions and groups that one of them leads or led. `formerPids` are members that have ended already: their pids
 * cannot have been reused while a session or group of that number exists. `formerCookies` are their markers.
 */
export function gather(
  roots: readonly Proc[],
  around: Surroundings,
  formerPids: Iterable<number> = [],
  formerCookies: Iterable<string> = [],
): Proc[] {
  const members = new Map<number, Proc>();
  const cookies = new Set(formerCookies);
  const leaders = new Set(formerPids);
  const enter = (proc: Proc) => maySignal(proc, around);
  const isRelated = (proc: Proc) => {
    const cookie = cookieOf(proc, around);
    return (cookie !== null && cookies.has(cookie)) || leaders.has(proc.sid) || leaders.has(proc.pgid);
  };
  let pending = roots;
  do {
    for (const root of pending) {
      for (const proc of descend(root, around.children, enter)) {
        members.set(proc.pid, proc);
        leaders.add(proc.pid);
        const cookie = cookieOf(proc, around);
        if (cookie !== null) cookies.add(cookie);
      }
    }
    // A pager or a terminal at the end of a pipe belongs to a person, whatever group it is in.
    pending = [...around.procs.values()].filter(
      (proc) => !members.has(proc.pid) && isRelated(proc) && enter(proc) && !standsBy(proc),
    );
  } while (pending.length > 0);
  return [...members.values()];
}

/** Of processes that were listed earlier: those that still live, and the pids of those that have ended. */
export function stillThere(listed: readonly ProcessId[], { procs }: Pick<Snapshot, 'procs'>) {
  const living: Proc[] = [];
  const former = new Set<number>();
  for (const { pid, startId } of listed) {
    const proc = procs.get(pid);
    if (!proc || (proc.startId === startId && proc.state === 'Z')) former.add(pid);
    else if (proc.startId === startId) living.push(proc);
  }
  return { living, former };
}

/** The environment marker that all processes of one run and spawn of this bot share; null for all others. */
export function cookieOf(proc: Proc, place: Pick<Place, 'botId'>): string | null {
  const env = proc.env;
  return env && env.bot === place.botId && env.run !== null ? `${env.run} ${env.spawn}` : null;
}

function isOfAnother({ env }: Proc, { botId }: Place): boolean {
  return env?.bot != null && env.bot !== botId;
}

function standsBy(proc: Proc): boolean {
  const kind = bystander(proc);
  return kind !== null && kind !== 'proxy' && !(kind === 'shell' && !isInteractiveShell(proc.argv));
}

/** False for processes that must not be stopped: we, our ancestors and worker, other bots' workers, terminals, user shells. */
export function maySignal(proc: Proc, around: Surroundings): boolean {
  if (proc.state === 'Z' || isUntouchable(proc, around) || isOfAnother(proc, around)) return false;
  const kind = bystander(proc);
  if (kind === 'singlepoll' || kind === 'manager') return false;
  if (kind === 'terminal')
    return (
      !/^(?:tmux|screen|zellij|sshd)/i.test(readProgram(proc.argv, proc.comm).name) &&
      !proc.comm.startsWith('tmux:')
    );
  return !(kind === 'shell' && isInteractiveShell(proc.argv));
}
