/**
 * The active probe for a poller elsewhere (`who --probe`): it holds a getUpdates without an offset, so nothing is confirmed;
 * another poller ends that poll, and the API tells us with a 409. Of updates it reads only the oldest one's id and dates.
 *
 * The API's rules for this (tdlib/telegram-bot-api Client.cpp: do_get_updates, abort_long_poll, fail_query_conflict):
 * - Our poll aborts one that waits; its owner polls again after its retry delay w and aborts ours. Only one 409 in 3 s is sent
 *   at once, the next is held for 3 s: ours comes w + 3 s after our poll if w < 3 s, else after w.
 * - If we poll again right after a 409, the next one comes w + 3 s later whatever w is: either ours or the rival's is held.
 * - A poll that is answered at once (updates wait) aborts no other poll and sees none. An update that waited and has gone was
 *   confirmed by another poller, unless it is of a kind that expires soon.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type BotApi, CONFLICT_HOLD_MS, LONG_POLL_MAX_S, type Reply, type WebhookInfo } from './bot-api.ts';
import { maskWebhookUrl } from './webhook.ts';

interface ProbePorts {
  readonly api: Pick<BotApi, 'call'>;
  /** The pid of a supervisor of this bot on this machine that may poll; null: none. */
  readonly supervisor: () => Promise<number | null>;
  /** Prepares to see which process reacts to the next poll; the returned function is called when that is sent. */
  readonly beforePoll?: () => Promise<(sentAtMs: number) => void>;
  /** Called once, before any poller is disturbed. */
  readonly beforeFirstPoll: () => void;
  /** Ends the probe with the result so far. */
  readonly signal: AbortSignal;
  readonly clock?: ProbeClock;
}

