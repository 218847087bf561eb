/**
 * The ladder by which a process tree is stopped: SIGTERM from the top, wait, SIGKILL, verify. PURE: the edge looks at
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

export interface LadderTimes {
  /** From SIGTERM to SIGKILL. */
  readonly stopTimeoutMs: number;
  /** From SIGKILL to giving up on what is still there. */
  readonly killWaitMs: number;
}

interface Rung extends Target {
  readonly termed: boolean;
  readonly killed: boolean;
  readonly gone: boolean;
  /** A signal was refused: it belongs to another user. */
  readonly denied: boolean;
}

export interface Ladder {
  readonly times: LadderTimes;
  readonly phase: 'term' | 'kill' | 'done';
  readonly killAtMs: number;
  /** Set once SIGKILL was sent. */
  readonly giveUpAtMs: number | null;
  /** In signal order: parents before children. */
  readonly rungs: readonly Rung[];
  /** Wait until the next look; grows while nothing changes. */
  readonly pauseMs: number;
}

export interface Step {
  readonly ladder: Ladder;
  /** To send now, in this order, each after its start time was compared once more. */
  readonly signals: readonly (Target & { readonly signal: Signal })[];
  /** When to look again; null when done. */
  readonly nextAtMs: number | null;
}

const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 50;

export function startLadder(targets: readonly Target[], nowMs: number, times: LadderTimes): Ladder {
  return {
    times,
    phase: targets.length === 0 ? 'done' : 'term',
    killAtMs: nowMs + times.stopTimeoutMs,
    giveUpAtMs: null,
    rungs: targets.map(toRung),
    pauseMs: FIRST_PAUSE_MS,
  };
}

function toRung({ pid, startId }: Target): Rung {
  return { pid, startId, termed: false, killed: false, gone: false, denied: false };
}

/** Adds processes that were found later (forked meanwhile); they get the signal of the present rung at once. */
export function addTargets(ladder: Ladder, targets: readonly Target[]): Ladder {
  const fresh = targets.filter((t) => !ladder.rungs.some((r) => r.pid === t.pid && r.startId === t.startId));
  if (fresh.length === 0) return ladder;
  const next = { ...ladder, rungs: [...ladder.rungs, ...fresh.map(toRung)], pauseMs: FIRST_PAUSE_MS };
  // After SIGKILL newcomers are killed too, and get a wait of their own.
  return ladder.phase === 'done'
    ? { ...next, phase: ladder.giveUpAtMs === null ? 'term' : 'kill', giveUpAtMs: null }
    : next;
}

/** Notes that a signal to `pid` was refused by the kernel (EPERM): nothing more is tried on it. */
export function markDenied(ladder: Ladder, pid: number): Ladder {
  return {
    ...ladder,
    rungs: ladder.rungs.map((rung) => (rung.pid === pid ? { ...rung, denied: true } : rung)),
  };
}

/** Those still there: not gone when last looked at. */
export function survivors(ladder: Ladder): Target[] {
  return ladder.rungs.filter((rung) => !rung.gone).map(({ pid, startId }) => ({ pid, startId }));
}

/**
 * One step: takes in how each target looks now (absent = no such process) and says what to send and when to look
 * again. `killNow` skips the rest of the wait after SIGTERM.
 */
export function climb(
  ladder: Ladder,
  nowMs: number,
  looks: ReadonlyMap<number, Look>,
  killNow = false,
): Step {
  if (ladder.phase === 'done') return { ladder, signals: [], nextAtMs: null };
  const seen = ladder.rungs.map((rung) =>
    rung.gone || isThere(rung, looks) ? rung : { ...rung, gone: true },
  );
  const waiting = seen.some((rung) => !rung.gone && !rung.denied);
  const givenUp = ladder.giveUpAtMs !== null && nowMs >= ladder.giveUpAtMs;
  if (!waiting || givenUp)
    return { ladder: { ...ladder, phase: 'done', rungs: seen }, signals: [], nextAtMs: null };

  const phase = ladder.phase === 'kill' || killNow || nowMs >= ladder.killAtMs ? 'kill' : 'term';
  const giveUpAtMs = phase === 'kill' ? (ladder.giveUpAtMs ?? nowMs + ladder.times.killWaitMs) : null;
  const signals: (Target & { signal: Signal })[] = [];
  const rungs = seen.map((rung) => {
    if (rung.gone || rung.denied) return rung;
    const { pid, startId } = rung;
    if (phase === 'kill') {
      if (!rung.killed) signals.push({ pid, startId, signal: 'SIGKILL' });
      return { ...rung, killed: true };
    }
    if (!rung.termed) signals.push({ pid, startId, signal: 'SIGTERM' });
    // A stopped process keeps SIGTERM pending until it goes on.
    if (looks.get(pid)?.state === 'T') signals.push({ pid, startId, signal: 'SIGCONT' });
    return { ...rung, termed: true };
  });
  const pauseMs = signals.some((one) => one.signal !== 'SIGCONT')
    ? FIRST_PAUSE_MS
    : Math.min(ladder.pauseMs * 2, LONGEST_PAUSE_MS);
  const due = phase === 'kill' ? giveUpAtMs! : ladder.killAtMs;
  return {
    ladder: { ...ladder, phase, giveUpAtMs, rungs, pauseMs },
    signals,
    nextAtMs: Math.max(nowMs, Math.min(nowMs + pauseMs, due)),
  };
}

/** A zombie is gone already: only its parent's wait is missing. */
function isThere(target: Target, looks: ReadonlyMap<number, Look>): boolean {
  const look = looks.get(target.pid);
  return look !== undefined && look.startId === target.startId && look.state !== 'Z' && look.state !== 'X';
}
