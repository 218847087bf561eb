/**
 * Finds and stops strays on this machine: looks (`lookout.ts`), shows what `core/grade.ts` says of each process, plans
 * with `core/tree.ts` and carries the plan out. Two looks: `look` reads everything again and may wait for a connection to be seen; `quickLook` is for the moment
 * before a respawn and costs one small read per process.
 */
import type { Place } from '../core/family.ts';
import { type Graded, isStopped } from '../core/grade.ts';
import type { Target } from '../core/ladder.ts';
import { cookieOf, gather, planTree, type TreePlan, treeTop } from '../core/tree.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { createLookout, identity, type Lookout, type Seen, type Sought } from './lookout.ts';
import type { Grade, Proc, Respawner, Snapshot } from './process.ts';
import { hasProcfs, readText } from './procfs.ts';
import { type Hands, linuxHands, type StopResult, stopTargets } from './stop.ts';
import { userName } from './users.ts';

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
  /** Who started the top of its tree: the one to ask when it comes back. Null where that is gone or pid 1. */
  readonly parent: { readonly pid: number; readonly command: string } | null;
}

export interface Survey {
  /** Strongest grade first. */
  readonly strays: readonly Stray[];
  readonly uninspectable: {
    readonly count: number;
    readonly users: Readonly<Record<string, number>>;
    readonly hidden: boolean;
  };
  readonly tookMs: number;
}

/** Names the process manager that would bring a stray back, or null. */
export type RespawnerFinder = (
  top: Proc,
  stray: Proc,
  snapshot: Snapshot,
) => Respawner | null | Promise<Respawner | null>;

export interface StrayFinderOptions extends Sought {
  readonly findRespawner?: RespawnerFinder;
}

export interface LookOptions {
  /** The worker that lives now; null between two workers. */
  readonly worker?: Place['worker'];
  readonly helperPids?: ReadonlySet<number>;
  /** Milliseconds to watch token holders without a connection for one, as a poller has none between two polls. */
  readonly settleMs?: number;
  /** Aborted: no more watching, and no further signal to anybody. */
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
  /** Synchronous; no waiting, no name resolution, working folders of known processes from memory. */
  quickLook(options?: LookOptions): Survey;
  /** What stopping a stray of the last surveys would stop, from the top; empty when it is unknown. */
  planOf(stray: Stray): readonly TreeRow[];
  /** Stops strays of an earlier survey with their trees. Which of them may be stopped is the caller's decision. */
  stop(strays: readonly Stray[], options: StopStraysOptions): Promise<StrayStop>;
}

const SAMPLE_EVERY_MS = 50;
const KILL_WAIT_MS = 5_000;

interface Found {
  readonly one: Graded;
  readonly seen: Seen;
}

function whoOf(look: LookOptions): Pick<Place, 'worker' | 'helperPids'> {
  return { worker: look.worker ?? null, helperPids: look.helperPids ?? new Set() };
}

/** What a finder sees and acts with; the simulation puts its own in. */
export interface Instruments {
  readonly lookout: Lookout;
  readonly hands: Hands;
}

