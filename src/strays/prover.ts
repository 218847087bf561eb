/**
 * Proves which process of this machine polls this bot: sends its own getUpdates, or watches one that the worker sends anyway, and
 * sees which connection loses its poll to it. Decides when to ask, how long to hold the poll, and when enough is known, but not
 * which process is stopped. Its polls confirm no update, as they have neither offset nor allowed_updates. One per run or command.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { isAlive, ticksNow } from '../machine/procfs.ts';
import type { BotApi, Reply } from '../telegram/bot-api.ts';
import { type ApiAddresses, findApiAddresses } from './api-addresses.ts';
import { lookAround, type Observation, type ObserverOptions, observe } from './observer.ts';
import { type Client, createLedger, endOfWindows, type Poke } from './reactions.ts';

interface ProverOptions extends Omit<ObserverOptions, 'addresses' | 'known'> {
  readonly api: BotApi;
  readonly apiRoot: string;
}

export type Prover = ReturnType<typeof createProver>;

type Outcome =
  | { readonly kind: 'convicted' }
  /** Our poll was ended, and ss, which would show by which process, does not work here. */
  | { readonly kind: 'blind' }
  /** Nobody is there to be asked, our poll was held long enough, or more can't be learned now. */
  | { readonly kind: 'over' }
  | { readonly kind: 'failed'; readonly description: string };

interface Asks {
  /** How many processes may poll according to other signs. Used if ss does not work. */
  readonly holders: number;
  /** True for a process with the token. If one has a held request, or somebody can't be seen, the question lasts until a delayed 409 must have come. */
  readonly isSuspect: (pid: number) => boolean;
  /** Limit of time for all questions together, from the first one on. */
  readonly totalMs: number;
  /** Called with the number of connected processes before the first question, which disturbs any poller. */
  readonly beforeFirst: (processes: number) => void;
  /** Asked after each observation: is the evidence enough to act? */
  readonly isEnough: () => Promise<boolean>;
  /** Called for a reaction after the end of the experiment: to a 409 that the server delayed. */
  readonly onLate: () => void;
  readonly signal: AbortSignal;
}

interface HuntAsks {
  /** True if we must poll ourselves, as the worker's polls can't be seen. */
  readonly asks: () => boolean;
  readonly onReaction: () => void;
  /** Called when a poll was watched to its end and no process here reacted. `blind`: ss does not work. */
  readonly onNobody: (seen: { readonly blind: boolean }) => void;
  readonly onError: (error: unknown) => void;
}

/** What the last getMe has shown. */
type Ping = Omit<Poke, 'sentAtMs' | 'listingMs'>;

type Update = { readonly update_id: number };

/** Assumed round trip until one was measured: that of a distant data centre. */
const RTT_MS = 200;
const PING_MS = 3_000;
/** So often a hunt shows that the server answers; only older requests count. */
const PING_EVERY_MS = 1_000;
const RESOLVE_EVERY_MS = 60_000;
/** A poll that was held for this long has not been disturbed. */
const UNDISTURBED_MS = 1_500;
/** Without ss only our 409 shows a rival: after its retry and the 3 s by which the server may delay that 409. */
const BLIND_MS = 5_500;
/** Allowance for the listing that shows a reaction. */
const LATE_MS = 100;
/** Pause between two questions; random, so that no periodic request coincides with both. */
const GAP_MS = [3_300, 4_500] as const;
const POLL_S = 8;
const LOOK_EVERY_MS = 10;
/** How long a listing of connections is used; later, connections may have closed and opened. */
const STALE_MS = 20_000;
const REFRESH_MS = 150;
/** Limit of time for sending a poll and for its windows. */
const QUESTION_MS = 8_000;

const OVER: Outcome = { kind: 'over' };
const CONVICTED: Outcome = { kind: 'convicted' };

