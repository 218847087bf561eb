/**
 * The active probe for a poller elsewhere (`who --probe`): getUpdates is held without an offset, so nothing is confirmed; who polls
 * too takes the poll away, and the API tells us with a 409. Of updates it reads no more than the oldest one's id and dates.
 *
 * What the rules of the API make of it (tdlib/telegram-bot-api Client.cpp: do_get_updates, abort_long_poll, fail_query_conflict):
 * - Our poll aborts one that waits; its owner comes back after its retry delay w and aborts ours. Only one 409 in 3 s is sent
 *   at once, the next is held for 3 s: ours comes w + 3 s after our poll where w < 3 s, else after w.
 * - Polled again at once after a 409, ours comes w + 3 s later whatever w is: either ours or the rival's is held.
 * - A poll that is answered at once (updates wait) aborts nobody and sees nobody. An update that waited and is there no more
 *   was confirmed by somebody, unless it is of a kind that expires soon.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type BotApi, CONFLICT_HOLD_MS, LONG_POLL_MAX_S, type Reply, type WebhookInfo } from './bot-api.ts';

export interface ProbePorts {
  readonly api: Pick<BotApi, 'call'>;
  /** The pid of a supervisor of this bot on this machine that may poll; null: none. */
  readonly supervisor: () => Promise<number | null>;
  /** Gets ready to see who reacts to the next poll; what it gives is called when that goes out. */
  readonly beforePoll?: () => Promise<(sentAtMs: number) => void>;
  /** Called once, before anything is disturbed. */
  readonly beforeFirstPoll: () => void;
  /** Ends the probe with what is known by then. */
  readonly signal: AbortSignal;
  readonly clock?: ProbeClock;
}

export interface ProbeClock {
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<unknown>;
  unixS(): number;
}

const SYSTEM_CLOCK: ProbeClock = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }),
  unixS: () => Date.now() / 1_000,
};

/**
 * Why it can't tell: updates wait, so that every poll was answered at once; the Bot API failed, or did not hold a poll; a supervisor
 * of this bot has started on this machine meanwhile.
 */
export type Reason = 'updates' | 'webhook' | 'api' | 'token' | 'supervisor' | 'interrupted';

export interface Verdict {
  readonly result: 'rival' | 'none' | 'cannot-tell';
  /** Of cannot-tell only. */
  readonly reason: Reason | null;
  /** Belongs to the reason: what the API said, the webhook's URL, the supervisor's pid. */
  readonly detail: string;
  /** From the beginning to the first sign of a rival. */
  readonly afterMs: number | null;
  /** How often it took the poll from us. 0 with a rival: it fetched an update. */
  readonly conflicts: number;
  /** Mean time between two of its takings. */
  readonly rhythmMs: number | null;
  /** How long it waits after a 409 before it polls again. */
  readonly retryMs: number | null;
  /** The longest time without a break that a poll of ours was held undisturbed. */
  readonly quietMs: number;
  readonly tookMs: number;
}

/** The part of an update that is read. */
interface Update {
  readonly update_id: number;
}

/** A 409 is held back by the server for 3 s; 2 s more for the way. */
const POLL_GRACE_MS = 5_000;
const LOOK_TIMEOUT_MS = 5_000;
/** For less a new poll is not worth it. */
const SHORTEST_POLL_MS = 500;
/** Between two polls that were answered at once: beyond the 0.5 s within which a repeated offset limits the answer to 1. */
const PAUSE_MS = 1_000;
const FAULT_PAUSE_MAX_MS = 4_000;
/** An empty answer that comes earlier than the time-out by more than this was not a held poll. */
const EARLY_MS = 500;
/** So many takings tell the rhythm; more would only annoy. */
const CONFLICTS_ENOUGH = 3;
const SLACK_MS = 200;
/** Updates that carry a date live for 24 h; one younger than this will not expire while we look, whoever's clock is right. */
const LASTING_S = 23 * 3600;

