/**
 * Finds and stops strays on this machine: takes a snapshot, reports grade (grade.ts) and tree (tree.ts) of each stray, and stops
 * trees. `look` waits for the details of new processes; `quickLook`, for the moment before a respawn, takes one small read
 * per process.
 */

import { hasProcfs, readText, userName } from '../machine/procfs.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { type Evidence, type Graded, holdsToken, NO_EVIDENCE, survey } from './grade.ts';
import { createInspector, type Inspector, type Sought } from './inspector.ts';
import type { Grade, Proc, Respawner, Snapshot } from './process.ts';
import { createProcesses, type Processes } from './processes.ts';
import { psHands, psProcesses } from './ps.ts';
import type { Target } from './stop.ts';
import { type Hands, linuxHands, type StopResult, stopTargets } from './stop.ts';
import {
  ancestorsOf,
  cookieOf,
  gather,
  leftBy,
  type Place,
  type Surroundings,
  surroundings,
  treeTop,
} from './tree.ts';

/** A graded process as `status` and `who` show it; every text is safe to print. */
export interface Stray extends Target {
  readonly user: string;
  readonly command: string;
  readonly cwd: string | null;
  /** ISO 8601. */
  readonly startedAt: string | null;
  readonly grade: Grade;
  readonly proof: readonly string[];
  readonly respawner: Respawner | null;
  /** All that is stopped with it, from the top. A hint's tree is the process alone. */
  readonly tree: readonly TreeRow[];
  /** The parent of its tree's top, which may start it again. Null if that is gone or is pid 1. */
  readonly parent: { readonly pid: number; readonly command: string } | null;
  /** Ids of the other bots that it polls, as far as its tokens can be read: stopping it silences them, too. */
  readonly silences: readonly string[];
  /** It holds the token of this bot. */
  readonly holdsToken: boolean;
  /** The living supervisor that it belongs to. Such a process is graded `likely` at most and never stopped. */
  readonly supervisor: { readonly pid: number } | null;
}

/** One process of a stray's tree. */
interface TreeRow extends Target {
  readonly ppid: number;
  readonly command: string;
  /** The environment marker that all processes of one run and spawn share; null: it has none. */
  readonly cookie: string | null;
}

export interface Survey {
  /** Strongest grade first. */
  readonly strays: readonly Stray[];
  readonly uninspectable: {
    readonly count: number;
    /** How many of `count` block their reader (a dead mount, for example) and were given up. */
    readonly stuck?: number;
    /** Processes on which the `--stray` patterns took longer than 50 ms and were given up. */
    readonly unmatched?: number;
    readonly users: Readonly<Record<string, number>>;
    readonly hidden: boolean;
    /** Their names if they are few, otherwise empty. */
    readonly names: readonly string[];
  };
  /** How many processes could be inspected. */
  readonly inspected: number;
  readonly tookMs: number;
  /** All processes of this snapshot that ran the same commands in the same folders, whatever their grade. */
  readonly copiesOf?: (strays: readonly Stray[]) => readonly Target[];
}

/** Finds the process manager that would start a stray again. Null: none, or not found out in time. */
type RespawnerFinder = (stray: Proc, snapshot: Snapshot) => Promise<Respawner | null>;

/** Its fields are read after the processes were listed. They may be getters, as a pid may have been reused before that. */
export interface LookOptions {
  /** The worker that lives now; null between two workers. */
  readonly worker?: Place['worker'];
  readonly helperPids?: Place['helperPids'];
  /** Pid of the previous worker: what is left of its session is our own leftover. */
  readonly former?: number | null;
  /** What the experiment showed, if there was one. */
  readonly evidence?: Evidence;
  /** Once aborted, no further signal is sent. */
  readonly signal?: AbortSignal;
}

interface StopStraysOptions extends LookOptions {
  readonly stopTimeoutMs: number;
  /** Wait after SIGKILL; default 5000. */
  readonly killWaitMs?: number;
}

export interface StrayStop extends StopResult {
  /** The strays that are gone, and below those that are not. */
  readonly gone: readonly Stray[];
  readonly left: readonly Stray[];
}

export interface StrayFinder {
  look(options?: LookOptions): Promise<Survey>;
  /** Synchronous. Of processes that are new it reads only the stat lines. */
  quickLook(options?: LookOptions): Survey;
  /** Stops strays of an earlier survey with their trees. Which of them may be stopped is the caller's decision. */
  stop(strays: readonly Stray[], options: StopStraysOptions): Promise<StrayStop>;
}

