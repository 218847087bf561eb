/**
 * The process list where there is no /proc (macOS, BSD): ps-list, `ps -E` for the environment, lsof for working folders
 * and connections. Knows less: no groups or sessions, arguments split at spaces, environments of own processes only.
 * Reading takes tens of milliseconds, so it is done in `refresh`, and `snapshot` answers from that.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
// Not lazy: this file is, and is loaded only where there is no /proc.
import psList from 'ps-list';
import type { Look } from '../core/ladder.ts';
import { maskTokens, TOKEN_NAMES } from './environ.ts';
import type { Proc, ProcEnv, Snapshot } from './process.ts';
import { type Hands, linuxHands } from './stop.ts';

const run = promisify(execFile);
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** A tool that hangs must not hang us. */
const TOOL_WAIT_MS = 10_000;

export interface Peer {
  readonly address: string;
  readonly port: number;
}

export interface PsReader {
  /** Reads everything anew. Never throws for a missing tool: its facts are missing then. */
  refresh(): Promise<void>;
  snapshot(): Snapshot;
  /** Remote ends of a process's TCP connections. */
  peersOf(pid: number): readonly Peer[];
}

const EMPTY: Snapshot = {
  procs: new Map(),
  uninspectable: { count: 0, byUid: new Map(), hidden: false },
  atMs: 0,
};

export function createPsReader(options: { tokens: readonly string[]; botId: string }): PsReader {
  let latest = EMPTY;
  let peers = new Map<number, Peer[]>();
  return {
    async refresh() {
      const atMs = Date.now();
      const darwin = process.platform === 'darwin';
      const [list, environments, folders, sockets] = await Promise.all([
        psList(),
        tool('ps', darwin ? ['-axEwwo', 'pid=,command='] : ['axewwo', 'pid=,command=']),
        tool('lsof', ['-nP', '-d', 'cwd', '-Fpn']),
        tool('lsof', ['-nP', '-iTCP', '-Fpn']),
      ]);
      const texts = parsePsEnvironments(environments);
      const cwds = parseLsof(folders);
      peers = new Map([...parseLsof(sockets)].map(([pid, names]) => [pid, names.flatMap(peerOf)]));
      const procs = new Map<number, Proc>();
      const byUid = new Map<number, number>();
      let count = 0;
      for (const { pid, ppid, uid = -1, name, cmd = '', startTime } of list) {
        // `ps -E` shows the environments of own processes only (of all of them to root).
        const mine = uid === process.getuid?.() || process.getuid?.() === 0;
        const env = mine ? scanPsText(texts.get(pid) ?? '', options.tokens, options.botId) : null;
        const cwd = cwds.get(pid)?.[0]?.startsWith('/') ? cwds.get(pid)![0]! : null;
        const zombie = cmd.includes('<defunct>');
        if (!zombie && (env === null || cwd === null)) {
          count += 1;
          byUid.set(uid, (byUid.get(uid) ?? 0) + 1);
        }
        procs.set(pid, {
          pid,
          ppid,
          pgid: 0,
          sid: 0,
          uid,
          state: zombie ? 'Z' : 'S',
          startId: startTime?.toISOString() ?? '',
          tty: 0,
          comm: name.slice(0, 15),
          argv: zombie ? [] : maskTokens(cmd).split(' ').slice(0, 64),
          tokenInArgs: options.tokens.some((token) => cmd.includes(token)),
          cwd,
          env,
        });
      }
      latest = { procs, uninspectable: { count, byUid, hidden: false }, atMs };
    },
    snapshot: () => latest,
    peersOf: (pid) => peers.get(pid) ?? [],
  };
}

async function tool(command: string, args: readonly string[]): Promise<string> {
  try {
    const options = {
      maxBuffer: OUTPUT_BYTES_MAX,
      timeout: TOOL_WAIT_MS,
      env: { ...process.env, LC_ALL: 'C' },
    };
    return (await run(command, [...args], options)).stdout;
  } catch (error) {
    // lsof exits 1 when it could not look at everything, and has said the rest.
    return String((error as { stdout?: unknown }).stdout ?? '');
  }
}

/** Pid → command line with the environment behind it, of `ps -E -o pid=,command=`. */
export function parsePsEnvironments(text: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const line of text.split('\n')) {
    const match = /^\s*(\d+)\s(.*)$/.exec(line);
    if (match) found.set(Number(match[1]), match[2]!);
  }
  return found;
}

/** Pid → names, of `lsof -Fpn`. */
export function parseLsof(text: string): Map<number, string[]> {
  const found = new Map<number, string[]>();
  let names: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('p')) {
      names = [];
      found.set(Number(line.slice(1)), names);
    } else if (line.startsWith('n')) names.push(line.slice(1));
  }
  return found;
}

/** `10.0.0.1:5000->149.154.166.110:443` or `[::1]:5000->[::1]:443`; listening sockets have no other end. */
export function peerOf(name: string): Peer[] {
  const match = /->(?:\[([^\]]+)\]|([\d.]+)):(\d+)/.exec(name);
  return match ? [{ address: match[1] ?? match[2]!, port: Number(match[3]) }] : [];
}

/** The facts of an environment that stands behind the command in one line of text; the token may stand in either. */
export function scanPsText(text: string, tokens: readonly string[], botId: string): ProcEnv {
  const variable = (name: string) => new RegExp(`(?:^|\\s)${name}=(\\S*)`).exec(text)?.[1] ?? null;
  const set = TOKEN_NAMES.map((name) => /^(\d{5,}):/.exec(variable(name) ?? '')?.[1]).find(
    (id) => id !== undefined,
  );
  const deploy = variable('SINGLEPOLL_RUN') !== null && (variable('POLLING_ENABLED') ?? '1') !== '1';
  return {
    holdsToken: tokens.some((token) => text.includes(token)),
    ...(deploy ? { deploy } : {}),
    bot: variable('SINGLEPOLL_BOT'),
    run: variable('SINGLEPOLL_RUN'),
    spawn: variable('SINGLEPOLL_SPAWN'),
    otherToken: set !== undefined && set !== botId,
    marks: {},
  };
}

/** Looks at one process at a time with ps, for the moment before a signal. */
export const psHands: Hands = {
  look(pid): Look | null {
    try {
      const line = execFileSync('ps', ['-o', 'lstart=,stat=', '-p', String(pid)], {
        encoding: 'utf8',
        timeout: TOOL_WAIT_MS,
        stdio: ['ignore', 'pipe', 'ignore'],
        env: { ...process.env, LC_ALL: 'C' },
      });
      const match = /^(.*\d{4})\s+(\S)/.exec(line.trim());
      return match ? { startId: new Date(match[1]!).toISOString(), state: match[2]! } : null;
    } catch {
      return null;
    }
  },
  kill: linuxHands.kill,
  nowMs: linuxHands.nowMs,
  pause: linuxHands.pause,
};
