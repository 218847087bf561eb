/**
 * Looks for a rival on this machine while the worker runs: after a 409, each poll that goes out anyway is a question, and who
 * polls too loses the poll to it. Asks nothing by itself, except where no gateway sees the polls.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Ledger, Unseen } from './evidence.ts';
import type { Observation } from './observer.ts';

export interface HuntOptions {
  readonly observe: () => Promise<Observation | null>;
  readonly ledger: Ledger;
  readonly nextPoke: () => number;
  /** The Bot API's usual answer time, and the length of a 409, as last measured. */
  readonly measured: () => { readonly rttMs: number; readonly conflictBytes: number | null };
  /** Without a gateway: sends one getUpdates, called right after a 409, so that it is not the worker that loses by it. */
  readonly ask: () => Promise<void>;
  /** It has to be asked: nobody sees the polls go out. */
  readonly asks: () => boolean;
  /** Somebody of this machine reacted: is it enough to act on? */
  readonly onReaction: () => void;
  /** A poll of ours was watched to its end, and nobody here reacted. `blind`: ss does not work. */
  readonly onNobody: (seen: { readonly blind: boolean; readonly unseen: readonly Unseen[] }) => void;
  readonly onError: (error: unknown) => void;
}

export interface Hunt {
  /** A poll of ours was taken away. */
  conflict(): void;
  /** A poll of ours goes out. */
  sent(): void;
  /** Watches the poll that `renew` sends; resolves when nobody more can react to it. False: none went out, or ss does not work. */
  question(renew: () => void): Promise<boolean>;
  stop(): void;
}

/** Who was connected this long ago may be gone, and others may have come. */
const STALE_MS = 20_000;
const REFRESH_MS = 150;
/** For the poll to go out, and for its windows. */
const QUESTION_MS = 8_000;

export function createHunt(options: HuntOptions): Hunt {
  const { ledger } = options;
  const end = new AbortController();
  let ready: { readonly observation: Observation; readonly atMs: number } | null = null;
  let isLooking = false;
  const asked = new Set<() => void>();

  async function look(): Promise<void> {
    const observation = await options.observe();
    if (end.signal.aborted) return observation?.stop();
    if (!observation) return options.onNobody({ blind: true, unseen: [] });
    ledger.connected(observation.clients);
    ready?.observation.stop();
    ready = { observation, atMs: performance.now() };
    if (options.asks()) {
      watch();
      await options.ask();
      return;
    }
    // What the poll that goes out next is compared with must be fresh: our rival has begun its own poll only now, and may
    // have a new connection for it.
    const untilMs = performance.now() + STALE_MS;
    let current: Observation = observation;
    while (ready?.observation === current && performance.now() < untilMs) {
      await pause(REFRESH_MS, undefined, { signal: end.signal });
      const next = await options.observe();
      if (!next) return;
      if (end.signal.aborted || ready?.observation !== current) return void next.stop();
      ledger.connected(next.clients);
      current.stop();
      current = next;
      ready = { observation: next, atMs: performance.now() };
    }
  }

  /** From the moment in which a poll goes out. */
  function watch(): void {
    if (!ready) return;
    const { observation, atMs } = ready;
    ready = null;
    const sentAtMs = performance.now();
    if (sentAtMs - atMs > STALE_MS) {
      observation.stop();
      return;
    }
    const number = options.nextPoke();
    let reacted = false;
    observation
      .poked(
        { sentAtMs, ...options.measured() },
        (seen) => {
          reacted = true;
          ledger.reacted(number, seen);
          options.onReaction();
        },
        end.signal,
      )
      .then(() => {
        if (!reacted && !end.signal.aborted) options.onNobody({ blind: false, unseen: ledger.unseen() });
      })
      .catch(options.onError)
      .finally(() => {
        observation.stop();
        for (const over of asked) over();
        asked.clear();
      });
  }

  return {
    conflict() {
      if (isLooking || end.signal.aborted) return;
      isLooking = true;
      look()
        .catch((error: unknown) => {
          if (!end.signal.aborted) options.onError(error);
        })
        .finally(() => {
          isLooking = false;
        });
    },
    sent: watch,
    async question(renew) {
      const observation = await options.observe();
      if (!observation) return false;
      ledger.connected(observation.clients);
      ready?.observation.stop();
      ready = { observation, atMs: performance.now() };
      const over = new Promise<boolean>((done) => asked.add(() => done(true)));
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
