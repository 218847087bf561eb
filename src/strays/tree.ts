/**
 * The process tree of one snapshot, the processes around singlepoll, and the processes that are stopped with a stray. PURE.
 * Upwards these are parents that exist only to run it (a gunicorn or cluster master, a reloader, `npm start`, a wrapper), but
 * never a person's shell, a process manager or singlepoll. Downwards and sideways: everything that belongs to them, even in
 * another session, group or parent.
 */
import { bystander, isInteractiveShell, isSinglepoll } from './bystander.ts';
import type { Proc, Snapshot } from './process.ts';
import { baseName, type Program, readProgram } from './program.ts';

/** This supervisor's processes at the time of a look. */
export interface Place {
  readonly botId: string;
  readonly selfPid: number;
  /** The worker that may live now; null between two workers, and for commands without a supervisor. */
  readonly worker: { readonly pid: number; readonly run: string; readonly spawn: string } | null;
}

/** The processes around singlepoll, which are never stopped. */
export interface Surroundings {
  readonly ancestors: ReadonlySet<number>;
  readonly workerTree: ReadonlySet<number>;
  /** Supervisors, recognized because they started a process with a run id that they do not have themselves. */
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
  // A snapshot takes time, so a reused pid could close a circle.
  while (current > 0 && !line.includes(current)) {
    line.push(current);
    current = snapshot.procs.get(current)?.ppid ?? 0;
  }
  return line;
}

/** `root` and all its descendants, parents before children; `enter` may exclude a branch. */
function descend(
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
    // Pid 1 inherits orphans, so it is not taken for a supervisor.
    if (parent && parent.pid > 1 && parent.env && parent.env.run !== run) supervisors.add(parent.pid);
  }
  const supervised = supervisedBy(snapshot, place.selfPid, supervisors);
  return { ancestors, workerTree, supervisors, supervised, children };
}

/** Pid 1 does not count, as all orphans end there, even if it is a singlepoll (in a container). */
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
    (supervisors.has(pid) ||
      // Of thousands of command lines only these are worth parsing.
      ([comm, ...argv].some((word) => word.includes('singlepoll')) && isSinglepoll(readProgram(argv, comm))));
  const ones = new Set([...snapshot.procs.values()].filter(isOne).map(({ pid }) => pid));
  if (ones.size === 0) return found;
  for (const { pid } of snapshot.procs.values()) {
    // Our own descendants belong to no other supervisor, although a `start -d` that waits for us may be above us.
    const above = ancestorsOf(snapshot, pid).find((it) => it === selfPid || ones.has(it));
    if (above !== undefined && above !== selfPid) found.set(pid, above);
  }
  return found;
}

/**
 * What is left of the session and the group of an ended worker. While they exist its pid can't be reused, so a process with that
 * pid shows that they are gone.
 */
export function leftBy(snapshot: Snapshot, worker: number, around: Surroundings): Proc[] {
  const heir = snapshot.procs.get(worker);
  if (worker <= 1 || around.workerTree.has(worker) || (heir && heir.state !== 'Z')) return [];
  return [...snapshot.procs.values()].filter(
    ({ pid, sid, pgid, state }) =>
      (sid === worker || pgid === worker) && pid !== worker && state !== 'Z' && !around.workerTree.has(pid),
  );
}

/** True for processes that are never graded or signalled, whatever they do. */
export function isUntouchable(proc: Proc, place: Place, around: Surroundings): boolean {
  return (
    proc.pid <= 1 ||
    proc.pid === place.selfPid ||
    around.ancestors.has(proc.pid) ||
    around.workerTree.has(proc.pid) ||
    around.supervisors.has(proc.pid)
  );
}

function set(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/).filter(Boolean));
}

/** Programs that only run another command, and watchers that restart it when its files change. */
const RUNNERS =
  set(`timeout nohup env setsid flock nice ionice chrt taskset stdbuf setpriv chpst unbuffer script sudo doas su runuser gosu
  su-exec npm npx yarn yarnpkg pnpm pnpx bunx corepack uv uvx poetry pipenv pdm rye hatch dotenv dotenvx direnv xvfb-run catchsegv
  nodemon node-dev ts-node ts-node-dev tsnd tsx watchmedo watchfiles watchexec reflex air cargo-watch hupper jurigged
  honcho foreman concurrently npm-run-all run-p run-s cross-env env-cmd time entr watch gunicorn uwsgi hypercorn uvicorn flask daphne granian make`);

/** Children of `multiprocessing`, which uvicorn and others use to run an app in workers. */
const MULTIPROCESSING = /multiprocessing\.(?:spawn|forkserver|resource_tracker)/;

interface Reading {
  readonly program: Program;
  readonly names: readonly string[];
}

function read(proc: Proc): Reading {
  const program = readProgram(proc.argv, proc.comm);
  return { program, names: [program.name, ...program.scripts.map(scriptName)] };
}

function scriptName(script: string): string {
  // npm is shown as `npm-cli.js` or `npx-cli.js` before it sets a title; yarn and pnpm as `yarn.js`, `pnpm.cjs`.
  return baseName(script).replace(/(?:-cli)?\.(?:[cm]?js|py|rb)$/, '');
}

