/**
 * Takes one look at the machine: joins the process list, env files and connections into facts, and has them graded.
 * Owns what is remembered between two looks; decides nothing.
 */
import { realpathSync } from 'node:fs';
import { bystander, isInert } from '../core/bystander.ts';
import { type Place, type Surroundings, surroundings } from '../core/family.ts';
import { type Facts, type Graded, survey } from '../core/grade.ts';
import { readProgram } from '../core/program.ts';
import { plain } from '../output/plain.ts';
import { createEnvFileReader, type FileToken } from './envfile.ts';
import { createProcReader } from './proc.ts';
import type { Proc, Snapshot } from './process.ts';
import { hasProcfs, identityOf } from './procfs.ts';
import type { PsReader } from './ps.ts';
import { apiRootOf, createConnectionFinder } from './sockets.ts';

/** What to look for. */
export interface Sought {
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
  /** False: do without /proc even where there is one (tests). */
  readonly procfs?: boolean;
}

/** One look: the list, who stands around singlepoll, and the grades. */
export interface Seen {
  readonly snapshot: Snapshot;
  readonly place: Place;
  readonly around: Surroundings;
  readonly graded: readonly Graded[];
}

export interface Lookout {
  /** Reads what cannot be had at once: the API root's addresses when that is due, everything where there is no /proc. */
  refresh(): Promise<void>;
  /** The list alone, with who stands around singlepoll. */
  list(around: Pick<Place, 'worker' | 'helperPids'>): Omit<Seen, 'graded'>;
  /**
   * Looks and grades. `fresh` reads again what a known process may have changed (owner, working folder, env file).
   * `proven` names those (see `identity`) whose connection was seen a moment ago.
   */
  see(around: Pick<Place, 'worker' | 'helperPids'>, fresh: boolean, proven?: ReadonlySet<string>): Seen;
  /** Those of `pids` that have a connection of their own to the API root now. */
  connected(pids: readonly number[], around: Surroundings): Set<number>;
}

/** A process for certain, where a pid may be reused. */
export function identity(target: { readonly pid: number; readonly startId: string }): string {
  return `${target.pid} ${target.startId}`;
}

type FoundFile = { readonly token: 'ours' | 'other' | 'both'; readonly name: string };

interface Cached {
  readonly startId: string;
  readonly cwd: string | null;
  readonly file: FoundFile | null;
}

export function createLookout(options: Sought): Lookout {
  const tokens = options.token === null ? [] : [options.token];
  const procfs = options.procfs ?? hasProcfs();
  const reader = createProcReader({ tokens, botId: options.botId });
  let ps: PsReader | null = null;
  const envFiles = createEnvFileReader(tokens, options.botId);
  const connections = createConnectionFinder(apiRootOf(options.apiRoot));
  const names = [...new Set(['.env', ...(options.envFileNames ?? [])])].filter(
    (name) => !name.startsWith('/'),
  );
  const projectDir = realFolder(options.projectDir);
  const uid = process.geteuid?.() ?? -1;
  let files = new Map<number, Cached>();

  /** Env files by pid. A known process keeps its answer in a quick look. */
  function filesOf(snapshot: Snapshot, fresh: boolean): Facts['envFiles'] {
    const next = new Map<number, Cached>();
    const answer = new Map<number, FoundFile>();
    for (const proc of snapshot.procs.values()) {
      if (proc.cwd === null || tokens.length === 0) continue;
      let cached = fresh ? undefined : files.get(proc.pid);
      if (!cached || cached.startId !== proc.startId || cached.cwd !== proc.cwd) {
        cached = { startId: proc.startId, cwd: proc.cwd, file: fileOf(proc) };
      }
      next.set(proc.pid, cached);
      if (cached.file) answer.set(proc.pid, cached.file);
    }
    files = next;
    return answer;
  }

  function fileOf(proc: Proc): FoundFile | null {
    let found: FoundFile | null = null;
    for (const name of names) {
      const token: FileToken = envFiles.read(`${procfs ? `/proc/${proc.pid}/cwd` : proc.cwd}/${name}`);
      if (token !== 'none' && (found === null || token === 'ours')) found = { token, name: plain(name, 60) };
    }
    return found;
  }

  function connectedOf(pids: readonly number[], around: Surroundings): Set<number> {
    const reader = ps;
    if (!reader) return connections.connected(pids, [process.pid, ...around.workerTree]);
    const hasOne = (pid: number) =>
      reader.peersOf(pid).some(({ address, port }) => connections.isApiRoot(address, port));
    return new Set(pids.filter(hasOne));
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
      const file = envFileFacts.get(proc.pid)?.token;
      const holds = proc.env?.holdsToken || proc.tokenInArgs || file === 'ours' || file === 'both';
      if (holds && mayConnect(proc)) holders.push(proc.pid);
      if (procfs && options.patterns.length > 0 && proc.cwd !== null && isElsewhere(proc, projectDir))
        elsewhere.add(proc.pid);
    }
    const connected = connectedOf(holders, around);
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

  function list(
    { worker, helperPids }: Pick<Place, 'worker' | 'helperPids'>,
    fresh = false,
  ): Omit<Seen, 'graded'> {
    const snapshot = ps ? ps.snapshot() : reader.snapshot({ fresh });
    const place: Place = { botId: options.botId, selfPid: process.pid, worker, helperPids };
    return { snapshot, place, around: surroundings(snapshot, place) };
  }

  return {
    async refresh() {
      if (!procfs) {
        ps ??= (await import('./ps.ts')).createPsReader({ tokens, botId: options.botId });
        await ps.refresh();
      }
      await connections.refresh();
    },
    list,
    see(who, fresh, proven = new Set()) {
      const { snapshot, place, around } = list(who, fresh);
      const facts = factsFor(snapshot, place, around, fresh, proven);
      return { snapshot, place, around, graded: survey(snapshot, facts, around) };
    },
    connected: connectedOf,
  };
}

/** False for programs whose connections would change nothing: bystanders, and those that never have any. */
function mayConnect(proc: Proc): boolean {
  const program = readProgram(proc.argv, proc.comm);
  return !isInert(program) && (bystander(program, proc.comm) === null || proc.env?.bot != null);
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
