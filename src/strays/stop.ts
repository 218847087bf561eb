/**
 * Stops process trees: SIGTERM from the top, wait, SIGKILL, verify. The one place that signals a process which singlepoll did not
 * start. Right before every signal the start time is read again and compared, so that a pid that was reused since it was listed
 * is left alone: it counts as gone. Waiting is by looking: a stray that leaves at once costs a few ms.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { statOf } from '../machine/procfs.ts';

export type Signal = 'SIGTERM' | 'SIGKILL' | 'SIGCONT';

export interface Target {
  readonly pid: number;
  readonly startId: string;
}

/** How a listed process looks now. */
export interface Look {
  readonly startId: string;
  /** One letter as in proc(5). */
  readonly state: string;
}

/** How processes are looked at and signalled, and how time passes; the simulation puts its own in. */
export interface Hands {
  look(pid: number): Look | null;
  kill(pid: number, signal: Signal): void;
  nowMs(): number;
  /** Waits; the signal cuts it short, without an error. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
}

export const linuxHands: Hands = {
  look: statOf,
  kill: (pid, signal) => void process.kill(pid, signal),
  nowMs: () => performance.now(),
  async pause(ms, signal) {
    // Aborted: the caller looks why.
    await sleep(Math.max(0, ms), undefined, signal ? { signal } : {}).catch(() => {});
  },
};

export interface StopOptions {
  /** From SIGTERM to SIGKILL. */
  readonly stopTimeoutMs: number;
  /** From SIGKILL to giving up on what is still there. */
  readonly killWaitMs: number;
  /** Finds what the tree has grown since, given the listed members; asked before SIGKILL and when all seem gone. */
  readonly grown?: (members: readonly Target[]) => readonly Target[] | Promise<readonly Target[]>;
  /** Aborted: no more waiting, SIGKILL at once. */
  readonly now?: AbortSignal;
  /** Aborted: left as it is, with no further signal. */
  readonly halt?: AbortSignal | undefined;
  /** Resolves when one of them has ended: looked at then, and not at the end of the pause. */
  readonly ended?: Promise<void> | undefined;
  readonly hands?: Hands;
}

export interface StopResult {
  /** Everything that was on the list or joined it. */
  readonly targets: readonly Target[];
  /** Still there after SIGKILL and the wait for it. */
  readonly survivors: readonly Target[];
  /** Of another user: the kernel refused the signal. */
  readonly denied: readonly Target[];
  /** Those that needed SIGKILL. */
  readonly killed: number;
  readonly tookMs: number;
}

interface Entry extends Target {
  sent: 'SIGTERM' | 'SIGKILL' | null;
  gone: boolean;
  denied: boolean;
}

const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 50;
/** Most rounds of "all gone, but something has grown": a fork bomb is not chased for ever. */
const MOST_REGROWTHS = 20;

/** Stops `targets` (parents before children) and waits until they are gone or `killWaitMs` after SIGKILL is over. */
export async function stopTargets(targets: readonly Target[], options: StopOptions): Promise<StopResult> {
  const { hands = linuxHands, now, halt, killWaitMs } = options;
  const startedMs = hands.nowMs();
  const killAtMs = startedMs + options.stopTimeoutMs;
  const entries = targets.map(toEntry);
  /** Set once SIGKILL is sent. */
  let giveUpAtMs: number | null = null;
  let pauseMs = FIRST_PAUSE_MS;
  let regrowths = 0;
  let ended = options.ended?.then(() => {
    ended = undefined;
  });

  /** Adds processes that were forked meanwhile. */
  async function regrow(): Promise<boolean> {
    if (!options.grown || regrowths >= MOST_REGROWTHS) return false;
    const found = await options.grown(entries);
    const fresh = found.filter((it) => !entries.some((e) => e.pid === it.pid && e.startId === it.startId));
    if (fresh.length === 0) return false;
    regrowths += 1;
    entries.push(...fresh.map(toEntry));
    // After SIGKILL newcomers are killed too, and get a wait of their own.
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
      // A stopped process keeps SIGTERM pending until it goes on.
      if (signal === 'SIGTERM' && states.get(entry) === 'T') send(entry, 'SIGCONT', hands);
    }
    const untilMs = Math.min(nowMs + pauseMs, giveUpAtMs ?? killAtMs);
    const pause = hands.pause(untilMs - hands.nowMs(), killNow ? undefined : now);
    await (ended ? Promise.race([pause, ended]) : pause);
  }
  const plain = ({ pid, startId }: Target) => ({ pid, startId });
  const survivors = entries.filter(({ gone }) => !gone);
  return {
    targets: entries.map(plain),
    survivors: survivors.map(plain),
    denied: survivors.filter(({ denied }) => denied).map(plain),
    killed: entries.filter(({ sent }) => sent === 'SIGKILL').length,
    tookMs: hands.nowMs() - startedMs,
  };
}

function toEntry({ pid, startId }: Target): Entry {
  return { pid, startId, sent: null, gone: false, denied: false };
}

/** Its state; null: gone. A zombie is gone already: only its parent's wait is missing. Who was gone once stays gone. */
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
