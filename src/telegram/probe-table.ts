/**
 * The active probe for a poller elsewhere: getUpdates is held without an offset, so nothing is confirmed; who polls too takes
 * the poll away, and the API tells us with a 409. PURE: events with their times in, the next call or the verdict out.
 *
 * What the rules of the API make of it (tdlib/telegram-bot-api Client.cpp: do_get_updates, abort_long_poll,
 * fail_query_conflict):
 * - Our poll aborts one that waits; its owner comes back after its retry delay w and aborts ours. Only one 409 in 3 s is sent
 *   at once, the next is held for 3 s: ours comes w + 3 s after our poll where w < 3 s, else after w.
 * - Polled again at once after a 409, ours comes w + 3 s later whatever w is: either ours or the rival's is held.
 * - A poll that is answered at once (updates wait) aborts nobody and sees nobody. An update that waited and is there no more
 *   was confirmed by somebody, unless it is of a kind that expires soon.
 */

import { CONFLICT_HOLD_MS, LONG_POLL_MAX_S } from './bot-api.ts';

export type Reason =
  /** Updates wait, so that every poll was answered at once. */
  | 'updates'
  | 'webhook'
  /** The Bot API failed, or did not hold a poll. */
  | 'api'
  | 'token'
  /** A supervisor of this bot has started on this machine meanwhile. */
  | 'supervisor'
  | 'interrupted';

/** `sentAtMs`: when the poll that is answered was sent. */
export type ProbeEvent =
  | { readonly kind: 'webhook-info'; readonly url: string }
  | { readonly kind: 'empty'; readonly sentAtMs: number }
  | {
      readonly kind: 'updates';
      readonly sentAtMs: number;
      readonly firstId: number;
      /** It will not expire while we look: its going is somebody's doing. */
      readonly lasting: boolean;
    }
  | { readonly kind: 'conflict'; readonly sentAtMs: number }
  /** A 409 that says that a webhook is active, or was just set. */
  | { readonly kind: 'webhook-conflict' }
  /** Worth another try: 5xx, reset, time-out; or 429 with its `retryAfterMs`. */
  | { readonly kind: 'fault'; readonly text: string; readonly retryAfterMs: number | null }
  /** Not worth one. */
  | { readonly kind: 'refused'; readonly reason: 'token' | 'api'; readonly text: string }
  | { readonly kind: 'supervisor'; readonly pid: number }
  | { readonly kind: 'interrupted' };

export type ProbeAction =
  /** Ask getWebhookInfo. */
  | { readonly kind: 'look'; readonly afterMs: number }
  /** Call getUpdates: no offset, no allowed_updates. */
  | { readonly kind: 'poll'; readonly afterMs: number; readonly timeoutS: number }
  | { readonly kind: 'end'; readonly verdict: Verdict };

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
  /** From the beginning to the end. */
  readonly tookMs: number;
}

export interface Probe {
  readonly askedMs: number;
  readonly startedAtMs: number;
  readonly deadlineMs: number;
  /** Neither polled nor failed yet: the time begins with the first poll. */
  readonly untouched: boolean;
  /** Of the poll that is open; 0 while none is. */
  readonly timeoutS: number;
  /** The open poll was sent at the instant of a conflict. */
  readonly chained: boolean;
  readonly seenAtMs: number | null;
  readonly conflicts: number;
  readonly intervalsMs: readonly number[];
  /** Undisturbed up to now without a break, and the longest such time. */
  readonly quietMs: number;
  readonly longestQuietMs: number;
  readonly faultsInRow: number;
  /** The oldest update when last polled. */
  readonly waiting: { readonly id: number; readonly lasting: boolean } | null;
  /** What spoiled the last poll. */
  readonly trouble: { readonly reason: Reason; readonly detail: string } | null;
}

export interface ProbeStep {
  readonly probe: Probe;
  readonly action: ProbeAction;
}

