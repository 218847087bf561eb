// Waiting for a condition with a deadline: the only way the tests spend time. Never a bare sleep: where a test
// must show that something does NOT happen, `staysTrue` looks at the condition for the whole while.
import { readFileSync, rmSync } from 'node:fs';

/** A busy machine takes longer; whoever succeeds does not wait for it. */
const PATIENCE = 4;
/** How long anything may take that has no time of its own to keep. */
export const LONG_MS = 60_000;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/**
 * Looks every so often until `probe` gives something truthy and returns it; throws with `what`, and what was `seen` instead, once
 * the deadline has passed.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  {
    ms = LONG_MS,
    everyMs = 15,
    seen,
  }: { ms?: number | undefined; everyMs?: number; seen?: () => string } = {},
): Promise<NonNullable<T>> {
  const end = performance.now() + ms * PATIENCE;
  for (;;) {
    const beginMs = performance.now();
    const value = await probe();
    if (value) return value as NonNullable<T>;
    const nowMs = performance.now();
    if (nowMs > end)
      throw new Error(`waited ${ms * PATIENCE} ms for ${what}${seen ? `; seen instead:\n${seen()}` : ''}`);
    // A look that costs something, as `status` does, leaves the machine to those that are waited for.
    await pause(Math.max(everyMs, Math.min(500, 2 * (nowMs - beginMs))));
  }
}

/** Throws as soon as `probe` gives something falsy within `ms`. */
export async function staysTrue(
  what: string,
  ms: number,
  probe: () => unknown | Promise<unknown>,
  seen?: () => string,
): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (!(await probe()))
      throw new Error(`no longer true: ${what}${seen ? `; seen instead:\n${seen()}` : ''}`);
    await pause(20);
  }
}

/** Resolves after `ms`; for random moments in chaos rounds only, never to wait for something. */
export const randomMoment = (maxMs: number): Promise<void> => pause(Math.random() * maxMs);

/** Gives the promise's value, or throws naming `what` when it takes longer than `ms`. */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  ms: number,
  seen?: () => string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new Error(`waited ${ms * PATIENCE} ms for ${what}${seen ? `; seen instead:\n${seen()}` : ''}`),
        ),
      ms * PATIENCE,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Removes a folder; false while somebody still writes into it. */
export function isRemoved(folder: string): boolean {
  try {
    rmSync(folder, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}

/** How long the main threads of these processes have waited for a CPU since they began, in all. Source: Documentation/scheduler/sched-stats.rst. */
export const queuedMs = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => {
    const [, waitedNs] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ');
    return sum + Number(waitedNs) / 1e6;
  }, 0);

/** The longest time in which nothing else could be done; what this process waited for a CPU is not counted. */
export async function longestBlock<T>(work: () => Promise<T>): Promise<{ answer: T; blockedMs: number }> {
  const own = () => performance.now() - queuedMs([process.pid]);
  let lastMs = own();
  let blockedMs = 0;
  const tick = () => {
    const nowMs = own();
    blockedMs = Math.max(blockedMs, nowMs - lastMs);
    lastMs = nowMs;
  };
  const timer = setInterval(tick, 1);
  try {
    const answer = await work();
    tick();
    return { answer, blockedMs };
  } finally {
    clearInterval(timer);
  }
}
