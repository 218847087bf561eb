// The verdict over one row: what the Bot API saw, what the workers wrote down, which of them were alive when. Pure.
import type { RequestRecord } from '../../src/sandbox/core.ts';
import type { Line } from './journal.ts';

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A while in which nothing could reach the polls of a machine: its cable was cut, or its supervisor stood still. */
export interface Deaf extends Span {
  readonly machine: string;
}

/** One getUpdates at the API, from the client's side. */
export interface PollSpan extends Span {
  readonly machine: string;
  readonly epoch: number;
  readonly status: number;
}

export interface LifeSpan extends Span {
  readonly machine: string;
  readonly pid: number;
}

export interface Verdict {
  /** ms in which two getUpdates of live pollers were open at the API. */
  readonly overlapMs: number;
  /** getUpdates that arrived after one of a later term. */
  readonly stale: number;
  readonly updates: number;
  readonly lost: number;
  /** The longest time without a getUpdates at the API since the fault. */
  readonly gapMs: number;
  /** ms in which workers of two machines ran (a stopped one does not run). */
  readonly workerOverlapMs: number;
}

/** `skewMs`: what the log's clock has to be moved by to be the workers'; `nowMs` by theirs: one that is open lasts until then. */
export function pollSpans(
  records: readonly RequestRecord[],
  bot: number,
  skewMs: number,
  nowMs: number,
): PollSpan[] {
  return records
    .filter((record) => record.bot === bot && record.method.toLowerCase() === 'getupdates')
    .map((record) => ({
      machine: (record.params.poller ?? '?').split('.')[0] ?? '?',
      epoch: Number(record.params.epoch ?? 0),
      status: record.status,
      fromMs: record.startedAtMs + skewMs,
      toMs: Math.min(nowMs, (record.endedAtMs ?? nowMs) + skewMs, (record.clientGoneAtMs ?? nowMs) + skewMs),
    }));
}

const common = (one: Span, other: Span): number =>
  Math.min(one.toMs, other.toMs) - Math.max(one.fromMs, other.fromMs);

/** What is left of a span outside the others. */
export function without(span: Span, others: readonly Span[]): Span[] {
  let left: Span[] = [span];
  for (const { fromMs, toMs } of others)
    left = left.flatMap((one) =>
      [
        { fromMs: one.fromMs, toMs: Math.min(one.toMs, fromMs) },
        { fromMs: Math.max(one.fromMs, toMs), toMs: one.toMs },
      ].filter((part) => part.toMs > part.fromMs),
    );
  return left;
}

const deafOf = (deaf: readonly Deaf[], machine: string): Deaf[] =>
  deaf.filter((one) => one.machine === machine);

export function overlap(polls: readonly PollSpan[], deaf: readonly Deaf[]): number {
  let ms = 0;
  const live = polls.map((poll) => without(poll, deafOf(deaf, poll.machine)));
  for (const [index, one] of live.entries())
    for (const other of live.slice(index + 1))
      for (const a of one) for (const b of other) ms += Math.max(0, common(a, b));
  return ms;
}

export function staleCount(polls: readonly PollSpan[]): number {
  let newest = 0;
  let stale = 0;
  for (const { epoch } of [...polls].sort((a, b) => a.fromMs - b.fromMs)) {
    if (epoch < newest) stale += 1;
    newest = Math.max(newest, epoch);
  }
  return stale;
}

/** The longest part of `within` in which no live poll was open. */
export function longestGap(polls: readonly PollSpan[], deaf: readonly Deaf[], within: Span): number {
  const spans = polls
    .flatMap((poll) => without(poll, deafOf(deaf, poll.machine)))
    .sort((a, b) => a.fromMs - b.fromMs);
  let coveredTo = within.fromMs;
  let longest = 0;
  for (const { fromMs, toMs } of spans) {
    if (fromMs > within.toMs) break;
    longest = Math.max(longest, fromMs - coveredTo);
    coveredTo = Math.max(coveredTo, toMs);
  }
  return Math.max(longest, within.toMs - coveredTo);
}

export function workerOverlap(lives: readonly LifeSpan[]): number {
  let ms = 0;
  for (const [index, one] of lives.entries())
    for (const other of lives.slice(index + 1))
      if (one.machine !== other.machine) ms += Math.max(0, common(one, other));
  return ms;
}

export function lostOf(journal: readonly Line[], injected: readonly number[]): number {
  const handled = new Set(journal.map(({ ev, id }) => (ev === 'update' ? id : undefined)));
  return injected.filter((id) => !handled.has(id)).length;
}
