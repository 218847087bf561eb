/**
 * The experiment: asks getUpdates once, and sees who on this machine loses the poll to us. Owns when we ask, how long we hold
 * and when enough is known; whom to stop is decided elsewhere. It confirms no update: no offset, no allowed_updates.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { BotApi, Reply } from '../telegram/bot-api.ts';
import type { Ledger } from './evidence.ts';
import type { Client, Observation, Seen } from './observer.ts';
import { endOfWindows, type Poke } from './reactions.ts';

export type Outcome =
  /** Nobody else is connected to the API root: nothing was asked. */
  | { readonly kind: 'nobody' }
  /** Our poll was held for a while, and no reaction is open. */
  | { readonly kind: 'undisturbed' }
  /** Updates wait, so our poll was answered at once and disturbed nobody: nothing is known. */
  | { readonly kind: 'updates' }
  /** Our poll was taken away, or a reaction was seen, and it is not enough to say by whom. */
  | { readonly kind: 'disturbed' }
  /** Our poll was taken away, and ss, which would show by whom, does not work here. */
  | { readonly kind: 'blind' }
  /** `isEnough` said so. */
  | { readonly kind: 'convicted' }
  /** Somebody has set a webhook meanwhile. */
  | { readonly kind: 'webhook' }
  | { readonly kind: 'failed'; readonly description: string };

export interface ExperimentOptions {
  readonly api: BotApi;
  /** Null where ss does not work: then nobody can be seen to react, and only a 409 of our own tells of a rival. */
  readonly observe: () => Promise<Observation | null>;
  readonly ledger: Ledger;
  readonly isAlive: (process: { readonly pid: number; readonly startId: string }) => boolean;
  /** How many processes may poll, as far as other signs tell: what counts where ss does not work. */
  readonly holders: number;
  /** It holds the token: where a request of it is held as well, the question waits for a 409 that the server holds back. */
  readonly isSuspect: (pid: number) => boolean;
  /** For all questions together; default 10 s. */
  readonly totalMs?: number;
  /** Called before the first question, as it disturbs whoever polls; with the number of processes that are connected. */
  readonly beforeFirst: (processes: number) => void;
  /** Something was seen: is it enough to act on? */
  readonly isEnough: () => Promise<boolean>;
  /** What is seen after the experiment has ended: a 409 that the server held back. */
  readonly onLate?: () => void;
  /** Told before each question; the usual answer time, and how long a 409 is on the wire. */
  readonly onMeasured?: (measured: { readonly rttMs: number; readonly conflictBytes: number | null }) => void;
  readonly signal: AbortSignal;
}

/** Held for so long, a poll is undisturbed. */
export const UNDISTURBED_MS = 1_500;
/** Where nobody can be seen to react, a rival shows by our own 409 only: its retry, and 3 s that the server holds it back. */
const BLIND_MS = 5_500;
const TOTAL_MS = 10_000;
/** For the listing that shows it. */
const LATE_MS = 100;
/** Between two questions; random, so that nothing periodic reacts to both. */
const GAP_MS = [3_300, 4_500] as const;
const POLL_TIMEOUT_S = 8;
const UPDATES_LIMIT = 1;

/** A number for each question of this process: reactions to different ones are told apart by it. */
export function createPokeNumbers(): () => number {
  let last = 0;
  return () => ++last;
}

