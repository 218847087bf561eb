/**
 * Looks into other people's processes without ever waiting for them: all reading of strangers' arguments, environments, descriptors
 * and paths happens in a child, which is abandoned when it makes no progress (a page of a dead network file system mapped over
 * the arguments blocks whoever reads them, beyond SIGKILL at times). Started when needed, ended when idle.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { listPids, parseProcStat, readStat } from '../machine/procfs.ts';
import { distFile } from '../paths.ts';
import { toolEnvironment } from '../tools.ts';
import type { Proc, ProcDetails, Respawner } from './process.ts';

/** What to look for. */
export interface Sought {
  /** This bot's token; null to look for cookies and patterns only. */
  readonly token: string | null;
  readonly botId: string;
  readonly patterns: readonly RegExp[];
  readonly scope: 'project' | 'any';
  /** Real path of the project folder. */
  readonly projectDir: string;
}

/** First line to the child. */
export interface Greeting {
  readonly tokens: readonly string[];
  readonly botId: string;
  readonly patterns: readonly { readonly source: string; readonly flags: string }[];
  readonly scope: 'project' | 'any';
  readonly projectDir: string;
}

export type ToChild =
  | { readonly do: 'inspect'; readonly pids: readonly number[] }
  | { readonly do: 'sockets'; readonly inodes: readonly string[]; readonly pids: readonly number[] }
  | {
      readonly do: 'manager';
      readonly top: Proc;
      readonly stray: Proc;
      readonly skip: readonly number[];
    };

/** One process as the child has read it. */
export interface Inspected {
  readonly pid: number;
  readonly startId: string;
  readonly imageId: string;
  readonly details: ProcDetails;
  /** The patterns took too long on it. */
  readonly gaveUp?: boolean;
}

export type FromChild =
  | { readonly ready: true }
  | Inspected
  /** It has left. */
  | { readonly pid: number }
  /** About to read this one. */
  | { readonly at: number }
  | { readonly owner: number; readonly inodes: readonly number[] }
  | { readonly done: unknown };

/** A process for certain, where a pid may be reused. */
export interface ProcessKey {
  readonly pid: number;
  readonly startId: string;
  readonly imageId: string;
}

export interface InspectOptions {
  /** For all of it; default 5000. */
  readonly timeoutMs?: number;
}

export interface SocketOwners {
  /** Inode → pids that have it among their descriptors. */
  readonly owners: ReadonlyMap<number, readonly number[]>;
  /** Processes whose descriptors could not be seen, or not in time. */
  readonly unseen: number;
}

export interface Inspector {
  /** Details of those that could be read in time; who has left is in neither list. */
  inspect(
    processes: readonly ProcessKey[],
    options?: InspectOptions,
  ): Promise<{ readonly seen: readonly Inspected[]; readonly stuck: readonly ProcessKey[] }>;
  /**
   * Who has a socket open. Looks at `hintPids` first, and at nobody else where these have them all. Several processes may share
   * one.
   */
  ownersOfSockets(
    inodes: readonly number[],
    options?: InspectOptions & { readonly hintPids?: readonly number[] },
  ): Promise<SocketOwners>;
  /** Who would start a stray again; `unseen` where that could not be found out in time. */
  manager(top: Proc, stray: Proc, options?: InspectOptions): Promise<Respawner | null | 'unseen'>;
  /** Ends the child; without this it ends by itself soon. */
  close(): void;
}

const TIMEOUT_MS = 5_000;
const STALL_MS = 1_000;
const IDLE_MS = 5_000;
const STUCK_MAX = 1_000;

interface Job {
  /** What is left to ask; null: nothing. */
  readonly ask: () => ToChild | null;
  readonly take: (line: FromChild) => void;
  /** The child hangs: on this process, or on what was asked itself. */
  readonly stall: () => void;
}

type End = 'done' | 'stalled' | 'late';