const KILL_WAIT_MS = 5_000;
/** How long the details of processes may take that a tree has started while it is being stopped. */
const GROWN_WAIT_MS = 1_000;

/** Through these a finder sees and signals processes. The simulation supplies its own. */
export interface Instruments {
  readonly processes: Processes;
  readonly hands: Hands;
  readonly findRespawner: RespawnerFinder | null;
  /** User id that we run as. */
  readonly uid?: number;
}

/** This machine's instruments. All finders of one bot share an inspector. */
export interface Eyes {
  readonly inspector: Inspector;
  readonly processes: Processes;
  /** True: processes are read from /proc. False: from ps. */
  readonly procfs: boolean;
}

export function openEyes(sought: Sought & { readonly procfs?: boolean }): Eyes {
  const inspector = createInspector(sought);
  const procfs = sought.procfs ?? hasProcfs();
  return { inspector, processes: procfs ? createProcesses(inspector) : psProcesses(sought), procfs };
}

/** Without `managers` no stray's service manager is looked for. */
export function openFinder(options: { botId: string; eyes: Eyes; managers?: boolean }): StrayFinder {
  const { botId, eyes, managers = true } = options;
  const { inspector, processes, procfs } = eyes;
  const findRespawner: RespawnerFinder = (stray, snapshot) => {
    const above = ancestorsOf(snapshot, stray.pid).flatMap((pid) => snapshot.procs.get(pid) ?? []);
    return inspector.manager([stray, ...above]);
  };
  const hands = procfs ? linuxHands : psHands;
  return createStrayFinder(botId, {
    processes,
    hands,
    findRespawner: managers && procfs ? findRespawner : null,
  });
}