export async function askWhoPolls(options: ExperimentOptions, nextPoke: () => number): Promise<Outcome> {
  const { api, ledger, signal } = options;
  const untilMs = performance.now() + (options.totalMs ?? TOTAL_MS);
  let isDisturbed = false;
  for (let round = 1; ; round++) {
    const measured = await measure(api, signal);
    if (measured.kind !== 'ok') return measured;
    options.onMeasured?.(measured);
    const observation = await options.observe();
    if (signal.aborted) return stopAll(observation, { kind: 'failed', description: 'given up' });
    if (observation) ledger.connected(observation.clients);
    const others = observation ? processesOf(observation.clients) : options.holders;
    if (others === 0) return stopAll(observation, { kind: isDisturbed ? 'disturbed' : 'nobody' });
    if (round === 1) options.beforeFirst(others);
    const { rttMs, conflictBytes } = measured;
    const poke = { sentAtMs: performance.now(), rttMs, conflictBytes };
    const answer = await poll(options, observation, poke, nextPoke());
    if (answer === 'enough') return { kind: 'convicted' };
    if (signal.aborted) return { kind: 'failed', description: 'given up' };
    if (answer !== 'held') {
      if (answer.kind === 'ok') return { kind: answer.result.length > 0 ? 'updates' : 'undisturbed' };
      if (answer.kind !== 'error' || answer.conflict === null)
        return { kind: 'failed', description: answer.description };
      if (answer.conflict === 'webhook') return { kind: 'webhook' };
      if (!observation) return { kind: 'blind' };
      isDisturbed = true;
    } else if (!isDisturbed && !ledger.isOpen(options.isAlive)) return { kind: 'undisturbed' };
    const [least, most] = GAP_MS;
    const nextMs = poke.sentAtMs + least + Math.random() * (most - least);
    if (nextMs + UNDISTURBED_MS > untilMs) return { kind: 'disturbed' };
    // What the server holds back may convict somebody meanwhile.
    if (await enoughUntil(options, nextMs)) return { kind: 'convicted' };
  }
}

/** One whose process can't be seen counts for its connection. */
function processesOf(clients: readonly Client[]): number {
  return new Set(clients.map(({ key, owner }) => owner?.pid ?? key)).size;
}

function stopAll(observation: Observation | null, outcome: Outcome): Outcome {
  observation?.stop();
  return outcome;
}

export type Measured =
  | { readonly kind: 'ok'; readonly rttMs: number; readonly conflictBytes: number | null }
  | Extract<Outcome, { kind: 'failed' }>;

/** Also opens the connection on which the question goes out at once. */
export async function measure(api: BotApi, signal: AbortSignal): Promise<Measured> {
  const reply = await api.call('getMe', {}, { signal });
  if (reply.kind !== 'ok') return { kind: 'failed', description: reply.description };
  return { kind: 'ok', rttMs: reply.tookMs, conflictBytes: reply.conflictBytes };
}

type Update = { readonly update_id: number };

/** One question. The observation goes on until nobody more can react to it. */
async function poll(
  options: ExperimentOptions,
  observation: Observation | null,
  poke: Poke,
  number: number,
): Promise<'enough' | 'held' | Reply<readonly Update[]>> {
  const { api, ledger, signal } = options;
  const end = new AbortController();
  const params = { timeout: POLL_TIMEOUT_S, limit: UPDATES_LIMIT };
  const answered = api.call<readonly Update[]>('getUpdates', params, {
    timeoutMs: POLL_TIMEOUT_S * 1_000 + 5_000,
    signal: AbortSignal.any([signal, end.signal]),
  });
  let isOver = false;
  let checking: Promise<unknown> = Promise.resolve();
  const enough = new Promise<'enough'>((resolve) => {
    const onSeen = (seen: Seen) => {
      ledger.reacted(number, seen);
      if (isOver) return options.onLate?.();
      checking = checking.then(
        async () => {
          if (!isOver && (await options.isEnough())) resolve('enough');
        },
        () => {},
      );
    };
    void observation?.poked(poke, onSeen, signal).finally(() => observation.stop());
  });
  const suspects = observation?.clients.some(
    ({ isHeld, owner }) => isHeld && owner && options.isSuspect(owner.pid),
  );
  const heldMs = !observation
    ? BLIND_MS
    : suspects
      ? endOfWindows(poke) - poke.sentAtMs + LATE_MS
      : UNDISTURBED_MS;
  const held = pause(heldMs, 'held' as const, { signal: end.signal }).catch(() => 'held' as const);
  const first = await Promise.race([answered, enough, held]);
  // A reaction that came with our own answer is looked at before the answer counts.
  const last = first === 'enough' ? first : await Promise.race([enough, checking.then(() => first)]);
  isOver = true;
  end.abort();
  await answered;
  return last;
}

/** Waits for the next question; ends early where late reactions are enough. */
async function enoughUntil({ isEnough, ledger, signal }: ExperimentOptions, atMs: number): Promise<boolean> {
  let seen = 0;
  while (!signal.aborted && performance.now() < atMs) {
    await pause(Math.min(100, Math.max(1, atMs - performance.now())), undefined, { signal }).catch(() => {});
    const now = ledger.count();
    if (now !== seen && (await isEnough())) return true;
    seen = now;
  }
  return false;
}
