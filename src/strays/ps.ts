/**
 * The process list where there is no /proc (macOS, BSD): ps-list knows pids, parents, owners and command lines, so `--stray` patterns
 * are what finds a stray there. Environments, working folders and connections stay unknown.
 * Reading takes tens of milliseconds, so it is done in `refresh`, and `snapshot` answers from that.
 */
import { execFileSync } from 'node:child_process';
// Not lazy: this file is, and is loaded only where there is no /proc.
import psList from 'ps-list';
import type { Sought } from './inspector.ts';
import { isBelow, matchPatterns } from './match.ts';
import { maskTokens, otherBotsIn } from './proc-reader.ts';
import type { Proc, Snapshot } from './process.ts';
import { type Hands, linuxHands } from './stop.ts';
import type { Look } from './stop-plan.ts';

/** A tool that hangs must not hang us. */
const TOOL_WAIT_MS = 10_000;

export interface PsReader {
  refresh(): Promise<void>;
  snapshot(): Snapshot;
}

export function createPsReader(options: Sought): PsReader {
  const { token } = options;
  let latest = snapshotOf([], 0);
  return {
    async refresh() {
      const atMs = Date.now();
      const procs = (await psList()).map(({ pid, ppid, uid = -1, name, cmd = '', startTime }): Proc => {
        const isZombie = cmd.includes('<defunct>');
        const argv = isZombie ? [] : maskTokens(cmd).split(' ').slice(0, 64);
        const found = matchPatterns({ argv, cwd: null }, options.patterns);
        // Without its working folder only a path that is written out tells where it lies.
        const isWritten = argv.some((word) => word.startsWith('/') && isBelow(word, options.projectDir));
        const inScope = options.scope === 'any' || isWritten ? true : null;
        return {
          pid,
          ppid,
          pgid: 0,
          sid: 0,
          uid,
          state: isZombie ? 'Z' : 'S',
          startId: startTime?.toISOString() ?? '',
          tty: 0,
          comm: name.slice(0, 15),
          argv,
          tokenInArgs: token !== null && cmd.includes(token),
          otherBots: otherBotsIn(cmd, options.botId),
          match: found && found !== 'gave up' ? { ...found, inScope } : null,
          cwd: null,
          env: null,
        };
      });
      latest = snapshotOf(procs, atMs);
    },
    snapshot: () => latest,
  };
}

function snapshotOf(procs: readonly Proc[], atMs: number): Snapshot {
  const byUid = new Map<number, number>();
  for (const { uid } of procs) byUid.set(uid, (byUid.get(uid) ?? 0) + 1);
  const uninspectable = { count: procs.length, stuck: 0, byUid, hidden: false };
  return { procs: new Map(procs.map((it) => [it.pid, it])), uninspectable, atMs };
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