/** Never rejects over what the API or the network does. */
export async function runProbe(askedMs: number, ports: ProbePorts): Promise<Verdict> {
  const { api, supervisor, signal, beforePoll, beforeFirstPoll, clock = SYSTEM_CLOCK } = ports;
  let startedAtMs = clock.now();
  const intervalsMs: number[] = [];
  let hasPolled = false;
  let seenAtMs: number | null = null;
  let conflicts = 0;
  /** Undisturbed up to now without a break, and the longest such time. */
  let quietMs = 0;
  let longestQuietMs = 0;
  let faults = 0;
  /** The oldest update when last polled. */
  let waiting: { readonly id: number; readonly lasting: boolean } | null = null;
  let trouble = { reason: 'api' as Reason, detail: 'it did not hold a poll for long enough' };
  /** Whether a webhook is set is asked first, and again after what may come of one. */
  let mustLook = true;
  let pauseMs = 0;
  /** The poll goes out at the instant of a conflict. */
  let chained = false;

  function spoiled(reason: Reason, detail: string, thenPauseMs = PAUSE_MS): void {
    trouble = { reason, detail };
    quietMs = 0;
    pauseMs = thenPauseMs;
  }

  /** The update that waited does so no more. */
  function fetched(): void {
    if (waiting?.lasting) seenAtMs ??= clock.now();
    waiting = null;
  }

  /** True: not worth another try. */
  function failed(reply: Exclude<Reply, { kind: 'ok' }>): boolean {
    const isFinal = reply.kind === 'refused' || reply.kind === 'error';
    const detail = isFinal ? `${reply.status} ${reply.description}` : reply.description;
    const backOffMs = Math.min(PAUSE_MS * 2 ** faults++, FAULT_PAUSE_MAX_MS);
    const afterMs = reply.kind === 'flood' ? reply.retryAfterMs : backOffMs;
    spoiled(reply.kind === 'refused' ? 'token' : 'api', detail, Math.max(afterMs, PAUSE_MS));
    mustLook = true;
    return isFinal;
  }

  /** True: that was enough. */
  function answered(reply: Reply<Update[]>, sentAtMs: number, timeoutS: number): boolean {
    const nowMs = clock.now();
    const isConflict = reply.kind === 'error' && reply.conflict === 'poller';
    const wasChained = chained;
    chained = isConflict;
    if (reply.kind !== 'ok' && !isConflict) {
      if (reply.kind !== 'error' || reply.conflict !== 'webhook') return failed(reply);
      // A webhook that is turned down or deleted ends the poll, too. After the pause it is known which.
      spoiled('webhook', '');
      mustLook = true;
      return false;
    }
    faults = 0;
    // Time beyond the time-out was spent on the way, or by a busy machine.
    quietMs += Math.min(nowMs - sentAtMs, timeoutS * 1_000);
    longestQuietMs = Math.max(longestQuietMs, quietMs);
    if (reply.kind !== 'ok') {
      fetched();
      // From our poll on: it takes a moment to get ready to see who reacts to it.
      if (wasChained) intervalsMs.push(nowMs - sentAtMs);
      seenAtMs ??= nowMs;
      quietMs = 0;
      return ++conflicts >= CONFLICTS_ENOUGH;
    }
    const [first] = reply.result;
    if (first) {
      if (waiting !== null && first.update_id > waiting.id) fetched();
      waiting = { id: first.update_id, lasting: isLasting(first, clock.unixS()) };
      spoiled('updates', '');
    } else {
      fetched();
      if (nowMs - sentAtMs < timeoutS * 1_000 - EARLY_MS)
        spoiled('api', 'it answered at once instead of holding the poll');
    }
    return false;
  }

  /** `final`: what has ended it stands, however long it was quiet before. */
  function verdict(final: { readonly reason: Reason; readonly detail: string } | null): Verdict {
    const sumMs = intervalsMs.reduce((sum, ms) => sum + ms, 0);
    const rhythmMs = intervalsMs.length === 0 ? null : sumMs / intervalsMs.length;
    // Faster than the API lets one rival be: there are several.
    const isOne = rhythmMs !== null && rhythmMs >= CONFLICT_HOLD_MS - SLACK_MS;
    const seen = {
      ...{ reason: null, detail: '', conflicts, rhythmMs, quietMs: longestQuietMs },
      afterMs: seenAtMs === null ? null : seenAtMs - startedAtMs,
      retryMs: isOne ? Math.max(0, rhythmMs - CONFLICT_HOLD_MS) : null,
      tookMs: clock.now() - startedAtMs,
    };
    if (seenAtMs !== null) return { ...seen, result: 'rival' };
    // Half of what was asked for is enough to speak of; how long it was is said.
    if (!final && longestQuietMs >= askedMs / 2) return { ...seen, result: 'none' };
    return { ...seen, result: 'cannot-tell', ...(final ?? trouble) };
  }

  const interrupted = { reason: 'interrupted', detail: '' } as const;
  for (;;) {
    const shortestMs = seenAtMs === null ? Math.min(SHORTEST_POLL_MS, askedMs / 2) : CONFLICT_HOLD_MS;
    const leftMs = startedAtMs + askedMs - clock.now() - pauseMs;
    if (leftMs < shortestMs) return verdict(null);
    if (pauseMs > 0) {
      chained = false;
      await clock.sleep(pauseMs, signal).catch(() => {});
      pauseMs = 0;
    }
    if (signal.aborted) return verdict(interrupted);
    if (mustLook) {
      const info = await api.call<WebhookInfo>('getWebhookInfo', {}, { timeoutMs: LOOK_TIMEOUT_MS, signal });
      if (signal.aborted) return verdict(interrupted);
      if (info.kind === 'ok' && info.result.url !== '')
        return verdict({ reason: 'webhook', detail: info.result.url });
      mustLook = info.kind !== 'ok';
      // The time begins with the first poll.
      if (!mustLook && !hasPolled && faults === 0) startedAtMs = clock.now();
      if (info.kind !== 'ok' && failed(info)) return verdict(trouble);
      continue;
    }
    if (!hasPolled) beforeFirstPoll();
    hasPolled = true;
    // Its worker must not be disturbed, nor be taken for a rival.
    const before = await supervisor();
    if (before !== null) return verdict({ reason: 'supervisor', detail: String(before) });
    const onSent = await beforePoll?.();
    const timeoutS = Math.min(Math.ceil(leftMs / 1_000), LONG_POLL_MAX_S);
    const sentAtMs = clock.now();
    onSent?.(sentAtMs);
    const reply = await api.call<Update[]>(
      'getUpdates',
      { timeout: timeoutS, limit: 1 },
      { timeoutMs: timeoutS * 1_000 + POLL_GRACE_MS, signal },
    );
    const meanwhile = reply.kind === 'error' && reply.conflict === 'poller' ? await supervisor() : null;
    if (meanwhile !== null) return verdict({ reason: 'supervisor', detail: String(meanwhile) });
    // An answer that came at the same moment still counts.
    if (signal.aborted && reply.kind === 'outage') return verdict(interrupted);
    if (answered(reply, sentAtMs, timeoutS)) return verdict(trouble);
  }
}

/** Messages, edits and changes of members carry a date; what expires within minutes (inline and callback queries) does not. */
function isLasting(update: Update, nowS: number): boolean {
  return Object.values(update).some((part: unknown) => {
    const date = typeof part === 'object' && part !== null ? (part as { date?: unknown }).date : undefined;
    return typeof date === 'number' && nowS - date < LASTING_S;
  });
}