/** For less a new poll is not worth it. */
const SHORTEST_POLL_MS = 500;
/** The soonest that a rival can be seen to come back. */
const SOONEST_RETURN_MS = CONFLICT_HOLD_MS;
/** Between two polls that were answered at once: beyond the 0.5 s within which a repeated offset limits the answer to 1. */
const PAUSE_MS = 1_000;
const FAULT_PAUSE_MAX_MS = 4_000;
/** An empty answer that comes earlier than the time-out by more than this was not a held poll. */
const EARLY_MS = 500;
/** So many takings tell the rhythm; more would only annoy. */
const CONFLICTS_ENOUGH = 3;
const SLACK_MS = 200;

export function startProbe(askedMs: number, nowMs: number): ProbeStep {
  const probe: Probe = {
    askedMs,
    ...clock(askedMs, nowMs),
    untouched: true,
    timeoutS: 0,
    chained: false,
    seenAtMs: null,
    conflicts: 0,
    intervalsMs: [],
    quietMs: 0,
    longestQuietMs: 0,
    faultsInRow: 0,
    waiting: null,
    trouble: null,
  };
  return { probe, action: { kind: 'look', afterMs: 0 } };
}

function clock(askedMs: number, nowMs: number): Pick<Probe, 'startedAtMs' | 'deadlineMs'> {
  return { startedAtMs: nowMs, deadlineMs: nowMs + askedMs };
}

export function stepProbe(probe: Probe, event: ProbeEvent, nowMs: number): ProbeStep {
  switch (event.kind) {
    case 'webhook-info':
      if (event.url !== '') return end(spoiled(probe, 'webhook', event.url), nowMs, true);
      return poll(probe.untouched ? { ...probe, ...clock(probe.askedMs, nowMs) } : probe, nowMs, 0);
    case 'empty':
      return afterEmpty(heldUntil(probe, event.sentAtMs, nowMs), event.sentAtMs, nowMs);
    case 'updates': {
      const held = heldUntil(probe, event.sentAtMs, nowMs);
      const gone = held.waiting !== null && event.firstId > held.waiting.id;
      const seen = gone ? withoutWaiting(held, nowMs) : held;
      const waiting = { id: event.firstId, lasting: event.lasting };
      return poll({ ...spoiled(seen, 'updates', ''), waiting }, nowMs, PAUSE_MS);
    }
    case 'conflict':
      return afterConflict(
        withoutWaiting(heldUntil(probe, event.sentAtMs, nowMs), nowMs),
        event.sentAtMs,
        nowMs,
      );
    case 'webhook-conflict':
      // A webhook that is turned down or deleted ends the poll, too. After the pause it is known which.
      return { probe: spoiled(probe, 'webhook', ''), action: { kind: 'look', afterMs: PAUSE_MS } };
    case 'fault': {
      const again = { ...spoiled(probe, 'api', event.text), faultsInRow: probe.faultsInRow + 1 };
      const backOffMs = Math.min(PAUSE_MS * 2 ** probe.faultsInRow, FAULT_PAUSE_MAX_MS);
      return retry(again, nowMs, Math.max(event.retryAfterMs ?? backOffMs, PAUSE_MS));
    }
    case 'refused':
      return end(spoiled(probe, event.reason, event.text), nowMs, true);
    case 'supervisor':
      return end(spoiled(probe, 'supervisor', String(event.pid)), nowMs, true);
    case 'interrupted':
      return end(spoiled(probe, 'interrupted', ''), nowMs, true);
  }
}

function afterEmpty(probe: Probe, sentAtMs: number, nowMs: number): ProbeStep {
  const seen = withoutWaiting(probe, nowMs);
  const early = nowMs - sentAtMs < probe.timeoutS * 1000 - EARLY_MS;
  if (!early) return poll({ ...seen, trouble: null }, nowMs, 0);
  return poll(spoiled(seen, 'api', 'it answered at once instead of holding the poll'), nowMs, PAUSE_MS);
}

