/** Finds and stops strays on this machine: takes a snapshot, reports grade (grade.ts) and tree (tree.ts) of each, and stops trees. */

import type { Config } from '../config/load.ts';
import { realPath } from '../files.ts';
import { hasProcfs, type ProcessId, ticksNow, userName } from '../machine/procfs.ts';
import { plain, plainCommand } from '../output/plain.ts';
import type { StrayEntry } from '../supervisor/status.ts';
import { type Evidence, type Graded, holdsToken, NO_EVIDENCE, survey } from './grade.ts';
import { createInspector, type Sought } from './inspector.ts';
import { identityOf, type Proc, type Respawner, type Snapshot } from './process.ts';
import { createProcesses, type Processes, psHands, psProcesses } from './processes.ts';
import { type Hands, linuxHands, type StopResult, stopTargets } from './stop.ts';
import {
  ancestorsOf,
  cookieOf,
  gather,
  leftBy,
  type Place,
  stillThere,
  surroundings,
  treeTop,
} from './tree.ts';

/** A graded process; every text is safe to print. */
export interface Stray extends StrayEntry, ProcessId {
  /** All that is stopped with it, from the top. A hint's tree is the process alone. */
  readonly tree: readonly TreeRow[];
  /** The parent of its tree's top, which may start it again. Null if that is gone or is pid 1. */
  readonly parent: { readonly pid: number; readonly command: string } | null;
  /** Ids of the other bots that it polls, as far as its tokens can be read: stopping it silences them, too. */
  readonly silences: readonly string[];
  readonly holdsToken: boolean;
  /** Pid of the living supervisor that it belongs to. Such a process is graded `likely` at most and never stopped. */
  readonly supervisor: number | null;
}

interface TreeRow extends ProcessId {
  readonly ppid: number;
  readonly command: string;
  /** The environment marker that all processes of one run and spawn share; null: it has none. */
  readonly cookie: string | null;
}

export interface Survey extends Pick<Snapshot, 'uninspectable'> {
  /** Strongest grade first. */
  readonly strays: readonly Stray[];
  /** All processes, whatever their grade. */
  readonly present: readonly ProcessId[];
}

/** Its fields are read after the processes were listed. They may be getters, as a pid may have been reused before that. */
export interface LookOptions {
  /** The worker that lives now; null between two workers. */
  readonly worker?: Place['worker'];
  /** Pid of the previous worker: what is left of its session, with or without our environment marker, is our own leftover. */
  readonly former?: number | null;
  readonly evidence?: Evidence | undefined;
  /** Once aborted, no further signal is sent. */
  readonly signal?: AbortSignal;
}

export interface StrayStop extends StopResult {
  readonly gone: readonly Stray[];
  readonly left: readonly Stray[];
}

export type StrayFinder = ReturnType<typeof createStrayFinder>;

/** How long the details of processes may take that a tree has started while it is being stopped. */
const GROWN_WAIT_MS = 1_000;

/** How a finder sees and signals processes. The simulation supplies its own. */
interface Instruments {
  readonly processes: Pick<Processes, 'snapshot' | 'quick'>;
  readonly hands: Hands;
  /** Finds the process manager that would start a stray again. Null: none, or not found out in time. */
  findRespawner(stray: Proc, snapshot: Snapshot): Promise<Respawner | null>;
  readonly uid?: number;
}

/** Everything that looks at this machine for one bot. */
export type Eyes = ReturnType<typeof openEyes>;

export function eyesFor({ token, botId, stray, strayScope, cwd }: Config): Eyes {
  const projectDir = realPath(cwd);
  return openEyes({ token, botId: String(botId ?? ''), patterns: stray, scope: strayScope, projectDir });
}

/** `procfs`: processes are read from /proc, otherwise from ps. */
export function openEyes(sought: Sought, procfs = hasProcfs()) {
  const inspector = createInspector(sought);
  const processes = procfs ? createProcesses(inspector) : psProcesses(sought);
  const finder = createStrayFinder(sought.botId, {
    processes,
    hands: procfs ? linuxHands : psHands,
    async findRespawner(stray, { procs }) {
      const above = ancestorsOf(procs, stray.pid).flatMap((pid) => procs.get(pid) ?? []);
      return procfs ? await inspector.manager([stray, ...above]) : null;
    },
  });
  return { processes, finder, close: inspector.close };
}