export function createInspector(sought: Sought): Inspector {
  let child: Child | null = null;
  let queue: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  let idle: NodeJS.Timeout | undefined;
  /** Those that a child hung on. */
  const stuck = new Map<string, ProcessKey>();
  const keyOf = ({ pid, startId, imageId }: ProcessKey) => `${pid} ${startId} ${imageId}`;
  const greeting: Greeting = {
    tokens: sought.token === null ? [] : [sought.token],
    botId: sought.botId,
    patterns: sought.patterns.map(({ source, flags }) => ({ source, flags })),
    scope: sought.scope,
    projectDir: sought.projectDir,
  };

  function remember(key: ProcessKey | null): void {
    if (!key) return;
    stuck.set(keyOf(key), key);
    if (stuck.size > STUCK_MAX) stuck.delete(stuck.keys().next().value!);
  }

  const isStuck = (pid: number) => {
    const key = keyNow(pid);
    return key !== null && stuck.has(keyOf(key));
  };

  /** One after another: the child does one thing at a time. False: not done in time. */
  function run(job: Job, timeoutMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + timeoutMs;
    waiting += 1;
    clearTimeout(idle);
    const answer = queue.then(async () => {
      try {
        return await carryOut(job, deadlineMs);
      } finally {
        waiting -= 1;
        if (waiting === 0) idle = setTimeout(endChild, IDLE_MS).unref();
      }
    });
    queue = answer.catch(() => {});
    return answer;
  }

  async function carryOut(job: Job, deadlineMs: number): Promise<boolean> {
    for (;;) {
      const request = job.ask();
      if (!request) return true;
      if (performance.now() >= deadlineMs) return false;
      if (!child?.alive()) child = startChild(greeting);
      const end = await child.ask(request, job.take, deadlineMs);
      if (end === 'done') return true;
      const wasReady = child.ready();
      child.abandon();
      child = null;
      if (end === 'late' || !wasReady) return false;
      job.stall();
    }
  }

  function endChild(): void {
    child?.end();
    child = null;
  }

  return {
    async inspect(processes, { timeoutMs = TIMEOUT_MS } = {}) {
      const seen = new Map<number, Inspected>();
      const left = new Map<number, ProcessKey>();
      const unread: ProcessKey[] = [];
      for (const key of processes) {
        if (stuck.has(keyOf(key))) unread.push(key);
        else left.set(key.pid, key);
      }
      /** Its details are known, its script may still be looked for. */
      let last: number | null = null;
      await run(
        {
          ask: () => (left.size === 0 ? null : { do: 'inspect', pids: [...left.keys()] }),
          take(line) {
            if (!('pid' in line)) return;
            if ('details' in line) {
              seen.set(line.pid, line);
              last = line.details.match?.inScope === null ? line.pid : null;
            }
            left.delete(line.pid);
          },
          stall() {
            if (last !== null) {
              last = null;
              return;
            }
            const [next] = left.values();
            if (!next) return;
            left.delete(next.pid);
            unread.push(next);
            remember(next);
          },
        },
        timeoutMs,
      );
      return { seen: [...seen.values()], stuck: [...unread, ...left.values()] };
    },
    async ownersOfSockets(inodes, { hintPids = [], timeoutMs = TIMEOUT_MS } = {}) {
      const owners = new Map<number, number[]>();
      let unseen = 0;
      const look = async (pids: readonly number[]) => {
        const left = new Set(pids.filter((pid) => !isStuck(pid)));
        let at = 0;
        unseen += pids.length - left.size;
        const whole = await run(
          {
            ask: () =>
              left.size === 0 ? null : { do: 'sockets', inodes: inodes.map(String), pids: [...left] },
            take(line) {
              if ('at' in line) {
                left.delete(at);
                at = line.at;
              } else if ('owner' in line) {
                for (const inode of line.inodes) {
                  const list = owners.get(inode) ?? [];
                  if (!list.includes(line.owner)) owners.set(inode, [...list, line.owner]);
                }
              } else if ('done' in line) unseen += line.done as number;
            },
            stall() {
              unseen += 1;
              left.delete(at);
              remember(keyNow(at));
            },
          },
          timeoutMs,
        );
        if (!whole) unseen += left.size;
      };
      if (hintPids.length > 0) await look([...new Set(hintPids)]);
      if (inodes.some((inode) => !owners.has(inode))) {
        const hinted = new Set(hintPids);
        await look(listPids().filter((pid) => !hinted.has(pid)));
      }
      return { owners, unseen };
    },
    async manager(top, stray, { timeoutMs = 2 * TIMEOUT_MS } = {}) {
      let answer: Respawner | null | 'unseen' = 'unseen';
      let at = 0;
      let over = false;
      await run(
        {
          ask: () =>
            over
              ? null
              : {
                  do: 'manager',
                  top,
                  stray,
                  skip: [...stuck.values()].map(({ pid }) => pid).filter(isStuck),
                },
          take(line) {
            if ('at' in line) at = line.at;
            if ('done' in line) answer = line.done as Respawner | null;
          },
          stall() {
            // While the processes are read one of them is the cause; later it is the search itself.
            if (at === 0) over = true;
            else remember(keyNow(at));
            at = 0;
          },
        },
        timeoutMs,
      );
      return answer;
    },
    close() {
      clearTimeout(idle);
      endChild();
    },
  };
}

