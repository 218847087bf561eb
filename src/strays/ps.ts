/**
 * The process list without /proc (macOS, BSD): ps-list gives pids, parents, owners and command lines, so only `--stray` patterns
 * find strays. Environments, working folders and connections stay unknown.
 */
import { execFileSync } from 'node:child_process';
import type { Sought } from './inspector.ts';
import { isBelow, maskTokens, matchPatterns, otherBotsIn } from './proc-reader.ts';
import type { Proc, Snapshot } from './process.ts';
import { type Processes, sumUp } from './processes.ts';
import { type Hands, linuxHands } from './stop.ts';

/** Time limit, as a tool may hang. */
const TOOL_WAIT_MS = 10_000;

/** `quick` returns the last list. */
export function psProcesses(options: Sought): Processes {
  const { token, botId, scope, projectDir } = options;
  const patterns = options.patterns.map((source) => new RegExp(source));
  let latest = snapshotOf([]);

  function toProc({ pid, ppid, uid = -1, name, cmd = '', startTime }: PsRow): Proc {
    const isZombie = cmd.includes('<defunct>');
    const argv = isZombie ? [] : maskTokens(cmd).split(' ').slice(0, 64);
    const found = matchPatterns({ argv, cwd: null }, patterns);
    // The working folder is unknown, so only an absolute path shows where the script is.
    const isWritten = argv.some((word) => word.startsWith('/') && isBelow(word, projectDir));
    const inScope = scope === 'any' || isWritten ? true : null;
    return {
      ...{ pid, ppid, uid, argv, pgid: 0, sid: 0, tty: 0, cwd: null, env: null },
      state: isZombie ? 'Z' : 'S',
      startId: startTime?.toISOString() ?? '',
      comm: name.slice(0, 15),
      tokenInArgs: token !== null && cmd.includes(token),
      otherBots: otherBotsIn(cmd, botId),
      match: found && found !== 'gave up' ? { pattern: found.source, inScope } : null,
    };
  }

  return {
    async snapshot() {
      // Loaded only on systems without /proc.
      const { default: psList } = await import('ps-list');
      latest = snapshotOf((await psList()).map(toProc));
      return latest;
    },
    quick: () => latest,
  };
}

type PsRow = Awaited<ReturnType<typeof import('ps-list').default>>[number];

function snapshotOf(procs: readonly Proc[]): Snapshot {
  return { procs: new Map(procs.map((it) => [it.pid, it])), uninspectable: sumUp(procs) };
}

/** Looks at one process at a time with ps, for the moment before a signal. */
export const psHands: Hands = {
  ...linuxHands,
  look(pid) {
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
};