function afterConflict(probe: Probe, sentAtMs: number, nowMs: number): ProbeStep {
  const intervalsMs = probe.chained
    ? // From our poll on: it takes a moment to get ready to see who reacts to it.
      [...probe.intervalsMs, nowMs - sentAtMs]
    : probe.intervalsMs;
  const conflicts = probe.conflicts + 1;
  const next: Probe = {
    ...probe,
    seenAtMs: probe.seenAtMs ?? nowMs,
    conflicts,
    intervalsMs,
    quietMs: 0,
    trouble: null,
  };
  if (conflicts >= CONFLICTS_ENOUGH) return end(next, nowMs, false);
  const step = poll(next, nowMs, 0);
  return { ...step, probe: { ...step.probe, chained: true } };
}

/** The next poll after a pause, or the end where too little time is left for one. */
function poll(probe: Probe, nowMs: number, afterMs: number): ProbeStep {
  const leftMs = probe.deadlineMs - nowMs - afterMs;
  if (leftMs < shortest(probe)) return end(probe, nowMs, false);
  const timeoutS = Math.min(Math.ceil(leftMs / 1000), LONG_POLL_MAX_S);
  return {
    probe: { ...probe, untouched: false, timeoutS, chained: false },
    action: { kind: 'poll', afterMs, timeoutS },
  };
}

/** After a fault: whether a webhook is set may have been what failed, so that is asked again. */
function retry(probe: Probe, nowMs: number, afterMs: number): ProbeStep {
  if (probe.deadlineMs - nowMs - afterMs < shortest(probe)) return end(probe, nowMs, false);
  return { probe: { ...probe, chained: false }, action: { kind: 'look', afterMs } };
}

function shortest(probe: Probe): number {
  return probe.seenAtMs === null ? Math.min(SHORTEST_POLL_MS, probe.askedMs / 2) : SOONEST_RETURN_MS;
}

/** A poll was held from `sentAtMs` until now, undisturbed. */
function heldUntil(probe: Probe, sentAtMs: number, nowMs: number): Probe {
  // Time beyond the time-out was spent on the way, or by a busy machine.
  const quietMs = probe.quietMs + Math.min(nowMs - sentAtMs, probe.timeoutS * 1000);
  return { ...probe, faultsInRow: 0, quietMs, longestQuietMs: Math.max(probe.longestQuietMs, quietMs) };
}

function spoiled(probe: Probe, reason: Reason, detail: string): Probe {
  return { ...probe, untouched: false, quietMs: 0, trouble: { reason, detail } };
}

/** The update that waited does so no more. */
function withoutWaiting(probe: Probe, nowMs: number): Probe {
  if (!probe.waiting?.lasting) return { ...probe, waiting: null };
  return { ...probe, waiting: null, seenAtMs: probe.seenAtMs ?? nowMs };
}

/** `final`: what spoiled it stands, however long it was quiet before. */
function end(probe: Probe, nowMs: number, final: boolean): ProbeStep {
  return { probe, action: { kind: 'end', verdict: judge(probe, nowMs, final) } };
}

function judge(probe: Probe, nowMs: number, final: boolean): Verdict {
  const { seenAtMs, intervalsMs } = probe;
  const rhythmMs =
    intervalsMs.length === 0 ? null : intervalsMs.reduce((sum, ms) => sum + ms, 0) / intervalsMs.length;
  const common = {
    afterMs: seenAtMs === null ? null : seenAtMs - probe.startedAtMs,
    conflicts: probe.conflicts,
    rhythmMs,
    // Faster than the API lets one rival be: there are several.
    retryMs:
      rhythmMs === null || rhythmMs < CONFLICT_HOLD_MS - SLACK_MS
        ? null
        : Math.max(0, rhythmMs - CONFLICT_HOLD_MS),
    quietMs: probe.longestQuietMs,
    tookMs: nowMs - probe.startedAtMs,
  };
  if (seenAtMs !== null) return { ...common, result: 'rival', reason: null, detail: '' };
  // Half of what was asked for is enough to speak of; how long it was is said.
  if (!final && probe.longestQuietMs >= probe.askedMs / 2) {
    return { ...common, result: 'none', reason: null, detail: '' };
  }
  const trouble = probe.trouble ?? {
    reason: 'api' as const,
    detail: 'it did not hold a poll for long enough',
  };
  return { ...common, result: 'cannot-tell', ...trouble };
}
