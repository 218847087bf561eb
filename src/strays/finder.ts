/**
 * Finds and stops strays on this machine: takes a snapshot, shows what `grade.ts` says of each process, plans with `tree.ts`
 * and carries the plan out. `look` waits for the details of new processes, `quickLook` costs one small read per process
 * and is for the moment before a respawn.
 */

import { hasProcfs, readText, userName } from '../machine/procfs.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { ancestorsOf, leftBy, type Place, type Surroundings, surroundings } from './family.ts';
import { type Evidence, type Graded, holdsToken, isStopped, NO_EVIDENCE, survey } from './grade.ts';
import { createInspector, type Inspector, type Sought } from './inspector.ts';
import type { Grade, Proc, Respawner, Snapshot } from './process.ts';
import { createProcesses, type Processes } from './processes.ts';
import { type Hands, linuxHands, type StopResult, stopTargets } from './stop.ts';
import type { Target } from './stop-plan.ts';
import { cookieOf, gather, planTree, type TreePlan, treeTop } from './tree.ts';

/** A graded process as `status` and `who` show it; every text is safe to print. */
export interface Stray {
  readonly pid: number;
  readonly startId: string;
  readonly user: string;
  readonly command: string;
  readonly cwd: string | null;
  /** ISO 8601. */
  readonly startedAt: string | null;
  readonly grade: Grade;
  readonly proof: readonly string[];
  readonly respawner: Respawner | null;
  /** Where its tree begins: itself, or what exists only to run it. */
  readonly top?: Target;
  /** Who started the top of its tree: the one to ask when it comes back. Null where that is gone or pid 1. */
  readonly parent: { readonly pid: number; readonly command: string } | null;
  /** Other bots that it polls as well, as far as its tokens can be read: they fall silent with it. */
  readonly silences?: readonly string[];
  /** It holds the token of this bot and of no other. */
  readonly holdsToken?: boolean;
  /** The living supervisor that it belongs to: it is `likely` at most then, and never stopped. */
  readonly supervisor?: { readonly pid: number } | null;
}

export interface Survey {
  /** Strongest grade first. */
  readonly strays: readonly Stray[];
  readonly uninspectable: {
    readonly count: number;
    /** Of `count`: could not be read in time, as something holds up whoever reads them. */
    readonly stuck?: number;
    /** Processes on which the `--stray` patterns took longer than 50 ms and were given up. */
    readonly unmatched?: number;
    readonly users: Readonly<Record<string, number>>;
    readonly hidden: boolean;
  };
  readonly tookMs: number;
  /** Who ran the same commands in the same folders then, proven or not. */
  readonly copiesOf?: (strays: readonly Stray[]) => readonly Target[];
}

/** Names the process manager that would bring a stray back, or null: nobody, or not found out in time. */
export type RespawnerFinder = (stray: Proc, snapshot: Snapshot) => Promise<Respawner | null>;

/** Read once the processes are listed, so that getters may tell what is true then: a pid may have gone to somebody else meanwhile. */
export interface LookOptions {
  /** The worker that lives now; null between two workers. */
  readonly worker?: Place['worker'];
  /** Pid of the worker before: what is left of its session is ours. */
  readonly former?: number | null;
  readonly helperPids?: ReadonlySet<number>;
  /** What the experiment showed; nothing where there was none. */
  readonly evidence?: Evidence;
  /** For the details of new processes; default 5000. */
  readonly timeoutMs?: number;
  /** Aborted: no further signal to anybody. */
  readonly signal?: AbortSignal;
}

export interface StopStraysOptions extends LookOptions {
  readonly stopTimeoutMs: number;
  /** Wait after SIGKILL; default 5000. */
  readonly killWaitMs?: number;
  /** Aborted: SIGKILL at once. */
  readonly now?: AbortSignal;
}

export interface StrayStop extends StopResult {
  /** The strays that are gone, and those that are not. */
  readonly gone: readonly Stray[];
  readonly left: readonly Stray[];
}

/** One process of a stray's tree, to show. */
export interface TreeRow {
  readonly pid: number;
  readonly ppid: number;
  readonly command: string;
}

