/**
 * Stops process trees: SIGTERM from the top, wait, SIGKILL, verify. Only this file signals processes that singlepoll did not start. Right
 * before every signal the start time is read again and compared, so that a reused pid is left alone and counts as gone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProcessId, statOf } from '../machine/procfs.ts';
import { identityOf } from './process.ts';

export type Signal = 'SIGTERM' | 'SIGKILL' | 'SIGCONT';

export interface Look {
  readonly startId: string;
  /** One letter as in proc(5). */
  readonly state: string;
}

/** Looks at processes, signals them, and keeps time; the simulation supplies its own. */
export interface Hands {
  look(pid: number): Look | null;
  kill(pid: number, signal: Signal): void;
  nowMs(): number;
  /** Waits; the signal ends the wait without an error. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
}

export const linuxHands: Hands = {
  look: statOf,
  kill: (pid, signal) => void process.kill(pid, signal),
  nowMs: () => performance.now(),
  async pause(ms, signal) {
    // The caller checks why it was aborted.
    await sleep(Math.max(0, ms), undefined, signal ? { signal } : {}).catch(() => {});
  },
};

export interface StopOptions {
  /** Time from SIGTERM to SIGKILL. */
  readonly stopTimeoutMs: number;
  /** Time from SIGKILL to giving up; 5 s by default. */
  readonly killWaitMs?: number;
  /** Finds processes that the tree has started since; asked before SIGKILL and when all members seem gone. */
  readonly grown?: (members: readonly ProcessId[]) => readonly ProcessId[] | Promise<readonly ProcessId[]>;
  /** Once aborted, SIGKILL is sent without further waiting. */
  readonly now?: AbortSignal;
  /** Once aborted, no further signal is sent. */
  readonly halt?: AbortSignal | undefined;
  readonly hands?: Hands;
}

export interface StopResult {
  /** All processes that were on the list or joined it. */
  readonly targets: readonly ProcessId[];
  /** Those that are still there after SIGKILL and its wait. */
  readonly survivors: readonly ProcessId[];
  /** Processes of other users, for which the kernel refused the signal. */
  readonly denied: readonly ProcessId[];
  /** How many needed SIGKILL. */
  readonly killed: number;
  readonly tookMs: number;
}

interface Entry extends ProcessId {
  sent: 'SIGTERM' | 'SIGKILL' | null;
  gone: boolean;
  denied: boolean;
}

const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 50;
/** How often new processes are followed after all others are gone, so that a fork bomb is not chased for ever. */
const MOST_REGROWTHS = 20;

/** Stops `targets` (parents before children) and waits until they are gone or `killWaitMs` after SIGKILL is over. */
export async function stopTargets(targets: readonly ProcessId[], options: StopOptions): Promise<StopResult> {
  const { hands = linuxHands, now, halt, killWaitMs = 5_000 } = options;
  const startedMs = hands.nowMs();
  const killAtMs = startedMs + options.stopTimeoutMs;
  const entries = targets.map(toEntry);
  /** Set once SIGKILL is sent. */
  let giveUpAtMs: number | null = null;
  let pauseMs = FIRST_PAUSE_MS;
  let regrowths = 0;

  /** Adds processes that were forked meanwhile. */
  async function regrow(): Promise<boolean> {
    if (!options.grown || regrowths >= MOST_REGROWTHS) return false;
    const found = await options.grown(entries);
    const known = new Set(entries.map(identityOf));
    const fresh = found.filter((it) => !known.has(identityOf(it)));
    if (fresh.length === 0) return false;
    regrowths += 1;
    entries.push(...fresh.map(toEntry));
    // After SIGKILL new processes are killed, too, and get their own wait.
    if (giveUpAtMs !== null) giveUpAtMs = hands.nowMs() + killWaitMs;
    return true;
  }

  while (!halt?.aborted) {
    const killNow = now?.aborted === true;
    const nowMs = hands.nowMs();
    if (giveUpAtMs === null && entries.length > 0 && (killNow || nowMs >= killAtMs)) {
      await regrow();
      if (halt?.aborted) break;
      giveUpAtMs = nowMs + killWaitMs;
    }
    const states = new Map(entries.map((entry) => [entry, lookAt(entry, hands)]));
    for (const [entry, state] of states) entry.gone ||= state === null;
    const waiting = entries.filter(({ gone, denied }) => !gone && !denied);
    if (waiting.length === 0 || (giveUpAtMs !== null && nowMs >= giveUpAtMs)) {
      if (await regrow()) continue;
      break;
    }
    const signal = giveUpAtMs === null ? 'SIGTERM' : 'SIGKILL';
    pauseMs = waiting.some(({ sent }) => sent !== signal)
      ? FIRST_PAUSE_MS
      : Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    for (const entry of waiting) {
      if (entry.sent !== signal) send(entry, signal, hands);
      entry.sent = signal;
      // A stopped process does not handle SIGTERM until it continues.
      if (signal === 'SIGTERM' && states.get(entry) === 'T') send(entry, 'SIGCONT', hands);
    }
    const untilMs = Math.min(nowMs + pauseMs, giveUpAtMs ?? killAtMs);
    await hands.pause(untilMs - hands.nowMs(), killNow ? undefined : now);
  }
  const survivors = entries.filter(({ gone }) => !gone);
  return {
    targets: entries,
    survivors,
    denied: survivors.filter(({ denied }) => denied),
    killed: entries.filter(({ sent }) => sent === 'SIGKILL').length,
    tookMs: hands.nowMs() - startedMs,
  };
}

function toEntry({ pid, startId }: ProcessId): Entry {
  return { pid, startId, sent: null, gone: false, denied: false };
}

/** Its state; null: gone, as is a zombie, which only waits for its parent. A process that was gone once stays gone. */
function lookAt({ pid, startId, gone }: Entry, hands: Hands): string | null {
  const look = gone ? null : hands.look(pid);
  return look && look.startId === startId && look.state !== 'Z' && look.state !== 'X' ? look.state : null;
}

function send(entry: Entry, signal: Signal, hands: Hands): void {
  const { pid, startId } = entry;
  if (pid <= 1 || pid === process.pid) return;
  const look = hands.look(pid);
  if (!look || look.startId !== startId) return;
  try {
    hands.kill(pid, signal);
  } catch (error) {
    entry.denied ||= (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