function keyNow(pid: number): ProcessKey | null {
  const text = readStat(pid);
  const stat = text === null ? null : parseProcStat(text);
  return stat && { pid, startId: stat.startId, imageId: stat.imageId };
}

interface Child {
  alive(): boolean;
  /** It has greeted back: it can be started at all. */
  ready(): boolean;
  ask(request: ToChild, take: (line: FromChild) => void, deadlineMs: number): Promise<End>;
  /** It ends by itself. */
  end(): void;
  /** It may be beyond all signals: nobody waits for it. */
  abandon(): void;
}

function startChild(greeting: Greeting): Child {
  const child = launch();
  let gone = child.pid === undefined;
  let isReady = false;
  let rest = '';
  let listener: ((line: FromChild) => void) | null = null;
  let onGone = () => {};
  child.on('error', leave);
  child.on('exit', leave);
  child.stdin?.on('error', () => {});
  child.stdout?.setEncoding('utf8');
  child.stdout?.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) listener?.(JSON.parse(line) as FromChild);
  });
  child.stdin?.write(`${JSON.stringify(greeting)}\n`);

  function leave(): void {
    gone = true;
    onGone();
  }

  return {
    alive: () => !gone,
    ready: () => isReady,
    ask(request, take, deadlineMs) {
      return new Promise((resolve) => {
        let lastMs = performance.now();
        // These timers alone keep the process alive, and only while somebody waits for an answer.
        const watch = setInterval(() => {
          const nowMs = performance.now();
          if (nowMs >= deadlineMs) return end('late');
          // A child that could run, but is not given the time to, is not stuck.
          if (isReady && nowMs - lastMs >= STALL_MS && !isRunning(child.pid)) end('stalled');
        }, 50);
        const end = (how: End) => {
          clearInterval(watch);
          listener = null;
          onGone = () => {};
          resolve(how);
        };
        onGone = () => end('stalled');
        listener = (line) => {
          lastMs = performance.now();
          if ('ready' in line) {
            isReady = true;
            return;
          }
          take(line);
          if ('done' in line) end('done');
        };
        if (gone) return end('stalled');
        child.stdin?.write(`${JSON.stringify(request)}\n`);
      });
    },
    end: () => void child.stdin?.end(),
    abandon() {
      // One that could not be started has the pid 0 to Node, and a signal to that is for our whole group.
      if (child.pid !== undefined) child.kill('SIGKILL');
      child.stdin?.destroy();
      child.stdout?.destroy();
    },
  };
}

function isRunning(pid: number | undefined): boolean {
  const text = pid === undefined ? null : readStat(pid);
  return text !== null && parseProcStat(text)?.state === 'R';
}

function launch(): ChildProcess {
  // Run from the sources (tests), it needs the loader that reads them.
  const source = import.meta.url.endsWith('.ts') ? new URL('inspector-child.ts', import.meta.url) : null;
  const loader = source ? ['--import', createRequire(import.meta.url).resolve('tsx')] : [];
  const child = spawn(
    process.execPath,
    [...loader, source ? source.pathname : distFile('inspector-child.js')],
    {
      // Shows as what it is, so that no supervisor takes it for a stray.
      argv0: 'singlepoll',
      cwd: '/',
      // The tools of service managers want a home and a path; tokens stay here.
      env: toolEnvironment(process.env),
      stdio: ['pipe', 'pipe', 'ignore'],
      // A session of its own: Ctrl-C is not for it.
      detached: true,
    },
  );
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as unknown as { unref?: () => void })?.unref?.();
  return child;
}
