/**
 * The plan by which a process tree is stopped: SIGTERM from the top, wait, SIGKILL, verify. PURE: the edge looks at
 * the processes and sends what comes back; nothing here reads a clock or sends a signal.
 * A pid whose start time is not the listed one belongs to somebody else: it counts as gone and gets no signal.
 */

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

export interface StopTimes {
  /** From SIGTERM to SIGKILL. */
  readonly stopTimeoutMs: number;
  /** From SIGKILL to giving up on what is still there. */
  readonly killWaitMs: number;
}

interface Entry extends Target {
  readonly termed: boolean;
  readonly killed: boolean;
  readonly gone: boolean;
  /** A signal was refused: it belongs to another user. */
  readonly denied: boolean;
}

export interface StopPlan {
  readonly times: StopTimes;
  readonly phase: 'term' | 'kill' | 'done';
  readonly killAtMs: number;
  /** Set once SIGKILL was sent. */
  readonly giveUpAtMs: number | null;
  /** In signal order: parents before children. */
  readonly entries: readonly Entry[];
  /** Wait until the next look; grows while nothing changes. */
  readonly pauseMs: number;
}

export interface Step {
  readonly plan: StopPlan;
  /** To send now, in this order, each after its start time was compared once more. */
  readonly signals: readonly (Target & { readonly signal: Signal })[];
  /** When to look again; null when done. */
  readonly nextAtMs: number | null;
}

const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 50;

export function startPlan(targets: readonly Target[], nowMs: number, times: StopTimes): StopPlan {
  return {
    times,
    phase: targets.length === 0 ? 'done' : 'term',
    killAtMs: nowMs + times.stopTimeoutMs,
    giveUpAtMs: null,
    entries: targets.map(toEntry),
    pauseMs: FIRST_PAUSE_MS,
  };
}

function toEntry({ pid, startId }: Target): Entry {
  return { pid, startId, termed: false, killed: false, gone: false, denied: false };
}

/** Adds processes that were found later (forked meanwhile); they get the signal of the present entry at once. */
export function addTargets(plan: StopPlan, targets: readonly Target[]): StopPlan {
  const fresh = targets.filter((t) => !plan.entries.some((r) => r.pid === t.pid && r.startId === t.startId));
  if (fresh.length === 0) return plan;
  const next = { ...plan, entries: [...plan.entries, ...fresh.map(toEntry)], pauseMs: FIRST_PAUSE_MS };
  // After SIGKILL newcomers are killed too, and get a wait of their own.
  return plan.phase === 'done'
    ? { ...next, phase: plan.giveUpAtMs === null ? 'term' : 'kill', giveUpAtMs: null }
    : next;
}

/** Notes that a signal to `pid` was refused by the kernel (EPERM): nothing more is tried on it. */
export function markDenied(plan: StopPlan, pid: number): StopPlan {
  return {
    ...plan,
    entries: plan.entries.map((entry) => (entry.pid === pid ? { ...entry, denied: true } : entry)),
  };
}

/** Those still there: not gone when last looked at. */
export function survivors(plan: StopPlan): Target[] {
  return plan.entries.filter((entry) => !entry.gone).map(({ pid, startId }) => ({ pid, startId }));
}

/**
 * One step: takes in how each target looks now (absent = no such process) and says what to send and when to look
 * again. `killNow` skips the rest of the wait after SIGTERM.
 */
export function nextStep(
  plan: StopPlan,
  nowMs: number,
  looks: ReadonlyMap<number, Look>,
  killNow = false,
): Step {
  if (plan.phase === 'done') return { plan, signals: [], nextAtMs: null };
  const seen = plan.entries.map((entry) =>
    entry.gone || isThere(entry, looks) ? entry : { ...entry, gone: true },
  );
  const waiting = seen.some((entry) => !entry.gone && !entry.denied);
  const givenUp = plan.giveUpAtMs !== null && nowMs >= plan.giveUpAtMs;
  if (!waiting || givenUp)
    return { plan: { ...plan, phase: 'done', entries: seen }, signals: [], nextAtMs: null };

  const phase = plan.phase === 'kill' || killNow || nowMs >= plan.killAtMs ? 'kill' : 'term';
  const giveUpAtMs = phase === 'kill' ? (plan.giveUpAtMs ?? nowMs + plan.times.killWaitMs) : null;
  const signals: (Target & { signal: Signal })[] = [];
  const entries = seen.map((entry) => {
    if (entry.gone || entry.denied) return entry;
    const { pid, startId } = entry;
    if (phase === 'kill') {
      if (!entry.killed) signals.push({ pid, startId, signal: 'SIGKILL' });
      return { ...entry, killed: true };
    }
    if (!entry.termed) signals.push({ pid, startId, signal: 'SIGTERM' });
    // A stopped process keeps SIGTERM pending until it goes on.
    if (looks.get(pid)?.state === 'T') signals.push({ pid, startId, signal: 'SIGCONT' });
    return { ...entry, termed: true };
  });
  const pauseMs = signals.some((one) => one.signal !== 'SIGCONT')
    ? FIRST_PAUSE_MS
    : Math.min(plan.pauseMs * 2, LONGEST_PAUSE_MS);
  const due = phase === 'kill' ? giveUpAtMs! : plan.killAtMs;
  return {
    plan: { ...plan, phase, giveUpAtMs, entries, pauseMs },
    signals,
    nextAtMs: Math.max(nowMs, Math.min(nowMs + pauseMs, due)),
  };
}

/** A zombie is gone already: only its parent's wait is missing. */
function isThere(target: Target, looks: ReadonlyMap<number, Look>): boolean {
  const look = looks.get(target.pid);
  return look !== undefined && look.startId === target.startId && look.state !== 'Z' && look.state !== 'X';
}
