/**
 * Proves that somebody polls this bot: asks getUpdates, or lets a poll that goes out anyway be the question, and sees who on this
 * machine loses the poll to it. Owns when we ask, how long we hold, and when enough is known; whom to stop is decided elsewhere.
 * It confirms no update: no offset, no allowed_updates. One for each run or command.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { statOf } from '../machine/procfs.ts';
import type { BotApi, Reply } from '../telegram/bot-api.ts';
import { type ApiAddresses, findApiAddresses } from './api-addresses.ts';
import { createLedger, type Unseen } from './evidence.ts';
import type { Evidence } from './grade.ts';
import { type Client, type Observation, type ObserverOptions, observe, whoIsConnected } from './observer.ts';
import { endOfWindows, type Poke } from './reactions.ts';

interface ProverOptions extends Omit<ObserverOptions, 'addresses'> {
  readonly api: BotApi;
  readonly apiRoot: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where older addresses of the API root are kept; null: nowhere. */
  readonly addressFile: string | null;
}

export interface Prover {
  /** Asks who polls, until that is known. */
  experiment(asks: Asks): Promise<Outcome>;
  /** After a 409 each poll of the worker is watched for who reacts to it. */
  hunt(asks: HuntAsks): Hunt;
  /** Notes who is connected now. Null: ss does not work here. */
  look(): Promise<{ readonly connected: number } | null>;
  /** Watches one poll that somebody else sends; told when it goes out. */
  spy(): Promise<(sentAtMs: number) => Promise<void>>;
  /** What was seen so far, of processes that live now. */
  evidence(): Evidence;
  unseen(): readonly Unseen[];
}

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

export interface Asks {
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
  readonly signal: AbortSignal;
}

interface HuntAsks {
  /** It has to be asked on our own: nobody sees the worker's polls go out. */
  readonly asks: () => boolean;
  /** Somebody of this machine reacted: is it enough to act on? */
  readonly onReaction: () => void;
  /** A poll of ours was watched to its end, and nobody here reacted. `blind`: ss does not work. */
  readonly onNobody: (seen: { readonly blind: boolean; readonly unseen: readonly Unseen[] }) => void;
  readonly onError: (error: unknown) => void;
}

interface Hunt {
  /** A poll of ours was taken away. */
  conflict(): void;
  /** A poll of ours goes out. */
  sent(): void;
  /** Watches the poll that `renew` sends; resolves when nobody more can react to it. False: none went out, or ss does not work. */
  question(renew: () => void): Promise<boolean>;
  stop(): void;
}

type Update = { readonly update_id: number };

/** Until something was measured: a front end far away. */
const RTT_MS = 200;
const PING_MS = 3_000;
const RESOLVE_EVERY_MS = 60_000;
/** Held for so long, a poll is undisturbed. */
const UNDISTURBED_MS = 1_500;
/** Where nobody can be seen to react, a rival shows by our own 409 only: its retry, and 3 s that the server holds it back. */
const BLIND_MS = 5_500;
const TOTAL_MS = 10_000;
/** For the listing that shows it. */
const LATE_MS = 100;
/** Between two questions; random, so that nothing periodic reacts to both. */
const GAP_MS = [3_300, 4_500] as const;
const POLL_S = 8;
const LOOK_EVERY_MS = 10;
/** After this time a listing of connections is too old: clients may have left, and others may have come. */
const STALE_MS = 20_000;
const REFRESH_MS = 150;
/** For the poll to go out, and for its windows. */
const QUESTION_MS = 8_000;

const GIVEN_UP: Outcome = { kind: 'failed', description: 'given up' };

