/**
 * Finds and stops strays on this machine: joins the process list, env files and connections into facts, lets
 * `core/grade.ts` judge and `core/tree.ts` plan, and carries the plan out. It decides nothing itself.
 * Two looks: `look` reads everything again and may wait for a connection to be seen; `quickLook` is for the moment
 * before a respawn and costs one small read per process.
 */
import { realpathSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Place, type Surroundings, surroundings } from '../core/family.ts';
import { type Facts, type Graded, isStopped, survey } from '../core/grade.ts';
import type { Target } from '../core/ladder.ts';
import { gather, planTree, type TreePlan } from '../core/tree.ts';
import { plain, plainCommand } from '../output/plain.ts';
import { createEnvFileReader, type FileToken } from './envfile.ts';
import { createProcReader } from './proc.ts';
import type { Grade, Proc, Respawner, Snapshot } from './process.ts';
import { identityOf, readText } from './procfs.ts';
import { apiRootOf, createConnectionFinder } from './sockets.ts';
import { type StopResult, stopTargets } from './stop.ts';
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

export interface StrayFinderOptions {
  /** This bot's token; null to look for cookies and patterns only. */
  readonly token: string | null;
  readonly botId: string;
  /** Bot API root URL, not the gateway's. */
  readonly apiRoot: string;
  readonly patterns: readonly RegExp[];
  readonly scope: 'project' | 'any';
  readonly projectDir: string;
  /** Paths of env files relative to a working folder; `.env` is always among them. */
  readonly envFileNames?: readonly string[];
  readonly findRespawner?: RespawnerFinder;
}

