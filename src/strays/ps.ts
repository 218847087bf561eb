/**
 * The process list where there is no /proc (macOS, BSD): ps-list, `ps -E` for the environment, lsof for working folders.
 * Knows less: no groups or sessions, arguments split at spaces, environments of own processes only.
 * Reading takes tens of milliseconds, so it is done in `refresh`, and `snapshot` answers from that.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
// Not lazy: this file is, and is loaded only where there is no /proc.
import psList from 'ps-list';
import type { Look } from '../core/ladder.ts';
import { maskTokens, otherBotsIn } from './environ.ts';
import type { Sought } from './inspector.ts';
import { isBelow, matchPatterns } from './match.ts';
import type { Proc, ProcEnv, Snapshot } from './process.ts';
import { type Hands, linuxHands } from './stop.ts';

const run = promisify(execFile);
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** A tool that hangs must not hang us. */
const TOOL_WAIT_MS = 10_000;

export interface PsReader {
  /** Reads everything anew. Never throws for a missing tool: its facts are missing then. */
  refresh(): Promise<void>;
  snapshot(): Snapshot;
}

const EMPTY: Snapshot = {
  procs: new Map(),
  uninspectable: { count: 0, stuck: 0, byUid: new Map(), hidden: false },
  atMs: 0,
};

export function createPsReader(options: Sought): PsReader {
  const tokens = options.token === null ? [] : [options.token];
  let latest = EMPTY;
  return {
    async refresh() {
      const atMs = Date.now();
      const darwin = process.platform === 'darwin';
      const [list, environments, folders] = await Promise.all([
        psList(),
        tool('ps', darwin ? ['-axEwwo', 'pid=,command='] : ['axewwo', 'pid=,command=']),
        tool('lsof', ['-nP', '-d', 'cwd', '-Fpn']),
      ]);
      const texts = parsePsEnvironments(environments);
      const cwds = parseLsof(folders);
      const procs = new Map<number, Proc>();
      const byUid = new Map<number, number>();
      let count = 0;
      for (const { pid, ppid, uid = -1, name, cmd = '', startTime } of list) {
        // `ps -E` shows the environments of own processes only (of all of them to root).
        const mine = uid === process.getuid?.() || process.getuid?.() === 0;
        const env = mine ? scanPsText(texts.get(pid) ?? '', tokens) : null;
        const cwd = cwds.get(pid)?.[0]?.startsWith('/') ? cwds.get(pid)![0]! : null;
        const zombie = cmd.includes('<defunct>');
        if (!zombie && (env === null || cwd === null)) {
          count += 1;
          byUid.set(uid, (byUid.get(uid) ?? 0) + 1);
        }
        const argv = zombie ? [] : maskTokens(cmd).split(' ').slice(0, 64);
        const found = matchPatterns({ argv, cwd }, name, options.patterns);
        const inScope = options.scope === 'any' || (cwd !== null && isBelow(cwd, options.projectDir));
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
          argv,
          tokenInArgs: tokens.some((token) => cmd.includes(token)),
          // The environment stands behind the command, in one text.
          otherBots: otherBotsIn(Buffer.from(texts.get(pid) ?? cmd), options.botId),
          match:
            found && found !== 'gave up'
              ? { pattern: found.pattern.source, names: found.names, inScope }
              : null,
          cwd,
          env,
        });
      }
      latest = { procs, uninspectable: { count, stuck: 0, byUid, hidden: false }, atMs };
    },
    snapshot: () => latest,
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

/** The facts of an environment that stands behind the command in one line of text; the token may stand in either. */
export function scanPsText(text: string, tokens: readonly string[]): ProcEnv {
  const variable = (name: string) => new RegExp(`(?:^|\\s)${name}=(\\S*)`).exec(text)?.[1] ?? null;
  const deploy = variable('SINGLEPOLL_RUN') !== null && (variable('POLLING_ENABLED') ?? '1') !== '1';
  return {
    holdsToken: tokens.some((token) => text.includes(token)),
    ...(deploy ? { deploy } : {}),
    bot: variable('SINGLEPOLL_BOT'),
    run: variable('SINGLEPOLL_RUN'),
    spawn: variable('SINGLEPOLL_SPAWN'),
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
