/**
 * Inspects other people's processes without waiting for them: a child reads their arguments, environments and paths, and asks service
 * managers. It is abandoned when it makes no progress, as a page of a dead network file system blocks its reader, sometimes beyond SIGKILL.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { statOf } from '../machine/procfs.ts';
import { distFile, toolEnvironment } from '../tools.ts';
import { oneAtATime } from '../turns.ts';
import type { TokenSought } from './proc-reader.ts';
import type { Proc, ProcDetails, Respawner } from './process.ts';

/** The token, patterns and project to look for; the first line that the child is sent. */
export interface Sought extends TokenSought {
  /** Regular expressions. */
  readonly patterns: readonly string[];
  readonly scope: 'project' | 'any';
  /** Real path of the project folder. */
  readonly projectDir: string;
}

type What = { readonly do: 'inspect' } | { readonly do: 'manager'; readonly line: readonly Proc[] };
/** The child answers for each chunk as soon as it is done with it. */
export type ToChild = What & { readonly chunks: readonly (readonly number[])[] };

export type FromChild =
  | { readonly ready: true }
  /** The child is done with this process and found `value`. With `goesOn` it is still at work on it. Pid 0 is a sign of life. */
  | { readonly pid: number; readonly value?: unknown; readonly goesOn?: boolean }
  | { readonly done: true };

export type Inspector = ReturnType<typeof createInspector>;

const TIMEOUT_MS = 5_000;
/** A child that sends nothing for so long hangs. */
const STALL_MS = 1_000;
const TURN_MS = 50;
const IDLE_MS = 5_000;
const STUCK_MAX = 1_000;
/** Processes in a chunk: each may take 50 ms, and only what is answered by the deadline counts. */
const CHUNK = 50;

export function createInspector(sought: Sought) {
  let child: Child | null = null;
  /** The child handles one request at a time. */
  const inTurn = oneAtATime();
  let waiting = 0;
  let idle: NodeJS.Timeout | undefined;
  /** Processes on which a child got stuck: pid → start time and program at that moment. */
  const stuck = new Map<number, string>();
  const isStuck = (pid: number) => stuck.has(pid) && stuck.get(pid) === identityNow(pid);

  function run(what: What, pids: readonly number[], timeoutMs = TIMEOUT_MS) {
    const deadlineMs = performance.now() + timeoutMs;
    waiting += 1;
    clearTimeout(idle);
    return inTurn(() => carryOut(what, pids, deadlineMs)).finally(() => {
      waiting -= 1;
      if (waiting === 0) idle = setTimeout(endChild, IDLE_MS).unref();
    });
  }

  async function carryOut(what: What, pids: readonly number[], deadlineMs: number) {
    const seen = new Map<number, unknown>();
    const unread = new Set(pids.filter(isStuck));
    const left = new Set(pids.filter((pid) => !unread.has(pid)));
    /** How many are in chunks of one, to find the one at which the child hangs. */
    let singly = 0;
    while (left.size > 0 && performance.now() < deadlineMs) {
      const present = start();
      /** The process at whose path the child looks, where it may hang. */
      let begun: number | null = null;
      const take = (line: FromChild) => {
        if (!('pid' in line)) return;
        if (line.value !== undefined) seen.set(line.pid, line.value);
        begun = line.goesOn ? line.pid : null;
        if (!line.goesOn) left.delete(line.pid);
      };
      const end = await present.ask({ ...what, chunks: chunksOf([...left], singly) }, take, deadlineMs);
      if (end === 'done') break;
      const wasReady = present.isReady();
      present.abandon();
      child = null;
      if (end === 'late' || !wasReady) break;
      const [first] = left;
      if (first === undefined) break;
      if (begun === null && singly === 0 && pids.length > 1) {
        singly = CHUNK;
        continue;
      }
      singly = 0;
      // It hangs on the process itself, or on the path of its script.
      const at = begun ?? first;
      left.delete(at);
      if (seen.has(at)) continue;
      unread.add(at);
      if (what.do === 'manager') continue;
      stuck.set(at, identityNow(at));
      if (stuck.size > STUCK_MAX) stuck.delete(stuck.keys().next().value!);
    }
    for (const pid of left) unread.add(pid);
    return { seen, unread };
  }

  /** Also called ahead of the first question. */
  function start(): Child {
    if (!child || child.isGone()) child = startChild(sought);
    return child;
  }

  function endChild(): void {
    child?.end();
    child = null;
  }

  return {
    /** Reads processes for at most `timeoutMs` (5 s). `unread` are those that could not be read and have not ended. */
    async inspect(pids: readonly number[], timeoutMs?: number) {
      const { seen, unread } = await run({ do: 'inspect' }, pids, timeoutMs);
      return { seen: seen as ReadonlyMap<number, ProcDetails>, unread: unread as ReadonlySet<number> };
    },
    /** Finds the manager that would restart `line[0]`; the rest are its ancestors. Null: none, or not found in time. */
    async manager(line: readonly Proc[]): Promise<Respawner | null> {
      const { pid } = line[0]!;
      const { seen } = await run({ do: 'manager', line }, [pid], 2 * TIMEOUT_MS);
      return (seen.get(pid) as Respawner | null | undefined) ?? null;
    },
    start,
    close() {
      clearTimeout(idle);
      endChild();
    },
  };
}