export interface StrayFinder {
  look(options?: LookOptions): Promise<Survey>;
  /** Synchronous: knows of new processes only what their stat lines say. */
  quickLook(options?: LookOptions): Survey;
  /** What stopping a stray of the last surveys would stop, from the top; empty when it is unknown. */
  planOf(stray: Stray): readonly TreeRow[];
  /** Stops strays of an earlier survey with their trees. Which of them may be stopped is the caller's decision. */
  stop(strays: readonly Stray[], options: StopStraysOptions): Promise<StrayStop>;
}

const KILL_WAIT_MS = 5_000;
/** For the details of what a tree has grown while it is being stopped. */
const GROWN_WAIT_MS = 1_000;

/** One look: the list, who stands around singlepoll, and the grades. */
interface Seen {
  readonly snapshot: Snapshot;
  readonly place: Place;
  readonly around: Surroundings;
  readonly graded: readonly Graded[];
  readonly evidence: Evidence;
}

/** What a finder sees and acts with; the simulation puts its own in. */
export interface Instruments {
  readonly processes: Processes;
  readonly hands: Hands;
  readonly findRespawner: RespawnerFinder | null;
  /** User id that we run as. */
  readonly uid?: number;
  /** False: signals are sent by what ps says of start times. */
  readonly procfs?: boolean;
}

/** The instruments of this machine. One inspector serves all who look for the same bot. */
export interface Eyes {
  readonly inspector: Inspector;
  readonly processes: Processes;
  /** Processes are read from /proc, and signalled by what stands there. */
  readonly procfs: boolean;
}

export function openEyes(sought: Sought & { readonly procfs?: boolean }): Eyes {
  const inspector = createInspector(sought);
  const procfs = sought.procfs ?? hasProcfs();
  return { inspector, processes: procfs ? createProcesses(inspector) : processesOfPs(sought), procfs };
}

/** Without /proc (macOS, BSD) the list is asked of ps; the quick look has the last one. */
function processesOfPs(sought: Sought): Processes {
  let reader: Promise<import('./ps.ts').PsReader> | null = null;
  let latest: Snapshot = {
    ...{ procs: new Map(), atMs: 0 },
    uninspectable: { count: 0, stuck: 0, byUid: new Map(), hidden: false },
  };
  return {
    async snapshot() {
      reader ??= import('./ps.ts').then(({ createPsReader }) => createPsReader(sought));
      const ps = await reader;
      await ps.refresh();
      latest = ps.snapshot();
      return latest;
    },
    quick: () => latest,
  };
}

export interface FinderOptions {
  readonly botId: string;
  readonly eyes: Eyes;
  /** False: no manager is asked for. */
  readonly managers?: boolean;
}

export function openFinder({ botId, eyes, managers = true }: FinderOptions): StrayFinder {
  const { inspector, processes, procfs } = eyes;
  const findRespawner: RespawnerFinder | null =
    managers && procfs
      ? (stray, snapshot) => {
          const above = ancestorsOf(snapshot, stray.pid).flatMap((pid) => snapshot.procs.get(pid) ?? []);
          return inspector.manager([stray, ...above]);
        }
      : null;
  return createStrayFinder(botId, { processes, procfs, hands: linuxHands, findRespawner });
}