export function createStrayFinder(
  options: StrayFinderOptions,
  { lookout, hands }: Instruments = { lookout: createLookout(options), hands: linuxHands },
): StrayFinder {
  const plans = new WeakMap<Stray, () => TreePlan>();
  /** Whose connection was seen once: a poller has none between two polls, and is a poller all the same. */
  const proven = new Set<string>();

  function see(look: LookOptions, fresh: boolean): Seen {
    const seen = lookout.see(whoOf(look), fresh, proven);
    if (proven.size > 1_000) proven.clear();
    for (const { grade, proc } of seen.graded) if (grade === 'proven') proven.add(identity(proc));
    return seen;
  }

  /**
   * Watches those whose proof is incomplete, until it is complete or the time is over. Also catches what comes and
   * goes meanwhile (a shell script that polls with curl), with the look that showed it; seen once only, it may have
   * been a single message, and is let go.
   */
  async function settle(first: Seen, look: LookOptions): Promise<Found[]> {
    const caught = new Map<string, Found>();
    const sightings = new Map<string, number>();
    const topOf = ({ one, seen }: Found) =>
      identity(treeTop(seen.snapshot, one.proc, seen.place, seen.around));
    const note = (seen: Seen) => {
      for (const one of seen.graded) {
        if (!isStopped(one.grade)) continue;
        const found = { one, seen };
        const top = topOf(found);
        caught.set(identity(one.proc), found);
        sightings.set(top, (sightings.get(top) ?? 0) + 1);
      }
    };
    note(first);
    let seen = first;
    const untilMs = hands.nowMs() + (look.settleMs ?? 0);
    while (seen.graded.some((one) => one.open) && hands.nowMs() < untilMs && !look.signal?.aborted) {
      await hands.pause(Math.min(SAMPLE_EVERY_MS, Math.max(1, untilMs - hands.nowMs())));
      const open = new Map(
        seen.graded.filter((one) => one.open).map((one) => [one.proc.pid, identity(one.proc)]),
      );
      for (const pid of lookout.connected([...open.keys()], seen.around)) proven.add(open.get(pid)!);
      seen = see(look, false);
      note(seen);
    }
    const present = new Set(seen.graded.map((one) => identity(one.proc)));
    const left = [...caught.values()].filter(
      (found) => !present.has(identity(found.one.proc)) && sightings.get(topOf(found))! > 1,
    );
    return [...left, ...seen.graded.map((one) => ({ one, seen }))];
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
      command: plainCommand(proc.argv.length > 0 ? proc.argv : [proc.comm]),
      cwd: proc.cwd === null ? null : plain(proc.cwd),
      startedAt: startedAt(proc.startId),
      grade: one.grade,
      proof: one.proof.map((text) => plain(text)),
      respawner,
      parent:
        parent && parent.pid > 1
          ? { pid: parent.pid, command: plainCommand(parent.argv.length > 0 ? parent.argv : [parent.comm]) }
          : null,
    };
    // Planned only when somebody asks: in the look before a respawn nobody does.
    if (one.grade !== 'hint') plans.set(stray, () => planTree(seen.snapshot, proc, seen.place, seen.around));
    return stray;
  }

  function report(seen: Seen, strays: readonly Stray[], startedMs: number): Survey {
    const users: Record<string, number> = {};
    for (const [owner, count] of seen.snapshot.uninspectable.byUid) users[plain(userName(owner), 40)] = count;
    const { count, hidden } = seen.snapshot.uninspectable;
    return { strays, uninspectable: { count, users, hidden }, tookMs: hands.nowMs() - startedMs };
  }

  function cookiesOf(trees: readonly TreePlan[]): string[] {
    return trees.flatMap((tree) => tree.members).flatMap((member) => cookieOf(member, options) ?? []);
  }

  /** Who of the planned trees still lives, with all that belongs to them now. */
  function targetsOf(trees: readonly TreePlan[], look: LookOptions): Target[] {
    const members = trees.flatMap((tree) => tree.members);
    return grow(members, cookiesOf(trees), look);
  }

  function grow(listed: readonly Target[], cookies: readonly string[], look: LookOptions): Target[] {
    const { snapshot, place, around } = lookout.list(whoOf(look));
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
      await lookout.refresh();
      const first = see(look, true);
      const found =
        (look.settleMs ?? 0) > 0
          ? await settle(first, look)
          : first.graded.map((one) => ({ one, seen: first }));
      const startedAt = startClock();
      const strays: Stray[] = [];
      for (const { one, seen } of found) {
        let respawner: Respawner | null = null;
        if (options.findRespawner && one.grade !== 'hint') {
          const top = treeTop(seen.snapshot, one.proc, seen.place, seen.around);
          respawner = await options.findRespawner(top, one.proc, seen.snapshot);
        }
        strays.push(toStray(one, seen, startedAt, respawner));
      }
      return report(first, strays, startedMs);
    },
    quickLook(look = {}) {
      const startedMs = hands.nowMs();
      const seen = see(look, false);
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
      const withoutProcfs = hands === linuxHands && !(options.procfs ?? hasProcfs());
      const planned = new Map(strays.map((stray) => [stray, plans.get(stray)?.()]));
      const trees = strays.flatMap((stray) => planned.get(stray) ?? []);
      const cookies = cookiesOf(trees);
      const result = await stopTargets(targetsOf(trees, stop), {
        stopTimeoutMs: stop.stopTimeoutMs,
        killWaitMs: stop.killWaitMs ?? KILL_WAIT_MS,
        grown: (members) => grow(members, cookies, stop),
        halt: stop.signal,
        hands: withoutProcfs ? (await import('./ps.ts')).psHands : hands,
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