function chunksOf(pids: readonly number[], singly: number): number[][] {
  const chunks = pids.slice(0, singly).map((pid) => [pid]);
  for (let at = singly; at < pids.length; at += CHUNK) chunks.push(pids.slice(at, at + CHUNK));
  return chunks;
}

function identityNow(pid: number): string {
  const stat = statOf(pid);
  return `${stat?.startId} ${stat?.imageId}`;
}

type Child = ReturnType<typeof startChild>;

function startChild(greeting: Sought) {
  const child = launch();
  let isGone = child.pid === undefined;
  let isReady = false;
  let onLine = (_line: FromChild) => {};
  let onGone = () => {};
  const leave = () => {
    isGone = true;
    onGone();
  };
  child.on('error', leave).on('exit', leave);
  child.stdin?.on('error', () => {});
  if (child.stdout)
    createInterface({ input: child.stdout }).on('line', (line) => onLine(JSON.parse(line) as FromChild));
  child.stdin?.write(`${JSON.stringify(greeting)}\n`);
  return {
    isGone: () => isGone,
    /** It has answered the greeting, so it can be started on this machine. */
    isReady: () => isReady,
    ask(request: ToChild, take: (line: FromChild) => void, deadlineMs: number) {
      return new Promise<'done' | 'stalled' | 'late'>((resolve) => {
        // Turns are counted and not time measured: after we ourselves stood still, the child's answer may wait to be read.
        let silentTurns = 0;
        // Only this timer keeps our own process alive, and only while a caller waits for an answer.
        const watch = setInterval(() => {
          if (performance.now() >= deadlineMs) return end('late');
          silentTurns += 1;
          // A child in state R waits for a CPU; it is not stuck.
          const isSilent = isReady && silentTurns * TURN_MS >= STALL_MS;
          if (isSilent && statOf(child.pid ?? 0)?.state !== 'R') end('stalled');
        }, TURN_MS);
        const end = (how: 'done' | 'stalled' | 'late') => {
          clearInterval(watch);
          onLine = () => {};
          onGone = () => {};
          resolve(how);
        };
        onGone = () => end('stalled');
        onLine = (line) => {
          silentTurns = 0;
          if ('ready' in line) isReady = true;
          else if ('done' in line) end('done');
          else take(line);
        };
        if (isGone) return end('stalled');
        child.stdin?.write(`${JSON.stringify(request)}\n`);
      });
    },
    end: () => void child.stdin?.end(),
    /** Kills the child without waiting: a process in uninterruptible sleep does not end at once. */
    abandon() {
      // Node would send the signal of a child that could not be started to pid 0, which is our whole process group.
      if (child.pid !== undefined) child.kill('SIGKILL');
      child.stdin?.destroy();
      child.stdout?.destroy();
    },
  };
}

function launch(): ChildProcess {
  // The tests run from the sources, for which the child needs a loader, too.
  const source = import.meta.url.endsWith('.ts')
    ? new URL('inspector-child.ts', import.meta.url).pathname
    : null;
  const loader = source ? ['--import', createRequire(import.meta.url).resolve('tsx')] : [];
  const child = spawn(process.execPath, [...loader, source ?? distFile('inspector-child.js')], {
    // The name keeps other supervisors from taking the child for a stray.
    argv0: 'singlepoll',
    cwd: '/',
    // The tools of service managers need HOME and PATH; tokens are not passed on.
    env: toolEnvironment(process.env),
    stdio: ['pipe', 'pipe', 'ignore'],
    // In a session of its own the child gets no Ctrl-C.
    detached: true,
  });
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as unknown as { unref?: () => void })?.unref?.();
  return child;
}