/** Both run the same script (a forked master and its worker, a reloader and its child). */
function sameProgram(parent: Reading, child: Reading, parentProc: Proc, childProc: Proc): boolean {
  const innerParent = parent.program.scripts.at(-1);
  const innerChild = child.program.scripts.at(-1);
  if (innerParent !== undefined && innerChild !== undefined) {
    if (innerParent === innerChild) return true;
    return parentProc.cwd === childProc.cwd && baseName(innerParent) === baseName(innerChild);
  }
  if (innerParent !== undefined || innerChild !== undefined) {
    return child.program.family === 'python' && childProc.argv.some((arg) => MULTIPROCESSING.test(arg));
  }
  return parent.program.path === child.program.path && parent.program.family === null;
}

/** True if `parent` exists only to run `child`; `below` are the processes of the child's tree so far. */
function runsOnly(parent: Proc, child: Proc, below: ReadonlySet<number>, around: Surroundings): boolean {
  const above = read(parent);
  const kind = bystander(above.program, parent.comm);
  const onlyChild = (around.children.get(parent.pid) ?? []).every(
    (other) => other.state === 'Z' || below.has(other.pid),
  );
  if (kind === 'shell') return !isInteractiveShell(parent.argv) && onlyChild;
  if (kind !== null) return false;
  if (sameProgram(above, read(child), parent, child)) return true;
  return above.names.some((name) => RUNNERS.has(name)) && onlyChild;
}

/** Climbs from a stray to the topmost process that exists only to run it. */
export function treeTop(snapshot: Snapshot, stray: Proc, place: Place, around: Surroundings): Proc {
  let top = stray;
  const seen = new Set([stray.pid]);
  for (;;) {
    const parent = snapshot.procs.get(top.ppid);
    if (!parent || seen.has(parent.pid) || isUntouchable(parent, place, around)) return top;
    if (parent.env?.bot != null && parent.env.bot !== place.botId) return top;
    const below = new Set(descend(top, around.children).map((proc) => proc.pid));
    if (!runsOnly(parent, top, below, around)) return top;
    seen.add(parent.pid);
    top = parent;
  }
}

/**
 * Everything that belongs to `roots`: their descendants; processes of the same singlepoll run and spawn; members of
 * sessions and groups that one of them leads or led. `formerPids` are members that have ended already: their pids
 * cannot have been reused while a session or group of that number exists. `formerCookies` are their markers.
 */
export function gather(
  snapshot: Snapshot,
  roots: readonly Proc[],
  formerPids: ReadonlySet<number>,
  place: Place,
  around: Surroundings,
  formerCookies: Iterable<string> = [],
): Proc[] {
  const members = new Map<number, Proc>();
  const cookies = new Set(formerCookies);
  const leaders = new Set(formerPids);
  const enter = (proc: Proc) => maySignal(proc, place, around);
  const isRelated = (proc: Proc) => {
    const cookie = cookieOf(proc, place);
    return (cookie !== null && cookies.has(cookie)) || leaders.has(proc.sid) || leaders.has(proc.pgid);
  };
  let pending = roots;
  do {
    for (const root of pending) {
      for (const proc of descend(root, around.children, enter)) {
        members.set(proc.pid, proc);
        leaders.add(proc.pid);
        const cookie = cookieOf(proc, place);
        if (cookie !== null) cookies.add(cookie);
      }
    }
    // A pager or a terminal at the end of a pipe belongs to a person, whatever group it is in.
    pending = [...snapshot.procs.values()].filter(
      (proc) => !members.has(proc.pid) && isRelated(proc) && enter(proc) && !standsBy(proc),
    );
  } while (pending.length > 0);
  return [...members.values()];
}

/** The environment marker that all processes of one run and spawn of this bot share; null for all others. */
export function cookieOf(proc: Proc, place: Pick<Place, 'botId'>): string | null {
  const env = proc.env;
  return env && env.bot === place.botId && env.run !== null ? `${env.run} ${env.spawn}` : null;
}

function standsBy(proc: Proc): boolean {
  const kind = bystander(readProgram(proc.argv, proc.comm), proc.comm);
  return kind !== null && kind !== 'proxy' && !(kind === 'shell' && !isInteractiveShell(proc.argv));
}

/** False for processes that must not be stopped: we, our ancestors and worker, other bots' workers, terminals, user shells. */
export function maySignal(proc: Proc, place: Place, around: Surroundings): boolean {
  if (proc.state === 'Z' || isUntouchable(proc, place, around)) return false;
  if (proc.env?.bot != null && proc.env.bot !== place.botId) return false;
  const program = readProgram(proc.argv, proc.comm);
  const kind = bystander(program, proc.comm);
  if (kind === 'singlepoll' || kind === 'manager') return false;
  if (kind === 'terminal')
    return !/^(?:tmux|screen|zellij|sshd)/i.test(program.name) && !proc.comm.startsWith('tmux:');
  return !(kind === 'shell' && isInteractiveShell(proc.argv));
}
