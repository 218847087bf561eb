/**
 * Stops process trees with real signals, up the plan of `stop-plan.ts`. The one place that signals a process which
 * singlepoll did not start. Right before every signal the start time is read again and compared, so that a pid that
 * was reused since it was listed is left alone. Waiting is by looking: a stray that leaves at once costs a few ms.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseProcStat, readStat } from '../machine/procfs.ts';
import {
  addTargets,
  type Look,
  markDenied,
  nextStep,
  type Signal,
  type StopPlan,
  type StopTimes,
  startPlan,
  survivors,
  type Target,
} from './stop-plan.ts';

/** How processes are looked at and signalled, and how time passes; the simulation puts its own in. */
export interface Hands {
  look(pid: number): Look | null;
  kill(pid: number, signal: Signal): void;
  nowMs(): number;
  /** Waits; the signal cuts it short, without an error. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
}

export const linuxHands: Hands = {
  look(pid) {
    const text = readStat(pid);
    const stat = text === null ? null : parseProcStat(text);
    return stat && { startId: stat.startId, state: stat.state };
  },
  kill: (pid, signal) => void process.kill(pid, signal),
  nowMs: () => performance.now(),
  async pause(ms, signal) {
    try {
      await sleep(Math.max(0, ms), undefined, signal ? { signal } : {});
    } catch {
      // Aborted: the caller looks why.
    }
  },
};

export interface StopOptions extends StopTimes {
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

/** Most rounds of "all gone, but something has grown": a fork bomb is not chased for ever. */
const MOST_REGROWTHS = 20;

/** Stops `targets` (parents before children) and waits until they are gone or `killWaitMs` after SIGKILL is over. */
export async function stopTargets(targets: readonly Target[], options: StopOptions): Promise<StopResult> {
  const hands = options.hands ?? linuxHands;
  const startedMs = hands.nowMs();
  let plan = startPlan(targets, startedMs, options);
  let regrowths = 0;
  let ended = options.ended?.then(() => {
    ended = undefined;
  });
  const regrow = async () => {
    if (!options.grown || regrowths >= MOST_REGROWTHS) return;
    const before = plan;
    plan = addTargets(plan, await options.grown(plan.entries));
    if (plan !== before) regrowths += 1;
  };
  while (!options.halt?.aborted) {
    const killNow = options.now?.aborted === true;
    const nowMs = hands.nowMs();
    if (plan.phase === 'term' && (killNow || nowMs >= plan.killAtMs)) {
      await regrow();
      if (options.halt?.aborted) break;
    }
    const step = nextStep(plan, nowMs, lookAll(plan, hands), killNow);
    plan = step.plan;
    for (const { pid, startId, signal } of step.signals) {
      if (send(pid, startId, signal, hands) === 'denied') plan = markDenied(plan, pid);
    }
    if (plan.phase === 'done') await regrow();
    if (plan.phase === 'done') break;
    if (step.nextAtMs === null) continue;
    const pause = hands.pause(step.nextAtMs - hands.nowMs(), killNow ? undefined : options.now);
    await (ended ? Promise.race([pause, ended]) : pause);
  }
  return {
    targets: plan.entries.map(({ pid, startId }) => ({ pid, startId })),
    survivors: survivors(plan),
    denied: plan.entries.filter((entry) => entry.denied && !entry.gone),
    killed: plan.entries.filter((entry) => entry.killed).length,
    tookMs: hands.nowMs() - startedMs,
  };
}

function lookAll(plan: StopPlan, hands: Hands): Map<number, Look> {
  const looks = new Map<number, Look>();
  for (const entry of plan.entries) {
    if (entry.gone) continue;
    const look = hands.look(entry.pid);
    if (look) looks.set(entry.pid, look);
  }
  return looks;
}

function send(pid: number, startId: string, signal: Signal, hands: Hands): 'sent' | 'gone' | 'denied' {
  if (pid <= 1 || pid === process.pid) return 'gone';
  const look = hands.look(pid);
  if (!look || look.startId !== startId) return 'gone';
  try {
    hands.kill(pid, signal);
    return 'sent';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'denied' : 'gone';
  }
}