export function createProver(options: ProverOptions): Prover {
  const { api } = options;
  const ledger = createLedger();
  let pokes = 0;
  let resolved: { readonly addresses: ApiAddresses; readonly atMs: number } | null = null;
  let measured: Omit<Poke, 'sentAtMs'> = { rttMs: RTT_MS, conflictBytes: null };

  /** Also opens the connection on which the question goes out at once. Null, or why it failed. */
  async function ping(signal: AbortSignal): Promise<string | null> {
    const reply = await api.call('getMe', {}, { signal });
    if (reply.kind !== 'ok') return reply.description;
    measured = { rttMs: reply.tookMs, conflictBytes: reply.conflictBytes };
    return null;
  }

  /** Resolved and remembered once in a while: a hunt looks several times a second. */
  async function around(): Promise<ObserverOptions> {
    const { apiRoot, env, addressFile: file } = options;
    if (!resolved || performance.now() - resolved.atMs > RESOLVE_EVERY_MS) {
      const addresses = await findApiAddresses({ apiRoot, env, file });
      resolved = { addresses, atMs: performance.now() };
    }
    return { ...options, addresses: resolved.addresses };
  }

  async function prepare(): Promise<Observation | null> {
    const observation = await observe(await around());
    if (observation) ledger.connected(observation.clients);
    return observation;
  }

  /** From the moment in which a poll goes out to the end of its windows. True: somebody reacted. */
  async function watch(
    observation: Observation,
    sentAtMs: number,
    onSeen = () => {},
    signal = new AbortController().signal,
  ): Promise<boolean> {
    const number = ++pokes;
    let hasReacted = false;
    try {
      await observation.poked(
        { sentAtMs, ...measured },
        (seen) => {
          hasReacted = true;
          ledger.reacted(number, seen);
          onSeen();
        },
        signal,
      );
    } finally {
      observation.stop();
    }
    return hasReacted;
  }

  function getUpdates(timeoutS: number, signal?: AbortSignal): Promise<Reply<readonly Update[]>> {
    const params = { timeout: timeoutS, limit: 1 };
    const timeoutMs = (timeoutS + 5) * 1_000;
    return api.call('getUpdates', params, { timeoutMs, ...(signal ? { signal } : {}) });
  }

  async function experiment(asks: Asks, isOver: () => boolean): Promise<Outcome> {
    const { signal } = asks;
    const untilMs = performance.now() + (asks.totalMs ?? TOTAL_MS);
    let noted = ledger.count();
    let isDisturbed = false;

    /** Waits; true as soon as what was seen is enough. What came with the end is looked at before that counts. */
    async function enoughBefore(endMs: number, hasEnded = () => false): Promise<boolean> {
      for (;;) {
        const isLast = signal.aborted || hasEnded() || performance.now() >= endMs;
        const now = ledger.count();
        if (now !== noted && (await asks.isEnough())) return true;
        noted = now;
        if (isLast) return false;
        await pause(LOOK_EVERY_MS);
      }
    }

    for (let round = 1; ; round++) {
      const problem = await ping(signal);
      if (problem !== null) return { kind: 'failed', description: problem };
      const observation = await prepare();
      const others = observation ? processesOf(observation.clients) : asks.holders;
      if (signal.aborted || others === 0) {
        observation?.stop();
        return signal.aborted ? GIVEN_UP : { kind: isDisturbed ? 'disturbed' : 'nobody' };
      }
      if (round === 1) asks.beforeFirst(others);
      const sentAtMs = performance.now();
      const poke = { sentAtMs, ...measured };
      const end = new AbortController();
      const got: { answer?: Reply<readonly Update[]> } = {};
      const asked = getUpdates(POLL_S, AbortSignal.any([signal, end.signal])).then((answer) => {
        got.answer = answer;
      });
      // Goes on until nobody more can react to this question.
      if (observation) void watch(observation, sentAtMs, () => isOver() && asks.onLate?.(), signal);
      const isEnough = await enoughBefore(
        sentAtMs + holdMs(observation, asks, poke),
        () => got.answer !== undefined,
      );
      const { answer } = got;
      end.abort();
      await asked;
      if (isEnough) return { kind: 'convicted' };
      if (signal.aborted) return GIVEN_UP;
      if (answer) {
        if (answer.kind === 'ok') return { kind: answer.result.length > 0 ? 'updates' : 'undisturbed' };
        if (answer.kind !== 'error' || answer.conflict === null)
          return { kind: 'failed', description: answer.description };
        if (answer.conflict === 'webhook') return { kind: 'webhook' };
        if (!observation) return { kind: 'blind' };
        isDisturbed = true;
      } else if (!isDisturbed && !ledger.isOpen(isAlive)) return { kind: 'undisturbed' };
      const nextMs = sentAtMs + GAP_MS[0] + Math.random() * (GAP_MS[1] - GAP_MS[0]);
      const isLast = nextMs + UNDISTURBED_MS > untilMs;
      // A 409 that the server holds back may convict somebody meanwhile.
      const waitMs = isLast ? Math.min(untilMs, endOfWindows(poke) + LATE_MS) : nextMs;
      if (await enoughBefore(waitMs)) return { kind: 'convicted' };
      if (isLast) return { kind: 'disturbed' };
    }
  }

  function hunt(asks: HuntAsks): Hunt {
    const end = new AbortController();
    /** What the poll that goes out next is compared with. */
    let ready: { readonly observation: Observation; readonly atMs: number } | null = null;
    let isLooking = false;
    const questions = new Set<() => void>();

    function arm(observation: Observation) {
      ready?.observation.stop();
      ready = { observation, atMs: performance.now() };
      return ready;
    }

    async function look(): Promise<void> {
      if (measured.conflictBytes === null) await ping(AbortSignal.timeout(PING_MS));
      const untilMs = performance.now() + STALE_MS;
      // Listed anew until the poll goes out: our rival has begun its own poll only now, and may have a new connection for it.
      for (let armed: typeof ready = null; performance.now() < untilMs; ) {
        const next = await prepare();
        if (end.signal.aborted || (armed && ready !== armed)) return next?.stop();
        if (!next) return armed ? undefined : asks.onNobody({ blind: true, unseen: [] });
        armed = arm(next);
        if (asks.asks()) {
          sent();
          // Right after a 409, so that it is not the worker that loses by it.
          await getUpdates(5);
          return;
        }
        await pause(REFRESH_MS, undefined, { signal: end.signal });
        if (ready !== armed) return;
      }
    }

    function sent(): void {
      if (!ready) return;
      const { observation, atMs } = ready;
      ready = null;
      if (performance.now() - atMs > STALE_MS) {
        observation.stop();
        return;
      }
      watch(observation, performance.now(), asks.onReaction, end.signal)
        .then((hasReacted) => {
          if (!hasReacted && !end.signal.aborted) asks.onNobody({ blind: false, unseen: ledger.unseen() });
        })
        .catch(asks.onError)
        .finally(() => {
          for (const over of questions) over();
          questions.clear();
        });
    }

    return {
      conflict() {
        if (isLooking || end.signal.aborted) return;
        isLooking = true;
        look()
          .catch((error: unknown) => {
            if (!end.signal.aborted) asks.onError(error);
          })
          .finally(() => {
            isLooking = false;
          });
      },
      sent,
      async question(renew) {
        const observation = await prepare();
        if (!observation) return false;
        arm(observation);
        const over = new Promise<boolean>((done) => questions.add(() => done(true)));
        renew();
        return await Promise.race([over, pause(QUESTION_MS, false, { signal: end.signal, ref: false })]);
      },
      stop() {
        end.abort();
        ready?.observation.stop();
        ready = null;
      },
    };
  }

  return {
    async experiment(asks) {
      let isOver = false;
      try {
        return await experiment(asks, () => isOver);
      } finally {
        isOver = true;
      }
    },
    hunt,
    async look() {
      const clients = await whoIsConnected(await around());
      if (clients) ledger.connected(clients);
      return clients && { connected: clients.length };
    },
    async spy() {
      await ping(AbortSignal.timeout(PING_MS));
      const observation = await prepare();
      return async (sentAtMs) => {
        if (observation) await watch(observation, sentAtMs);
      };
    },
    evidence: () => ledger.evidence(isAlive),
    unseen: () => ledger.unseen(),
  };
}

/** How long a poll must be held to be undisturbed. */
function holdMs(observation: Observation | null, { isSuspect }: Asks, poke: Poke): number {
  if (!observation) return BLIND_MS;
  const isSuspected = observation.clients.some(
    ({ isHeld, owner }) => isHeld && owner && isSuspect(owner.pid),
  );
  return isSuspected ? endOfWindows(poke) - poke.sentAtMs + LATE_MS : UNDISTURBED_MS;
}

/** A client whose process can't be seen counts by its connection. */
function processesOf(clients: readonly Client[]): number {
  return new Set(clients.map(({ key, owner }) => owner?.pid ?? key)).size;
}

function isAlive({ pid, startId }: { readonly pid: number; readonly startId: string }): boolean {
  return statOf(pid)?.startId === startId;
}
