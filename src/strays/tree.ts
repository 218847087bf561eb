/**
 * Plans what is stopped together with a stray. PURE.
 * Upwards: parents that exist only to run it (a gunicorn or cluster master, a reloader, `npm start`, a wrapper). Never
 * beyond them: what a person types into, a process manager, singlepoll. Downwards and sideways: everything that
 * belongs to them, also when it has moved to another session, group or parent.
 */

import { bystander, isInteractiveShell } from './bystander.ts';
import { descend, type Place, type Surroundings, surroundings } from './family.ts';
import { isUntouchable } from './grade.ts';
import type { Proc, Snapshot } from './process.ts';
import { baseName, type Program, readProgram } from './program.ts';

export interface TreePlan {
  /** Where stopping begins. */
  readonly top: Proc;
  /** All to stop, parents before children, `top` first. */
  readonly members: readonly Proc[];
}

function set(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/).filter(Boolean));
}

/** Programs that only carry out another command, and watchers that start it again when its files change. */
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
  // `npm-cli.js` and `npx-cli.js` are how node shows npm before it sets a title; `yarn.js`, `pnpm.cjs` likewise.
  return baseName(script).replace(/(?:-cli)?\.(?:[cm]?js|py|rb)$/, '');
}

/** Both run the same script (a forked master and its worker, a reloader and what it reloads). */
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

/** True when `parent` is there only to run `child`; `below` is what already belongs to the child's tree. */
function runsOnly(parent: Proc, child: Proc, below: ReadonlySet<number>, around: Surroundings): boolean {
  const above = read(parent);
  const kind = bystander(above.program, parent.comm);
  const onlyChild = (around.children.get(parent.pid) ?? []).every(
    (other) => other.state === 'Z' || below.has(other.pid),
  );
  if (kind === 'shell') return !isInteractiveShell(parent.argv) && onlyChild;
  if (kind === 'terminal')
    return (
      (above.program.name === 'su' || above.program.name === 'sudo' || above.program.name === 'doas') &&
      onlyChild
    );
  if (kind !== null) return false;
  if (sameProgram(above, read(child), parent, child)) return true;
  return above.names.some((name) => RUNNERS.has(name)) && onlyChild;
}

/** Climbs from a stray to the topmost process that exists only to run it. */
export function treeTop(
  snapshot: Snapshot,
  stray: Proc,
  place: Place,
  around = surroundings(snapshot, place),
): Proc {
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

/** Plans the tree of one stray on one snapshot. `top` may be given where it is known from an earlier one. */
export function planTree(
  snapshot: Snapshot,
  stray: Proc,
  place: Place,
  around = surroundings(snapshot, place),
): TreePlan {
  const top = treeTop(snapshot, stray, place, around);
  return { top, members: gather(snapshot, [top], new Set(), place, around) };
}

/**
 * Everything that belongs to `roots`: their descendants; processes of the same singlepoll run and spawn; members of
 * sessions and groups that one of them leads or led. `formerPids` are members that have left already: their
 * pids cannot have been reused as long as a session or group of that number lives. `formerCookies` are theirs.
 */
export function gather(
  snapshot: Snapshot,
  roots: readonly Proc[],
  formerPids: ReadonlySet<number>,
  place: Place,
  around = surroundings(snapshot, place),
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
    // A pager or a terminal at the end of a pipe is a person's, whatever group it is in.
    pending = [...snapshot.procs.values()].filter(
      (proc) => !members.has(proc.pid) && isRelated(proc) && enter(proc) && !standsBy(proc),
    );
  } while (pending.length > 0);
  return [...members.values()];
}

/** What processes of one run and spawn of this bot have in common; null for all others. */
export function cookieOf(proc: Proc, place: Pick<Place, 'botId'>): string | null {
  const env = proc.env;
  return env && env.bot === place.botId && env.run !== null ? `${env.run} ${env.spawn}` : null;
}

function standsBy(proc: Proc): boolean {
  const kind = bystander(readProgram(proc.argv, proc.comm), proc.comm);
  return kind !== null && kind !== 'proxy' && !(kind === 'shell' && !isInteractiveShell(proc.argv));
}

/** False for what no plan may hold: ourselves, those above us, our worker, other bots' workers, terminals, people's shells. */
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