export function createStrayFinder(botId: string, instruments: Instruments): StrayFinder {
  const { processes, hands, findRespawner, procfs = true } = instruments;
  const uid = instruments.uid ?? process.geteuid?.() ?? -1;
  const plans = new WeakMap<Stray, () => TreePlan>();
  /** Who was seen in a worker's tree, and in which worker's; also what has lost its cookie and its parent since. */
  let members = new Map<string, string>();
  let formerPid: number | null = null;
  /** The last worker before whose session was found to be empty: its number may be anybody's since. */
  let emptied: number | null = null;
  let latest: { readonly spawn: string; readonly pid: number } | null = null;

  function stand(snapshot: Snapshot, look: LookOptions): Pick<Seen, 'place' | 'around'> {
    const { worker = null, helperPids = new Set<number>() } = look;
    const place: Place = { botId, selfPid: process.pid, worker, helperPids };
    return { place, around: surroundings(snapshot, place) };
  }

  function see(snapshot: Snapshot, look: LookOptions): Seen {
    const { place, around } = stand(snapshot, look);
    const leftovers = leftoversIn(snapshot, place, around, look.former ?? null);
    const evidence = look.evidence ?? NO_EVIDENCE;
    const graded = survey(snapshot, { ...place, uid, leftovers, ...evidence }, around);
    return { snapshot, place, around, graded, evidence };
  }

  /** What earlier workers have left behind, whatever it carries: their sessions, and those that were seen in their trees. */
  function leftoversIn(
    snapshot: Snapshot,
    { worker }: Place,
    around: Surroundings,
    former: number | null,
  ): Set<number> {
    const spawn = worker ? `${worker.run} ${worker.spawn}` : null;
    if (latest && latest.spawn !== spawn) formerPid = latest.pid === emptied ? null : latest.pid;
    latest = worker && spawn !== null ? { spawn, pid: worker.pid } : null;
    if (latest?.pid === emptied) emptied = null;
    const found = new Set<number>();
    const next = new Map<string, string>();
    for (const proc of snapshot.procs.values()) {
      const key = identity(proc);
      const inTree = spawn !== null && around.workerTree.has(proc.pid);
      const member = inTree ? spawn : members.get(key);
      if (member === undefined) continue;
      next.set(key, member);
      if (member !== spawn) found.add(proc.pid);
    }
    members = next;
    if (former !== null && former !== emptied) formerPid = former;
    if (formerPid !== null) {
      const left = leftBy(snapshot, formerPid, around);
      for (const { pid } of left) found.add(pid);
      if (left.length === 0) {
        emptied = formerPid;
        formerPid = null;
      }
    }
    return found;
  }

  function toStray(
    one: Graded,
    seen: Seen,
    startedAt: (startId: string) => string | null,
    respawner: Respawner | null,
  ): Stray {
    const { proc } = one;
    const top = one.grade === 'hint' ? proc : treeTop(seen.snapshot, proc, seen.place, seen.around);
    const parent = seen.snapshot.procs.get(top.ppid);
    const stray: Stray = {
      pid: proc.pid,
      startId: proc.startId,
      user: plain(userName(proc.uid), 40),
      command: commandOf(proc),
      cwd: proc.cwd === null ? null : plain(proc.cwd),
      startedAt: startedAt(proc.startId),
      grade: one.grade,
      proof: one.proof.map((text) => plain(text)),
      respawner,
      top: { pid: top.pid, startId: top.startId },
      parent: parent && parent.pid > 1 ? { pid: parent.pid, command: commandOf(parent) } : null,
      holdsToken: holdsToken(proc) && (proc.otherBots ?? []).length === 0,
      silences: seen.evidence.holdsAnother?.has(proc.pid) ? (proc.otherBots ?? []) : [],
      supervisor: one.supervisor === null ? null : { pid: one.supervisor },
    };
    // Planned only when somebody asks: in the look before a respawn nobody does.
    if (one.grade !== 'hint') plans.set(stray, () => planTree(seen.snapshot, proc, seen.place, seen.around));
    return stray;
  }

  function report(seen: Seen, strays: readonly Stray[], startedMs: number): Survey {
    const users: Record<string, number> = {};
    for (const [owner, count] of seen.snapshot.uninspectable.byUid) users[plain(userName(owner), 40)] = count;
    const { count, stuck, unmatched = 0, hidden } = seen.snapshot.uninspectable;
    return {
      strays,
      uninspectable: { count, stuck, unmatched, users, hidden },
      tookMs: hands.nowMs() - startedMs,
      copiesOf(originals) {
        const keys = new Set(originals.map(({ command, cwd }) => `${cwd}\n${command}`));
        return [...seen.snapshot.procs.values()].filter((proc) =>
          keys.has(`${proc.cwd === null ? null : plain(proc.cwd)}\n${commandOf(proc)}`),
        );
      },
    };
  }

  function cookiesOf(trees: readonly TreePlan[]): string[] {
    return trees.flatMap((tree) => tree.members).flatMap((member) => cookieOf(member, { botId }) ?? []);
  }

  /** Who of `listed` still lives, with all that belongs to them now. */
  function grow(
    snapshot: Snapshot,
    listed: readonly Target[],
    cookies: readonly string[],
    look: LookOptions,
  ): Target[] {
    const { place, around } = stand(snapshot, look);
    const roots: Proc[] = [];
    const former = new Set<number>();
    for (const { pid, startId } of listed) {
      const proc = snapshot.procs.get(pid);
      if (!proc) former.add(pid);
      else if (proc.startId === startId) {
        if (proc.state === 'Z') former.add(pid);
        else roots.push(proc);
      }
    }
    return gather(snapshot, roots, former, place, around, cookies).map(({ pid, startId }) => ({
      pid,
      startId,
    }));
  }

  return {
    async look(look = {}) {
      const startedMs = hands.nowMs();
      const { timeoutMs } = look;
      const snapshot = await processes.snapshot(timeoutMs === undefined ? {} : { timeoutMs });
      const seen = see(snapshot, look);
      const startedAt = startClock();
      const strays: Stray[] = [];
      for (const one of seen.graded) {
        const respawner = one.grade === 'hint' ? null : await findRespawner?.(one.proc, snapshot);
        strays.push(toStray(one, seen, startedAt, respawner ?? null));
      }
      return report(seen, strays, startedMs);
    },
    quickLook(look = {}) {
      const startedMs = hands.nowMs();
      const seen = see(processes.quick(), look);
      const startedAt = startClock();
      const strays = seen.graded.map((one) => toStray(one, seen, startedAt, null));
      return report(seen, strays, startedMs);
    },
    planOf(stray) {
      const members = plans.get(stray)?.().members ?? [];
      return members.map(({ pid, ppid, argv, comm }) => ({
        pid,
        ppid,
        command: plainCommand(argv.length > 0 ? argv : [comm]),
      }));
    },
    async stop(strays, stop) {
      const planned = new Map(strays.map((stray) => [stray, plans.get(stray)?.()]));
      const trees = strays.flatMap((stray) => planned.get(stray) ?? []);
      const cookies = cookiesOf(trees);
      const listed = trees.flatMap((tree) => tree.members);
      const result = await stopTargets(grow(processes.quick(), listed, cookies, stop), {
        stopTimeoutMs: stop.stopTimeoutMs,
        killWaitMs: stop.killWaitMs ?? KILL_WAIT_MS,
        grown: async (entries) =>
          grow(await processes.snapshot({ timeoutMs: GROWN_WAIT_MS }), entries, cookies, stop),
        halt: stop.signal,
        hands: procfs ? hands : (await import('./ps.ts')).psHands,
        ...(stop.now ? { now: stop.now } : {}),
      });
      const alive = new Set(result.survivors.map(identity));
      const left = strays.filter((stray) =>
        (planned.get(stray)?.members ?? []).some((member) => alive.has(identity(member))),
      );
      return { ...result, gone: strays.filter((stray) => !left.includes(stray)), left };
    },
  };
}

function commandOf({ argv, comm }: Pick<Proc, 'argv' | 'comm'>): string {
  return plainCommand(argv.length > 0 ? argv : [comm]);
}

/** A process for certain, where a pid may be reused. */
function identity(target: { readonly pid: number; readonly startId: string }): string {
  return `${target.pid} ${target.startId}`;
}

export { isStopped };

/**
 * Turns start times into clock time; made once per look. Clock ticks are counted in units of 1/100 s on every Linux
 * that Node runs on (USER_HZ); without /proc a start time is a date already.
 */
function startClock(): (startId: string) => string | null {
  let bootMs: number | null = null;
  const readBootMs = () => {
    const upSeconds = Number((readText('/proc/uptime') ?? '').split(' ')[0]);
    return upSeconds > 0 ? Date.now() - upSeconds * 1000 : Number.NaN;
  };
  return (startId) => {
    if (startId.includes('T')) return startId;
    bootMs ??= readBootMs();
    const atMs = bootMs + Number(startId) * 10;
    return Number.isFinite(atMs) ? new Date(atMs).toISOString() : null;
  };
}
