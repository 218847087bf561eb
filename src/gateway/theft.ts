/**
 * Detects updates that another poller has taken while our worker was busy, with a poll that does not wait and so causes no 409. The Bot API
 * numbers updates as they enter its queue; one leaves it when an offset confirms it, or when it expires, after 30 s at the earliest. So ids
 * that are missing, and were queued for less than that, were confirmed by another poller. Pure: events carry the time (it includes suspend).
 * Source: tdlib/td TQueue.cpp, tdlib/telegram-bot-api Client.cpp (add_update_impl, do_get_updates).
 */
interface AskedPoll {
  readonly offset: number;
  readonly limit: number;
  readonly sinceMs: number;
  /** At this time the answer had not come yet, or we would have read it. */
  readonly seenAtMs: number;
  readonly lookedAtMs: number;
  /** It repeats an offset so soon that the server may have answered with one update only. */
  readonly repeats: boolean;
  /** Its answer may precede updates that left the queue another way. */
  readonly unsure: boolean;
}

type Ledger = Readonly<typeof emptyLedger>;

export const emptyLedger = {
  /** The highest id that the worker was given, and when; null: the next id is not known. */
  last: null as { readonly id: number; readonly atMs: number } | null,
  /** All updates with a higher id entered the queue after this time. */
  emptyAtMs: Number.NEGATIVE_INFINITY,
  poll: null as AskedPoll | null,
  conflictAtMs: Number.NEGATIVE_INFINITY,
};

export type LedgerEvent = { readonly atMs: number } & (
  | { readonly kind: 'conflict' }
  /** A poll goes out; its parameters as the server reads them. */
  | { readonly kind: 'asked'; readonly offset: number; readonly limit: number }
  /** Sent every LOOK_EVERY_MS: a late one shows that our own process stood still. */
  | { readonly kind: 'looked' }
  /** The answer is passed to the worker; otherwise its updates are still in the queue. */
  | { readonly kind: 'passed'; readonly ids: readonly number[]; readonly bytes: number }
  /** Ids may be missing for another reason: an outage (the server may renumber), a webhook, dropped updates. */
  | { readonly kind: 'unsure' }
);

/** The tick of a run. */
export const LOOK_EVERY_MS = 5_000;
const LOOK_LATE_MS = 7_000;
/** An inline query expires after 30 s, some of which the answer may have been under way. */
const FRESH_MS = 25_000;
/** Updates that are missing around a 409 were taken by the rival, which is reported as such. */
const RIVAL_MS = 10_000;
/** After a week without an update the next id is random. */
const SILENCE_MS = 6 * 86_400_000;
/** A larger gap means that the server renumbers, since no poller takes so many within FRESH_MS. */
const TAKEN_MAX = 10_000;
/** Size of the server's queue, so a repeated update is not further back. */
const BACK_MAX = 100_000;
/** Answers are cut at 4 MiB, so one that is nearly that long may not hold all updates. */
const BYTES_MAX = 3 * 1024 * 1024;
const REPEAT_MS = 3_000;

/** The next state, and how many updates another poller has taken since the previous answer. */
export function stepLedger(ledger: Ledger, event: LedgerEvent): readonly [Ledger, number] {
  const { atMs } = event;
  const { poll, last } = ledger;
  switch (event.kind) {
    case 'asked': {
      const { offset, limit } = event;
      const skips = offset < 0 || (last !== null && offset > last.id + 1);
      const old = last !== null && atMs - last.atMs > SILENCE_MS;
      const repeats = poll?.offset === offset && atMs - poll.sinceMs < REPEAT_MS;
      const next = { offset, limit, sinceMs: atMs, seenAtMs: atMs, lookedAtMs: atMs, repeats, unsure: false };
      return [{ ...ledger, last: skips || old ? null : last, poll: next }, 0];
    }
    case 'looked': {
      if (!poll) return [ledger, 0];
      // Our process stood still: what came in meanwhile is read after this, and the poll may have been sent only now.
      const late = atMs - poll.lookedAtMs > LOOK_LATE_MS;
      const seen = late ? { sinceMs: atMs } : { seenAtMs: atMs };
      return [{ ...ledger, poll: { ...poll, ...seen, lookedAtMs: atMs } }, 0];
    }
    case 'passed':
      return passed(ledger, event);
    case 'conflict':
      return [{ ...ledger, conflictAtMs: atMs }, 0];
    case 'unsure':
      return [{ ...ledger, last: null, poll: poll && { ...poll, unsure: true } }, 0];
  }
}

function passed(
  ledger: Ledger,
  { atMs, ids, bytes }: Extract<LedgerEvent, { kind: 'passed' }>,
): readonly [Ledger, number] {
  const { poll, last, emptyAtMs, conflictAtMs } = ledger;
  if (!poll) return [ledger, 0];
  const sinceMs = atMs - poll.lookedAtMs > LOOK_LATE_MS ? atMs : poll.sinceMs;
  const known = sinceMs - emptyAtMs < FRESH_MS ? last : null;
  const all = ids.length < poll.limit && bytes < BYTES_MAX && !(poll.repeats && ids.length === 1);
  const next = { ...ledger, last: known, emptyAtMs: all ? poll.seenAtMs : emptyAtMs };
  const [first] = ids;
  if (first === undefined) return [next, 0];
  if (poll.unsure || !ids.every(Number.isSafeInteger)) return [{ ...next, last: null }, 0];
  const highest = { id: ids.at(-1)!, atMs };
  if (known === null || first < Math.max(poll.offset, known.id - BACK_MAX))
    return [{ ...next, last: highest }, 0];
  // An offset confirms all updates below it, so what is missing after an update that is still there has expired.
  const missing = Math.max(0, first - known.id - 1);
  const theft = missing <= TAKEN_MAX && conflictAtMs < emptyAtMs - RIVAL_MS;
  return [{ ...next, last: highest.id > known.id ? highest : known }, theft ? missing : 0];
}