interface ProbeClock {
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
 * Why it can't tell, for example: `updates`: updates wait, so every poll was answered at once; `api`: the Bot API failed or did
 * not hold a poll; `supervisor`: a supervisor of this bot has started on this machine meanwhile.
 */
export type Reason = 'updates' | 'webhook' | 'api' | 'token' | 'supervisor' | 'interrupted';

export type Verdict = Awaited<ReturnType<typeof runProbe>>;

interface Update {
  readonly update_id: number;
}

/** The server holds a 409 back for 3 s; the network may take 2 s more. */
const POLL_GRACE_MS = 5_000;
const LOOK_TIMEOUT_MS = 5_000;
/** With less time left no new poll is sent. */
const SHORTEST_POLL_MS = 500;
/** Pause after a poll that was answered at once: longer than the 0.5 s within which a repeated offset limits the answer to 1. */
const PAUSE_MS = 1_000;
const FAULT_PAUSE_MAX_MS = 4_000;
/** If an empty answer precedes the time-out by more than this, the poll was not held. */
const EARLY_MS = 500;
/** So many conflicts show the rhythm; more would only disturb. */
const CONFLICTS_ENOUGH = 3;
const SLACK_MS = 200;
/** Updates with a date live for 24 h; one younger than this will not expire meanwhile, even if a clock is wrong. */
const LASTING_S = 23 * 3600;

/** Errors of the API or the network never make it reject. */
export async function runProbe(askedMs: number, ports: ProbePorts) {
  const { api, supervisor, signal, beforePoll, beforeFirstPoll, clock = SYSTEM_CLOCK } = ports;
  let startedAtMs = clock.now();
  const intervalsMs: number[] = [];
  let hasPolled = false;
  let seenAtMs: number | null = null;
  let conflicts = 0;
  /** How long our polls have been undisturbed up to now, and the longest such time. */
  let quietMs = 0;
  let longestQuietMs = 0;
  let faults = 0;
  /** The oldest update of the last answer. */
  let waiting: { readonly id: number; readonly lasting: boolean } | null = null;
  let trouble = { reason: 'api' as Reason, detail: 'it did not hold a poll for long enough' };
  /** A webhook is looked for first, and again after anything that one may cause. */
  let mustLook = true;
  let pauseMs = 0;
  /** The next poll is sent right after a conflict. */
  let chained = false;

  function spoiled(reason: Reason, detail: string, thenPauseMs = PAUSE_MS): void {
    trouble = { reason, detail };
    quietMs = 0;
    pauseMs = thenPauseMs;
  }

  function fetched(): void {
    if (waiting?.lasting) seenAtMs ??= clock.now();
    waiting = null;
  }

  /** True: another try is pointless. */
  function failed(reply: Exclude<Reply, { kind: 'ok' }>): boolean {
    const isFinal = reply.kind === 'refused' || reply.kind === 'error';
    const detail = isFinal ? `${reply.status} ${reply.description}` : reply.description;
    const backOffMs = Math.min(PAUSE_MS * 2 ** faults++, FAULT_PAUSE_MAX_MS);
    const afterMs = reply.kind === 'flood' ? reply.retryAfterMs : backOffMs;
    spoiled(reply.kind === 'refused' ? 'token' : 'api', detail, Math.max(afterMs, PAUSE_MS));
    mustLook = true;
    return isFinal;
  }

  /** True: the probe is done. */
  function answered(reply: Reply<Update[]>, sentAtMs: number, timeoutS: number): boolean {
    const nowMs = clock.now();
    const isConflict = reply.kind === 'error' && reply.conflict === 'poller';
    const wasChained = chained;
    chained = isConflict;
    if (reply.kind !== 'ok' && !isConflict) {
      if (reply.kind !== 'error' || reply.conflict !== 'webhook') return failed(reply);
      // A webhook that is refused or deleted ends the poll, too. The look after the pause tells whether one is set.
      spoiled('webhook', '');
      mustLook = true;
      return false;
    }
    faults = 0;
    // Time beyond the time-out was spent in the network or by a busy machine.
    quietMs += Math.min(nowMs - sentAtMs, timeoutS * 1_000);
    longestQuietMs = Math.max(longestQuietMs, quietMs);
    if (reply.kind !== 'ok') {
      fetched();
      // The interval counts from our poll, not from the 409 before, since the preparation of a poll takes a moment.
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

  /** `final`: this reason counts, however long it was quiet before. */
  function verdict(final: typeof trouble | null) {
    const sumMs = intervalsMs.reduce((sum, ms) => sum + ms, 0);
    const rhythmMs = intervalsMs.length === 0 ? null : sumMs / intervalsMs.length;
    // A rhythm faster than the API allows one rival shows that there are several.
    const isOne = rhythmMs !== null && rhythmMs >= CONFLICT_HOLD_MS - SLACK_MS;
    // Half of the requested time is enough for a result, which tells how long it was.
    const isQuiet = !final && longestQuietMs >= askedMs / 2;
    const result = seenAtMs !== null ? 'rival' : isQuiet ? 'none' : 'cannot-tell';
    const why = result === 'cannot-tell' ? (final ?? trouble) : null;
    return {
      result,
      reason: why?.reason ?? null,
      /** Details of the reason: the API's message, the webhook's URL as it may be shown, or the supervisor's pid. */
      detail: why?.detail ?? '',
      /** Time from the first poll to the first sign of a rival. */
      afterMs: seenAtMs === null ? null : seenAtMs - startedAtMs,
      /** How often a rival ended our poll. 0 with a rival: it fetched an update. */
      conflicts,
      rhythmMs,
      /** How long the rival waits after a 409 before it polls again. */
      retryMs: isOne ? Math.max(0, rhythmMs - CONFLICT_HOLD_MS) : null,
      /** The longest unbroken time in which our polls were undisturbed. */
      quietMs: longestQuietMs,
      tookMs: clock.now() - startedAtMs,
    } as const;
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
        return verdict({ reason: 'webhook', detail: maskWebhookUrl(info.result.url) });
      mustLook = info.kind !== 'ok';
      // The time starts with the first poll.
      if (!mustLook && !hasPolled && faults === 0) startedAtMs = clock.now();
      if (info.kind !== 'ok' && failed(info)) return verdict(trouble);
      continue;
    }
    if (!hasPolled) beforeFirstPoll();
    hasPolled = true;
    // The supervisor's worker must neither be disturbed nor be taken for a rival.
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
    // Any other answer still counts, even after the abort.
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