export function createProver(options: ProverOptions) {
  const { api } = options;
  const ledger = createLedger();
  let pokes = 0;
  let resolved: { readonly addresses: ApiAddresses; readonly atMs: number } | null = null;
  let measured: Ping = { pingedAtMs: 0, rttMs: RTT_MS, conflictBytes: null };

  /** Measures the round trip, shows that the server answers, and opens the connection that the question uses. Null, or why it failed. */
  async function ping(signal: AbortSignal): Promise<string | null> {
    const pingedAtMs = performance.now();
    const reply = await api.call('getMe', {}, { signal });
    if (reply.kind !== 'ok') return reply.description;
    measured = { pingedAtMs, rttMs: reply.tookMs, conflictBytes: reply.conflictBytes };
    return null;
  }

  /** Addresses are resolved once a minute at most, as a hunt looks several times a second. */
  async function around(): Promise<ObserverOptions> {
    if (!resolved || performance.now() - resolved.atMs > RESOLVE_EVERY_MS) {
      const addresses = await findApiAddresses(options.apiRoot);
      resolved = { addresses, atMs: performance.now() };
    }
    return { ...options, addresses: resolved.addresses, known: ledger.connectedPids() };
  }

  /** `rttMs`: as for `observe`. */
  async function prepare(rttMs: number | null = null): Promise<Observation | null> {
    const observation = await observe(await around(), rttMs);
    if (observation) ledger.connected(observation.clients);
    return observation;
  }

  const pokeOf = (observation: Observation | null, sentAtMs: number, pinged = measured): Poke => ({
    ...{ sentAtMs, ...pinged },
    listingMs: observation?.listingMs ?? 0,
  });

  /** Watches a poll from when it is sent to the end of its windows. True: a process reacted. */
  async function watch(
    observation: Observation,
    poke: Poke,
    onSeen = () => {},
    signal = new AbortController().signal,
  ): Promise<boolean> {
    const number = ++pokes;
    const atTicks = ticksNow();
    let hasReacted = false;
    try {
      const unmoved = await observation.poked(
        poke,
        (seen) => {
          hasReacted = true;
          ledger.reacted(number, atTicks, seen);
          onSeen();
        },
        signal,
      );
      for (const owner of unmoved) ledger.unmoved(owner);
    } finally {
      observation.stop();
    }
    return hasReacted;
  }

  function getUpdates(timeoutS: number, signal?: AbortSignal): Promise<Reply<readonly Update[]>> {
    const params = { timeout: timeoutS, limit: 1 };
    const timeoutMs = (timeoutS + 5) * 1_000;
    return api.call('getUpdates', params, { timeoutMs, signal });
  }

  /** Sends our own polls until it is known which processes poll. */
  async function experiment(asks: Asks): Promise<Outcome> {
    const { signal } = asks;
    ledger.forgetUnseen();
    let isOver = false;
    let untilMs = Number.POSITIVE_INFINITY;
    let noted = ledger.count();
    let isDisturbed = false;
    /** The first update that waited when we asked. */
    let waiting: number | null = null;

    /** Waits until enough was seen (true) or the time is over (false). Looks once more at the end. */
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

    try {
      for (let round = 1; ; round++) {
        const problem = await ping(signal);
        if (problem !== null) return { kind: 'failed', description: problem };
        const observation = await prepare(measured.rttMs);
        const others = observation ? processesOf(observation.clients) : asks.holders;
        if (signal.aborted || others === 0) {
          observation?.stop();
          return OVER;
        }
        const sentAtMs = performance.now();
        if (round === 1) {
          asks.beforeFirst(others);
          untilMs = sentAtMs + asks.totalMs;
        }
        const poke = pokeOf(observation, sentAtMs);
        const end = new AbortController();
        const got: { answer?: Reply<readonly Update[]> } = {};
        const asked = getUpdates(POLL_S, AbortSignal.any([signal, end.signal])).then((answer) => {
          got.answer = answer;
        });
        // Not awaited: it watches until no further reaction to this question is possible.
        if (observation) void watch(observation, poke, () => isOver && asks.onLate(), signal);
        const isEnough = await enoughBefore(
          sentAtMs + holdMs(observation, asks, poke),
          () => got.answer !== undefined,
        );
        const { answer } = got;
        end.abort();
        await asked;
        if (isEnough) return CONVICTED;
        if (signal.aborted) return OVER;
        if (answer?.kind === 'ok') {
          // Updates that wait answer our poll at once, so it disturbs nobody. Whoever holds the token may take them meanwhile, and wait at
          // our next question; where nobody took any, nobody polls, or nothing can be known.
          const first = answer.result[0]?.update_id ?? null;
          const isMoving = first !== null && first !== waiting;
          if (!isMoving || !observation?.clients.some(({ owner }) => owner && asks.isSuspect(owner.pid)))
            return OVER;
          waiting = first;
        } else if (answer) {
          if (answer.kind !== 'error' || answer.conflict === null)
            return { kind: 'failed', description: answer.description };
          if (answer.conflict === 'webhook') return OVER;
          if (!observation) return { kind: 'blind' };
          isDisturbed = true;
        } else if (!isDisturbed && !ledger.isOpen(isAlive)) return OVER;
        const nextMs = sentAtMs + GAP_MS[0] + Math.random() * (GAP_MS[1] - GAP_MS[0]);
        const isLast = nextMs + UNDISTURBED_MS > untilMs;
        // A delayed 409 may still prove a poller.
        const waitMs = isLast ? Math.min(untilMs, endOfWindows(poke) + LATE_MS) : nextMs;
        if (await enoughBefore(waitMs)) return CONVICTED;
        if (isLast) return OVER;
      }
    } finally {
      isOver = true;
    }
  }

  /** Watches, after a 409, which process reacts to each poll of the worker. */
  function hunt(asks: HuntAsks) {
    const end = new AbortController();
    /** The connections before the next poll is sent. */
    let ready: { readonly observation: Observation; readonly atMs: number; readonly pinged: Ping } | null =
      null;
    let isLooking = false;
    const questions = new Set<() => void>();

    function arm(observation: Observation) {
      ready?.observation.stop();
      ready = { observation, atMs: performance.now(), pinged: measured };
      return ready;
    }

    async function look(): Promise<void> {
      if (measured.conflictBytes === null) await ping(AbortSignal.timeout(PING_MS));
      const untilMs = performance.now() + STALE_MS;
      let nextPingMs = measured.pingedAtMs + PING_EVERY_MS;
      // Lists again until the poll is sent: the rival may have opened a new connection for its own poll.
      for (let armed: typeof ready = null; performance.now() < untilMs; ) {
        // Not awaited: the next poll may be sent at any time.
        if (performance.now() >= nextPingMs) {
          nextPingMs = performance.now() + PING_EVERY_MS;
          void ping(AbortSignal.timeout(PING_MS));
        }
        const next = await prepare();
        if (end.signal.aborted || (armed && ready !== armed)) return next?.stop();
        if (!next) return armed ? undefined : asks.onNobody({ blind: true });
        armed = arm(next);
        if (asks.asks()) {
          sent();
          // This follows a 409, so the poll that it takes is the rival's, not the worker's.
          await getUpdates(5);
          return;
        }
        await pause(REFRESH_MS, undefined, { signal: end.signal });
        if (ready !== armed) return;
      }
    }

    function sent(): void {
      if (!ready) return;
      const { observation, atMs, pinged } = ready;
      ready = null;
      const asked = [...questions];
      questions.clear();
      if (performance.now() - atMs > STALE_MS) {
        observation.stop();
        return;
      }
      watch(observation, pokeOf(observation, performance.now(), pinged), asks.onReaction, end.signal)
        .then((hasReacted) => {
          // A question follows no 409: that nobody here reacts to it tells of nobody elsewhere.
          if (hasReacted || asked.length > 0 || end.signal.aborted) return;
          ledger.silent(ticksNow());
          asks.onNobody({ blind: false });
        })
        .catch(asks.onError)
        .finally(() => {
          for (const over of asked) over();
        });
    }

    return {
      /** Call it at a 409. */
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
      /** Call it when a poll is sent. */
      sent,
      /** Watches the poll that `renew` sends until no reaction is possible any more. False: no poll was sent, or ss does not work. */
      async question(renew: () => void): Promise<boolean> {
        await ping(AbortSignal.timeout(PING_MS));
        const observation = await prepare();
        if (!observation) return false;
        arm(observation);
        const over = new Promise<boolean>((done) => questions.add(() => done(true)));
        renew();
        // The run may end meanwhile, as at a takeover.
        const late = pause(QUESTION_MS, false, { signal: end.signal, ref: false }).catch(() => false);
        return await Promise.race([over, late]);
      },
      stop() {
        end.abort();
        ready?.observation.stop();
        ready = null;
      },
    };
  }

  return {
    experiment,
    hunt,
    /** Notes which processes are connected now, and counts their connections. Null: ss does not work here. */
    async look() {
      const seen = await lookAround(await around());
      if (seen) ledger.connected(seen.clients);
      return seen ? seen.clients.length : null;
    },
    /** Prepares to watch one poll that is sent elsewhere; call the returned function when it is sent. */
    async spy() {
      await ping(AbortSignal.timeout(PING_MS));
      const observation = await prepare();
      return async (sentAtMs: number) => {
        if (observation) await watch(observation, pokeOf(observation, sentAtMs));
      };
    },
    /** The evidence so far about processes that still live. */
    evidence: () => ledger.evidence(isAlive),
    unseen: () => ledger.unseen(),
  };
}

/** How long our poll must be held before it counts as undisturbed, in ms. */
function holdMs(observation: Observation | null, { isSuspect }: Asks, poke: Poke): number {
  if (!observation) return BLIND_MS;
  const isSuspected = observation.clients.some(
    ({ isHeld, owner }) => owner === null || (isHeld && isSuspect(owner.pid)),
  );
  return isSuspected ? endOfWindows(poke) - poke.sentAtMs + LATE_MS : UNDISTURBED_MS;
}

/** A client whose process can't be seen counts by its connection. */
function processesOf(clients: readonly Client[]): number {
  return new Set(clients.map(({ key, owner }) => owner?.pid ?? key)).size;
}