export function createStrayFinder(botId: string, instruments: Instruments) {
  const { processes, hands, findRespawner, uid = process.geteuid?.() ?? -1 } = instruments;

  const aroundIn = (snapshot: Snapshot, { worker = null }: LookOptions) =>
    surroundings(snapshot, { botId, selfPid: process.pid, worker });

  /** Without the managers, which have to be asked. */
  function show(snapshot: Snapshot, look: LookOptions): Survey {
    const { procs, uninspectable } = snapshot;
    const { former = null, evidence = NO_EVIDENCE } = look;
    const around = aroundIn(snapshot, look);
    const leftovers = new Set(former === null ? [] : leftBy(former, around).map(({ pid }) => pid));
    const startedAt = startClock();
    const strays = survey({ uid, leftovers, ...evidence }, around).map((one): Stray => {
      const { proc, grade, supervisor } = one;
      const isHint = grade === 'hint';
      const top = isHint ? proc : treeTop(proc, around);
      const tree = isHint ? [proc] : gather([top], around);
      const parent = procs.get(top.ppid);
      return {
        ...{ pid: proc.pid, startId: proc.startId, startedAt: startedAt(proc.startId), grade },
        user: plain(userName(proc.uid), 40),
        command: commandOf(proc),
        cwd: proc.cwd === null ? null : plain(proc.cwd),
        proof: one.proof.map((text) => plain(text)),
        respawner: null,
        tree: tree.map((it) => ({
          ...{ pid: it.pid, startId: it.startId, ppid: it.ppid },
          ...{ command: commandOf(it), cookie: cookieOf(it, around) },
        })),
        parent: parent && parent.pid > 1 ? { pid: parent.pid, command: commandOf(parent) } : null,
        ...{ supervisor, holdsToken: holdsToken(proc) },
        silences: silencedBy(one, tree, evidence),
      };
    });
    return { strays, uninspectable, present: [...procs.values()] };
  }

  /** Those of `listed` that still live, and all that belongs to them now. */
  function grow(
    snapshot: Snapshot,
    listed: readonly ProcessId[],
    cookies: readonly string[],
    look: LookOptions,
  ): ProcessId[] {
    const { living, former } = stillThere(listed, snapshot);
    return gather(living, aroundIn(snapshot, look), former, cookies);
  }

  return {
    /** Waits for the details of new processes. */
    async look(look: LookOptions = {}): Promise<Survey> {
      const snapshot = await processes.snapshot();
      const shown = show(snapshot, look);
      const strays: Stray[] = [];
      for (const stray of shown.strays) {
        // If it has ended since it was listed, a manager may still keep the rest of its tree alive.
        const isThere = hands.look(stray.pid)?.startId === stray.startId;
        const asked = snapshot.procs.get(isThere ? stray.pid : stray.tree[0]!.pid)!;
        const respawner = stray.grade === 'hint' ? null : await findRespawner(asked, snapshot);
        strays.push({ ...stray, respawner });
      }
      return { ...shown, strays };
    },
    /** Synchronous, for the moment before a respawn: of processes that are new it reads only the stat lines. */
    quickLook: (look: LookOptions = {}): Survey => show(processes.quick(), look),
    /** Stops strays of an earlier survey with their trees. Which of them may be stopped is the caller's decision. */
    async stop(strays: readonly Stray[], stop: LookOptions & { stopTimeoutMs: number }): Promise<StrayStop> {
      const rows = strays.flatMap(({ tree }) => tree);
      const cookies = rows.flatMap(({ cookie }) => cookie ?? []);
      const result = await stopTargets(grow(processes.quick(), rows, cookies, stop), {
        stopTimeoutMs: stop.stopTimeoutMs,
        grown: async (entries) =>
          grow(await processes.snapshot({ timeoutMs: GROWN_WAIT_MS }), entries, cookies, stop),
        halt: stop.signal,
        hands,
      });
      const alive = new Set(result.survivors.map(identityOf));
      const left = strays.filter(({ tree }) => tree.some((row) => alive.has(identityOf(row))));
      return { ...result, gone: strays.filter((stray) => !left.includes(stray)), left };
    },
  };
}

/** The other bots that it polls itself, or whose pollers are in its tree: a program may run each of its bots in a child. */
function silencedBy({ proc, grade }: Graded, tree: readonly Proc[], evidence: Evidence): string[] {
  const isOfAnother = (it: Proc) => it !== proc && evidence.connected.has(it.pid) && !holdsToken(it);
  const others = grade === 'own' || grade === 'hint' ? [] : tree.filter(isOfAnother);
  const all = [...(evidence.holdsAnother.has(proc.pid) ? [proc] : []), ...others];
  return [...new Set(all.flatMap(({ otherBots }) => otherBots))];
}

export function commandOf({ argv, comm }: Pick<Proc, 'argv' | 'comm'>): string {
  return plainCommand(argv.length > 0 ? argv : [comm]);
}

/**
 * Converts start times into clock time; made once per look. A clock tick is 1/100 s (USER_HZ) on every Linux that Node
 * runs on; without /proc a start time is a date already.
 */
function startClock(): (startId: string) => string | null {
  const upMs = ticksNow() * 10;
  const bootMs = Date.now() - upMs;
  return (startId) => {
    if (startId.includes('T')) return startId;
    return upMs > 0 ? new Date(bootMs + Number(startId) * 10).toISOString() : null;
  };
}