export interface LookOptions {
  /** The worker that lives now; null between two workers. */
  readonly worker?: Place['worker'];
  readonly helperPids?: ReadonlySet<number>;
  /** Milliseconds to watch token holders without a connection for one, as a poller has none between two polls. */
  readonly settleMs?: number;
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

interface Seen {
  readonly snapshot: Snapshot;
  readonly place: Place;
  readonly around: Surroundings;
  readonly graded: readonly Graded[];
}

interface Cached {
  readonly startId: string;
  readonly cwd: string | null;
  readonly file: { readonly token: 'ours' | 'other' | 'both'; readonly name: string } | null;
}

export function createStrayFinder(options: StrayFinderOptions): StrayFinder {
  const tokens = options.token === null ? [] : [options.token];
  const reader = createProcReader({ tokens, botId: options.botId });
  const envFiles = createEnvFileReader(tokens, options.botId);
  const connections = createConnectionFinder(apiRootOf(options.apiRoot));
  const names = [...new Set(['.env', ...(options.envFileNames ?? [])])].filter(
    (name) => !name.startsWith('/'),
  );
  const projectDir = realFolder(options.projectDir);
  const uid = process.geteuid?.() ?? -1;
  const plans = new WeakMap<Stray, TreePlan>();
  let files = new Map<number, Cached>();

  /** Env files by pid. A known process keeps its answer in a quick look. */
  function filesOf(snapshot: Snapshot, fresh: boolean): Facts['envFiles'] {
    const next = new Map<number, Cached>();
    const answer = new Map<number, { token: 'ours' | 'other' | 'both'; name: string }>();
    const folders = new Map<string, Cached['file']>();
    for (const proc of snapshot.procs.values()) {
      if (proc.cwd === null || tokens.length === 0) continue;
      const old = files.get(proc.pid);
      let file: Cached['file'];
      if (!fresh && old && old.startId === proc.startId && old.cwd === proc.cwd) file = old.file;
      else file = fileIn(proc.pid, proc.cwd, folders);
      next.set(proc.pid, { startId: proc.startId, cwd: proc.cwd, file });
      if (file) answer.set(proc.pid, file);
    }
    files = next;
    return answer;
  }

  function fileIn(pid: number, cwd: string, folders: Map<string, Cached['file']>): Cached['file'] {
    // The same path may be another folder in a container: told apart by the folder's identity.
    const folder = identityOf(`/proc/${pid}/cwd`) ?? `path ${cwd}`;
    const known = folders.get(folder);
    if (known !== undefined) return known;
    let found: Cached['file'] = null;
    for (const name of names) {
      const token: FileToken = envFiles.read(`/proc/${pid}/cwd/${name}`);
      if (token !== 'none' && (found === null || token === 'ours')) found = { token, name: plain(name, 60) };
    }
    folders.set(folder, found);
    return found;
  }

  function factsFor(
    snapshot: Snapshot,
    place: Place,
    around: Surroundings,
    fresh: boolean,
    proven: ReadonlySet<string>,
  ): Facts {
    const envFileFacts = filesOf(snapshot, fresh);
    const holders: number[] = [];
    const elsewhere = new Set<number>();
    for (const proc of snapshot.procs.values()) {
      if (around.workerTree.has(proc.pid) || around.ancestors.has(proc.pid)) continue;
      const file = envFileFacts.get(proc.pid);
      if (proc.env?.holdsToken || file?.token === 'ours' || file?.token === 'both') holders.push(proc.pid);
      if (options.patterns.length > 0 && proc.cwd !== null && isElsewhere(proc, projectDir))
        elsewhere.add(proc.pid);
    }
    const connected = connections.connected(holders);
    for (const pid of holders) if (proven.has(identity(snapshot.procs.get(pid)!))) connected.add(pid);
    return {
      ...place,
      uid,
      patterns: options.patterns,
      scope: options.scope,
      projectDir,
      envFiles: envFileFacts,
      connected,
      elsewhere,
    };
  }

  function see(look: LookOptions, fresh: boolean, proven: ReadonlySet<string> = new Set()): Seen {
    const snapshot = reader.snapshot({ fresh });
    const place: Place = {
      botId: options.botId,
      selfPid: process.pid,
      worker: look.worker ?? null,
      helperPids: look.helperPids ?? new Set(),
    };
    const around = surroundings(snapshot, place);
    const facts = factsFor(snapshot, place, around, fresh, proven);
    return { snapshot, place, around, graded: survey(snapshot, facts, around) };
  }

  /** Samples connections of token holders that have none yet, until each was seen or the time is over. */
  async function settle(seen: Seen, look: LookOptions): Promise<ReadonlySet<string>> {
    const proven = new Set<string>();
    const open = seen.graded.filter(
      (one) => one.grade === 'likely' && one.proof.some((text) => text.startsWith('token in')),
    );
    const waiting = new Map(open.map((one) => [one.proc.pid, identity(one.proc)]));
    const untilMs = performance.now() + (look.settleMs ?? 0);
    while (waiting.size > 0 && performance.now() < untilMs && !look.signal?.aborted) {
      await sleep(Math.min(SAMPLE_EVERY_MS, Math.max(1, untilMs - performance.now())));
      for (const pid of connections.connected(waiting.keys())) {
        proven.add(waiting.get(pid)!);
        waiting.delete(pid);
      }
    }
    return proven;
  }

  function toStray(one: Graded, seen: Seen, respawner: Respawner | null): Stray {
    const { proc } = one;
    const plan = planTree(seen.snapshot, proc, seen.place, seen.around);
    const parent = seen.snapshot.procs.get(plan.top.ppid);
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
    if (one.grade !== 'hint') plans.set(stray, plan);
    return stray;
  }

  function report(seen: Seen, strays: readonly Stray[], startedMs: number): Survey {
    const users: Record<string, number> = {};
    for (const [owner, count] of seen.snapshot.uninspectable.byUid) users[plain(userName(owner), 40)] = count;
    const { count, hidden } = seen.snapshot.uninspectable;
    return { strays, uninspectable: { count, users, hidden }, tookMs: performance.now() - startedMs };
  }

  /** Who of the planned trees still lives, with all that belongs to them now. */
  function targetsOf(trees: readonly TreePlan[], look: LookOptions): Target[] {
    const listed = new Map<number, string>();
    for (const tree of trees) for (const member of tree.members) listed.set(member.pid, member.startId);
    return grow(listed, look);
  }

  function grow(listed: ReadonlyMap<number, string>, look: LookOptions): Target[] {
    const snapshot = reader.snapshot();
    const place: Place = {
      botId: options.botId,
      selfPid: process.pid,
      worker: look.worker ?? null,
      helperPids: look.helperPids ?? new Set(),
    };
    const around = surroundings(snapshot, place);
    const roots: Proc[] = [];
    const former = new Set<number>();
    for (const [pid, startId] of listed) {
      const proc = snapshot.procs.get(pid);
      if (!proc) former.add(pid);
      else if (proc.startId === startId) {
        if (proc.state === 'Z') former.add(pid);
        else roots.push(proc);
      }
    }
    return gather(snapshot, roots, former, place, around).map(({ pid, startId }) => ({ pid, startId }));
  }

  return {
    async look(look = {}) {
      const startedMs = performance.now();
      await connections.refresh();
      let seen = see(look, true);
      if ((look.settleMs ?? 0) > 0) {
        const proven = await settle(seen, look);
        if (proven.size > 0) seen = see(look, false, proven);
      }
      const strays: Stray[] = [];
      for (const one of seen.graded) {
        let respawner: Respawner | null = null;
        if (options.findRespawner && one.grade !== 'hint') {
          const { top } = planTree(seen.snapshot, one.proc, seen.place, seen.around);
          respawner = await options.findRespawner(top, one.proc, seen.snapshot);
        }
        strays.push(toStray(one, seen, respawner));
      }
      return report(seen, strays, startedMs);
    },
    quickLook(look = {}) {
      const startedMs = performance.now();
      const seen = see(look, false);
      const strays = seen.graded.map((one) => toStray(one, seen, null));
      return report(seen, strays, startedMs);
    },
    planOf(stray) {
      const members = plans.get(stray)?.members ?? [];
      return members.map(({ pid, ppid, argv, comm }) => ({
        pid,
        ppid,
        command: plainCommand(argv.length > 0 ? argv : [comm]),
      }));
    },
    async stop(strays, stop) {
      const trees = strays.flatMap((stray) => plans.get(stray) ?? []);
      const result = await stopTargets(targetsOf(trees, stop), {
        stopTimeoutMs: stop.stopTimeoutMs,
        killWaitMs: stop.killWaitMs ?? KILL_WAIT_MS,
        grown: (members) => grow(new Map(members.map(({ pid, startId }) => [pid, startId])), stop),
        ...(stop.now ? { now: stop.now } : {}),
      });
      const alive = new Set(result.survivors.map(identity));
      const left = strays.filter((stray) =>
        (plans.get(stray)?.members ?? []).some((member) => alive.has(identity(member))),
      );
      return { ...result, gone: strays.filter((stray) => !left.includes(stray)), left };
    },
  };
}

export { isStopped };

function identity(target: { readonly pid: number; readonly startId: string }): string {
  return `${target.pid} ${target.startId}`;
}

function realFolder(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** True when the working folder's path leads to another folder here: the process lives in another root. */
function isElsewhere(proc: Proc, projectDir: string): boolean {
  const { cwd, pid } = proc;
  if (cwd === null || !cwd.startsWith(projectDir) || cwd.endsWith(' (deleted)')) return false;
  const there = identityOf(`/proc/${pid}/cwd`);
  return there !== null && there !== identityOf(cwd);
}

/** Clock ticks are counted in units of 1/100 s on every Linux that Node runs on (USER_HZ). */
function startedAt(startId: string): string | null {
  const upSeconds = Number((readText('/proc/uptime') ?? '').split(' ')[0]);
  const ticks = Number(startId);
  if (!(upSeconds > 0) || !Number.isFinite(ticks)) return null;
  return new Date(Date.now() - upSeconds * 1000 + ticks * 10).toISOString();
}