export function createStrayFinder(botId: string, instruments: Instruments): StrayFinder {
  const { processes, hands, findRespawner, uid = process.geteuid?.() ?? -1 } = instruments;
  /** The previous worker whose session was found empty. Its pid may have been reused since, so it is not looked for again. */
  let emptied: number | null = null;

  function stand(snapshot: Snapshot, look: LookOptions): [Place, Surroundings] {
    const { worker = null, helperPids } = look;
    const place: Place = { botId, selfPid: process.pid, worker, helperPids };
    return [place, surroundings(snapshot, place)];
  }

  /** What is left of the previous worker's session, with or without our environment marker. */
  function leftoversIn(snapshot: Snapshot, around: Surroundings, former: number | null): Set<number> {
    if (former === null || former === emptied) return new Set();
    const left = leftBy(snapshot, former, around);
    if (left.length === 0) emptied = former;
    return new Set(left.map(({ pid }) => pid));
  }

  function see(snapshot: Snapshot, look: LookOptions) {
    const [place, around] = stand(snapshot, look);
    const leftovers = leftoversIn(snapshot, around, look.former ?? null);
    const evidence = look.evidence ?? NO_EVIDENCE;
    const graded = survey(snapshot, { ...place, uid, leftovers, ...evidence }, around);
    return { snapshot, place, around, graded, evidence };
  }

  function show(
    seen: ReturnType<typeof see>,
    respawners: ReadonlyMap<Graded, Respawner | null>,
  ): Omit<Survey, 'tookMs'> {
    const { snapshot, place, around, evidence } = seen;
    const startedAt = startClock();
    const strays = seen.graded.map((one): Stray => {
      const { proc, grade, supervisor } = one;
      const isHint = grade === 'hint';
      const top = isHint ? proc : treeTop(snapshot, proc, place, around);
      const tree = isHint ? [proc] : gather(snapshot, [top], new Set(), place, around);
      const parent = snapshot.procs.get(top.ppid);
      const otherBots = proc.otherBots ?? [];
      return {
        ...{ pid: proc.pid, startId: proc.startId, startedAt: startedAt(proc.startId), grade },
        user: plain(userName(proc.uid), 40),
        command: commandOf(proc),
        cwd: proc.cwd === null ? null : plain(proc.cwd),
        proof: one.proof.map((text) => plain(text)),
        respawner: respawners.get(one) ?? null,
        tree: tree.map((it) => toRow(it, place)),
        parent: parent && parent.pid > 1 ? { pid: parent.pid, command: commandOf(parent) } : null,
        holdsToken: holdsToken(proc),
        silences: evidence.holdsAnother?.has(proc.pid) ? otherBots : [],
        supervisor: supervisor === null ? null : { pid: supervisor },
      };
    });
    const { byUid, first, ...counts } = snapshot.uninspectable;
    const users = Object.fromEntries([...byUid].map(([owner, n]) => [plain(userName(owner), 40), n]));
    const keyOf = ({ cwd, command }: Pick<Stray, 'cwd' | 'command'>) => `${cwd}\n${command}`;
    return {
      strays,
      uninspectable: {
        ...{ ...counts, users },
        names:
          counts.count > first.length ? [] : first.map(({ pid, comm }) => `pid ${pid} (${plain(comm, 40)})`),
      },
      inspected: Math.max(0, snapshot.procs.size - counts.count),
      copiesOf(originals) {
        const keys = new Set(originals.map(keyOf));
        return [...snapshot.procs.values()].filter((proc) =>
          keys.has(keyOf({ cwd: proc.cwd === null ? null : plain(proc.cwd), command: commandOf(proc) })),
        );
      },
    };
  }

  /** Those of `listed` that still live, and all that belongs to them now. */
  function grow(
    snapshot: Snapshot,
    listed: readonly Target[],
    cookies: readonly string[],
    look: LookOptions,
  ) {
    const [place, around] = stand(snapshot, look);
    const roots: Proc[] = [];
    const former = new Set<number>();
    for (const { pid, startId } of listed) {
      const proc = snapshot.procs.get(pid);
      if (!proc || (proc.startId === startId && proc.state === 'Z')) former.add(pid);
      else if (proc.startId === startId) roots.push(proc);
    }
    const found = gather(snapshot, roots, former, place, around, cookies);
    return found.map(({ pid, startId }) => ({ pid, startId }));
  }

  return {
    async look(look = {}) {
      const startedMs = hands.nowMs();
      const snapshot = await processes.snapshot();
      const seen = see(snapshot, look);
      const respawners = new Map<Graded, Respawner | null>();
      for (const one of findRespawner ? seen.graded : []) {
        if (one.grade === 'hint') continue;
        // If it has ended since it was listed, a manager may still keep the rest of its tree alive.
        const isThere = hands.look(one.proc.pid)?.startId === one.proc.startId;
        const asked = isThere ? one.proc : treeTop(snapshot, one.proc, seen.place, seen.around);
        respawners.set(one, await findRespawner!(asked, snapshot));
      }
      return { ...show(seen, respawners), tookMs: hands.nowMs() - startedMs };
    },
    quickLook(look = {}) {
      const startedMs = hands.nowMs();
      const shown = show(see(processes.quick(), look), new Map());
      return { ...shown, tookMs: hands.nowMs() - startedMs };
    },
    async stop(strays, stop) {
      const rows = strays.flatMap(({ tree }) => tree);
      const cookies = rows.flatMap(({ cookie }) => cookie ?? []);
      const result = await stopTargets(grow(processes.quick(), rows, cookies, stop), {
        stopTimeoutMs: stop.stopTimeoutMs,
        killWaitMs: stop.killWaitMs ?? KILL_WAIT_MS,
        grown: async (entries) =>
          grow(await processes.snapshot({ timeoutMs: GROWN_WAIT_MS }), entries, cookies, stop),
        halt: stop.signal,
        hands,
      });
      const identity = ({ pid, startId }: Target) => `${pid} ${startId}`;
      const alive = new Set(result.survivors.map(identity));
      const left = strays.filter(({ tree }) => tree.some((row) => alive.has(identity(row))));
      return { ...result, gone: strays.filter((stray) => !left.includes(stray)), left };
    },
  };
}

function toRow(proc: Proc, place: Place): TreeRow {
  const { pid, startId, ppid } = proc;
  return { pid, startId, ppid, command: commandOf(proc), cookie: cookieOf(proc, place) };
}

export function commandOf({ argv, comm }: Pick<Proc, 'argv' | 'comm'>): string {
  return plainCommand(argv.length > 0 ? argv : [comm]);
}

/**
 * Converts start times into clock time; made once per look. A clock tick is 1/100 s (USER_HZ) on every Linux that Node
 * runs on; without /proc a start time is a date already.
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
