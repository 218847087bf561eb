/**
 * The keeper of a lease: decides when this machine may poll, from one record in an engine that all machines share. A holder
 * writes the record again and again; a standby takes it after it has seen the same one for a whole ttl of its own clock, or at
 * once when it is free. Pure: events carry the time (ms of the clock that includes suspend), effects come out as data.
 *
 * Invariants (test/simulation/keeper.ts, test/thorough/lease.pml): of all machines one at most may poll; deadlines count from before
 * the write was sent; one request is in flight; the record is written by compare-and-set only, and not at all after its release;
 * nothing is taken while a worker of ours may live.
 */
import type { LeaseRecord } from './record.ts';
import type { Seen } from './store.ts';
import { killAfterMs, type LeaseTiming, livesMs, stopAfterMs, waitMs } from './timing.ts';

export interface KeeperPolicy {
  readonly timing: LeaseTiming;
  /** A uuid of this start. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** The kernel lock that we hold: a record with the same one is that of a dead supervisor of this machine. */
  readonly lock: string | null;
}

/** `closing`: the term is over, its worker is being stopped. `releasing`: the worker is gone, the record is being freed. */
type Role = 'idle' | 'standby' | 'leader' | 'closing' | 'releasing';

/** The record as a standby knows it, and when this state of it was first seen: after the answer. */
interface Sight {
  readonly seen: Seen | null;
  readonly sinceMs: number;
}

interface Held {
  readonly epoch: number;
  /** Null: the record has vanished. */
  readonly seen: Seen | null;
  /** t0: before the last acknowledged write was sent. */
  readonly sentAtMs: number;
  /** ISO 8601. */
  readonly since: string;
  /** The record names somebody else, or is gone: nothing is left to free. */
  readonly taken: boolean;
  /** Who asks for a hand-over, as far as it was told. */
  readonly wants: string | null;
}

/** `ask` writes our wish for a hand-over into the record of another; `mark` that there is none. */
type RequestKind = 'read' | 'take' | 'renew' | 'ask' | 'free' | 'mark';

interface Request {
  readonly number: number;
  readonly kind: RequestKind;
  readonly sentAtMs: number;
  /** What it writes; null: it only reads. */
  readonly next: LeaseRecord | null;
  /** The state of the record that it writes over; null: there is none. */
  readonly prev: string | null;
  /** Sent because the engine said that the record may have changed. */
  readonly hinted: boolean;
}

export type Keeper = Readonly<typeof newKeeper>;

/** Whether the engine answers; null: not asked yet. */
type Reach =
  | null
  | { readonly ok: true }
  | { readonly ok: false; readonly why: string; readonly sinceMs: number };

export const newKeeper = {
  role: 'idle' as Role,
  sight: null as Sight | null,
  term: null as Held | null,
  request: null as Request | null,
  requests: 0,
  /** Writes of ours that a record may still show. */
  writes: [] as readonly { readonly seq: number; readonly sentAtMs: number }[],
  /** The greatest ever seen or used. */
  seq: 0,
  epoch: 0,
  /** Promised by the last record that was seen: a holder may live by it still when the record has vanished. */
  ttlMs: 0,
  /** A write may or may not have happened: read before the next one. */
  uncertain: false,
  /** After a failure nothing is sent before this. */
  notBeforeMs: 0,
  /** The next regular look (standby) or write (leader). */
  dueAtMs: 0,
  releaseByMs: 0,
  /** The engine has said that the record may have changed. */
  hinted: false,
  /** Looks that hints may still cause. */
  credit: { looks: 3, atMs: 0 },
  ackedAtMs: 0,
  /** Where a term was lost: when whatever is left of its worker has to be killed. */
  killAtMs: Number.POSITIVE_INFINITY,
  /** Time may have passed unseen: answers to requests up to this number prove nothing. */
  doubtUpTo: 0,
  doubted: false,
  /** Ask the holder to hand over. */
  wish: false,
  reach: null as Reach,
};

export type Outcome =
  | { readonly kind: 'seen'; readonly seen: Seen | null }
  | { readonly kind: 'written'; readonly rev: string }
  | { readonly kind: 'conflict'; readonly current: Seen | null }
  /** `settled`: the request surely never took effect. `lasting`: waiting does not heal it (rights, password). */
  | { readonly kind: 'failed'; readonly why: string; readonly settled: boolean; readonly lasting: boolean };

/** `random` 0 … 1 spreads what many machines would do at once. */
export type KeeperEvent = { readonly atMs: number; readonly unixMs: number; readonly random: number } & (
  | { readonly kind: 'seek'; readonly takeover: boolean }
  /** Seeks no more. */
  | { readonly kind: 'quit' }
  | { readonly kind: 'answer'; readonly request: number; readonly outcome: Outcome }
  | { readonly kind: 'hint' }
  | { readonly kind: 'due' }
  /** Time may have passed that no clock of ours has seen. */
  | { readonly kind: 'doubt' }
  /** The worker's whole tree is reaped: the record may be freed. */
  | { readonly kind: 'release' }
);

export type LostBecause = 'deadline' | 'taken';

export type KeeperSaying =
  | { readonly what: 'unreachable'; readonly why: string }
  | { readonly what: 'reachable' }
  /** A standby sees another holder than before; null: the record is absent. */
  | { readonly what: 'sees'; readonly rec: LeaseRecord | null }
  /** The record was gone while we held it, and is written again. */
  | { readonly what: 'vanished' }
  /** The engine has forgotten writes that it had acknowledged. */
  | { readonly what: 'rolled-back' };

export type KeeperEffect =
  | { readonly do: 'read'; readonly request: number; readonly ms: number }
  | {
      readonly do: 'cas';
      readonly request: number;
      readonly prev: string | null;
      readonly next: LeaseRecord;
      readonly ms: number;
    }
  | { readonly do: 'won'; readonly epoch: number }
  /** The door is shut as of now; `kill` follows at `killByMs` unless the worker is gone before. */
  | { readonly do: 'lost'; readonly why: LostBecause; readonly killByMs: number }
  | { readonly do: 'kill' }
  /** Somebody asks for a hand-over: stop the worker gracefully, then release. */
  | { readonly do: 'asked'; readonly by: string }
  /** `free`: the record says so. */
  | { readonly do: 'released'; readonly free: boolean }
  /** The first look was turned down for good. */
  | { readonly do: 'refused'; readonly why: string }
  | { readonly do: 'say'; readonly saying: KeeperSaying }
  /** The one timer: `due` is wanted at this time; null: not at all. */
  | { readonly do: 'wake'; readonly atMs: number | null };

interface Context {
  readonly atMs: number;
  readonly unixMs: number;
  readonly random: number;
  readonly policy: KeeperPolicy;
  readonly effects: KeeperEffect[];
}

/** Decides: the next state, and what is to be done, in order. */
export function stepKeeper(
  keeper: Keeper,
  event: KeeperEvent,
  policy: KeeperPolicy,
): readonly [Keeper, readonly KeeperEffect[]] {
  const effects: KeeperEffect[] = [];
  const { atMs, unixMs, random } = event;
  const context: Context = { atMs, unixMs, random, policy, effects };
  const settled = settle(take(expire(keeper, context), event, context), context);
  effects.push({ do: 'wake', atMs: nextDueMs(settled, atMs, policy) });
  return [settled, effects];
}

/** Polls may pass. Asked with the time of the moment, before each and before each answer. */
export function holds(keeper: Keeper, atMs: number, policy: KeeperPolicy): boolean {
  return keeper.role === 'leader' && !keeper.doubted && atMs < stopAtMs(keeper, policy);
}

/** When the door shuts unless the record is written before; 0 without a term. */
export function stopAtMs({ term }: Keeper, { timing }: KeeperPolicy): number {
  return term === null ? 0 : term.sentAtMs + stopAfterMs(timing);
}

function take(keeper: Keeper, event: KeeperEvent, context: Context): Keeper {
  const { atMs } = context;
  switch (event.kind) {
    case 'seek':
      if (keeper.role !== 'idle') return keeper;
      return { ...keeper, role: 'standby', sight: null, term: null, dueAtMs: atMs, wish: event.takeover };
    case 'quit':
      return keeper.role === 'standby' ? { ...keeper, role: 'idle', sight: null } : keeper;
    case 'answer':
      return answered(keeper, event.request, event.outcome, context);
    case 'hint':
      return isEcho(keeper, context) ? keeper : { ...keeper, hinted: true };
    case 'due':
      return keeper;
    case 'doubt':
      return doubtful(keeper, atMs);
    case 'release':
      return release(keeper, context);
  }
}

/** Shuts the door until a write that is sent from now on has been acknowledged. */
function doubtful(keeper: Keeper, atMs: number): Keeper {
  return { ...keeper, doubtUpTo: keeper.requests, doubted: keeper.role === 'leader', dueAtMs: atMs };
}

/** Some engines tell the writer of its own write. What else changes in this moment, the next write finds. */
function isEcho({ role, request, ackedAtMs }: Keeper, { atMs, policy }: Context): boolean {
  if (role !== 'leader') return false;
  const writing = request !== null && request.next !== null;
  return writing || atMs - ackedAtMs < policy.timing.pollMs / 10;
}

/** Once the stop point has passed nothing extends the term, whatever answers come later. */
function expire(keeper: Keeper, context: Context): Keeper {
  const { atMs, policy, effects } = context;
  if (keeper.role === 'leader' && atMs >= stopAtMs(keeper, policy) - 1)
    return lose(keeper, 'deadline', context);
  if (keeper.role !== 'closing' || atMs < keeper.killAtMs) return keeper;
  effects.push({ do: 'kill' });
  return { ...keeper, killAtMs: Number.POSITIVE_INFINITY };
}

function lose(keeper: Keeper, why: LostBecause, { atMs, policy, effects }: Context): Keeper {
  const { sentAtMs } = keeper.term!;
  const killAtMs = why === 'taken' ? atMs : sentAtMs + killAfterMs(policy.timing);
  effects.push({ do: 'lost', why, killByMs: killAtMs });
  const term = { ...keeper.term!, taken: why === 'taken' };
  return { ...keeper, role: 'closing', doubted: false, killAtMs, term };
}

function release(keeper: Keeper, { atMs, policy, effects }: Context): Keeper {
  if (keeper.role !== 'leader' && keeper.role !== 'closing') return keeper;
  if (keeper.term?.taken || isGone(keeper.term?.seen ?? null)) return released(keeper, false, effects);
  return {
    ...keeper,
    role: 'releasing',
    doubted: false,
    notBeforeMs: atMs,
    releaseByMs: atMs + policy.timing.requestMs,
  };
}

function released(keeper: Keeper, free: boolean, effects: KeeperEffect[]): Keeper {
  effects.push({ do: 'released', free });
  return { ...keeper, role: 'idle', term: null, sight: null };
}

function answered(before: Keeper, number: number, outcome: Outcome, context: Context): Keeper {
  const { request } = before;
  if (request?.number !== number) return before;
  const keeper: Keeper = { ...before, request: null };
  if (outcome.kind === 'failed') return failed(keeper, request, outcome, context);
  if (outcome.kind === 'conflict' && (outcome.current?.rev ?? null) === request.prev) {
    const why = 'the engine turned down a write although nothing had changed';
    return failed(keeper, request, { kind: 'failed', why, settled: true, lasting: false }, context);
  }
  const reached = reachable({ ...keeper, uncertain: false, notBeforeMs: 0 }, context.effects);
  if (outcome.kind === 'written') return written(reached, request, outcome.rev, context);
  const current = outcome.kind === 'seen' ? outcome.seen : outcome.current;
  return shown(remember(reached, current), request, current, context);
}

function reachable(keeper: Keeper, effects: KeeperEffect[]): Keeper {
  if (keeper.reach?.ok === true) return keeper;
  if (keeper.reach?.ok === false) effects.push({ do: 'say', saying: { what: 'reachable' } });
  return { ...keeper, reach: { ok: true } };
}

function failed(
  keeper: Keeper,
  request: Request,
  { why, settled, lasting }: Extract<Outcome, { kind: 'failed' }>,
  { atMs, random, policy, effects }: Context,
): Keeper {
  const { timing } = policy;
  if (keeper.reach === null && lasting && keeper.role === 'standby') {
    effects.push({ do: 'refused', why });
    return { ...keeper, role: 'idle' };
  }
  if (keeper.reach?.ok !== false) effects.push({ do: 'say', saying: { what: 'unreachable', why } });
  const sinceMs = keeper.reach?.ok === false ? keeper.reach.sinceMs : atMs;
  // A holder has little time; a request that has used up its own has waited enough.
  const pauseMs = (keeper.role === 'leader' ? timing.renewMs / 4 : timing.pollMs) * (0.8 + 0.4 * random);
  const next: Keeper = {
    ...keeper,
    reach: { ok: false, why, sinceMs },
    uncertain: keeper.uncertain || (request.next !== null && !settled),
    notBeforeMs: Math.max(atMs, request.sentAtMs + pauseMs),
  };
  if (keeper.role !== 'releasing') return next;
  // One try; what was still under way when the release was asked for does not count as one.
  const sinceAsked = request.kind === 'read' && request.sentAtMs >= keeper.releaseByMs - timing.requestMs;
  const tried = request.kind === 'free' || sinceAsked || atMs >= keeper.releaseByMs;
  return tried ? released(next, false, effects) : { ...next, notBeforeMs: atMs };
}

function remember(keeper: Keeper, current: Seen | null): Keeper {
  if (current === null) return keeper;
  const { seq, epoch, ttl } = current.rec;
  return {
    ...keeper,
    seq: Math.max(keeper.seq, seq),
    epoch: Math.max(keeper.epoch, epoch),
    ttlMs: ttl,
  };
}

function written(keeper: Keeper, request: Request, rev: string, context: Context): Keeper {
  const { atMs, policy, effects } = context;
  const seen: Seen = { rev, rec: request.next! };
  const acked = { ...remember(keeper, seen), ackedAtMs: atMs };
  switch (request.kind) {
    case 'take': {
      const usable =
        request.number > keeper.doubtUpTo && atMs < request.sentAtMs + stopAfterMs(policy.timing) - 1;
      // It names us and no worker runs: settle() takes it anew, from a later t0.
      if (keeper.role === 'standby' && !usable) return observe(acked, seen, context);
      const term: Held = {
        epoch: seen.rec.epoch,
        seen,
        sentAtMs: request.sentAtMs,
        since: seen.rec.since ?? '',
        taken: false,
        wants: null,
      };
      if (keeper.role !== 'standby') return release({ ...acked, role: 'closing', term }, context);
      effects.push({ do: 'won', epoch: term.epoch });
      return {
        ...acked,
        role: 'leader',
        sight: null,
        term,
        wish: false,
        dueAtMs: nextWriteMs(request, policy),
      };
    }
    case 'renew': {
      const { term } = acked;
      if (term === null) return acked;
      if (request.number <= keeper.doubtUpTo) return { ...acked, term: { ...term, seen }, dueAtMs: atMs };
      const renewed: Held = { ...term, seen, sentAtMs: request.sentAtMs };
      return { ...acked, term: renewed, doubted: false, dueAtMs: nextWriteMs(request, policy) };
    }
    case 'ask':
    case 'mark':
      return keeper.role === 'standby' ? observe(acked, seen, context) : acked;
    case 'free':
      if (keeper.role === 'releasing') return released({ ...acked, writes: [] }, true, effects);
      return keeper.role === 'standby' ? observe(acked, seen, context) : acked;
    case 'read':
      return acked;
  }
}

function nextWriteMs({ sentAtMs }: Request, { timing }: KeeperPolicy): number {
  return sentAtMs + timing.renewMs;
}

/** The record as it is: read, or in the way of a write. */
function shown(keeper: Keeper, request: Request, current: Seen | null, context: Context): Keeper {
  switch (keeper.role) {
    case 'idle':
      return keeper;
    case 'standby':
      return observe(keeper, current, context, request.hinted);
    case 'leader':
      return recognise(keeper, current, context);
    case 'closing':
    case 'releasing': {
      const term = keeper.term!;
      if (current !== null && isMine(current.rec, term, context.policy))
        return { ...keeper, term: { ...term, seen: current } };
      // Another's, or gone. Where nothing is left, nothing is freed: it may have been another's meanwhile.
      const taken = { ...keeper, term: { ...term, taken: true } };
      return keeper.role === 'releasing' ? released(taken, false, context.effects) : taken;
    }
  }
}

/** Vanished, marked as such by a standby or not yet. */
function isGone(seen: Seen | null): boolean {
  return seen === null || seen.rec.vacant !== undefined;
}

function isMine(rec: LeaseRecord, { epoch }: Held, { id }: KeeperPolicy): boolean {
  return rec.holder === id && rec.epoch === epoch;
}

/** While we hold it. The deadline counts from the write that the record shows, be it an earlier one that came late. */
function recognise(keeper: Keeper, current: Seen | null, context: Context): Keeper {
  const { atMs, policy, effects } = context;
  const term = keeper.term!;
  if (current === null || isGone(current)) {
    // In doubt about the time, it may have been another's before it vanished.
    if (keeper.doubted) return lose(keeper, 'taken', context);
    effects.push({ do: 'say', saying: { what: 'vanished' } });
    return { ...keeper, term: { ...term, seen: current }, dueAtMs: atMs };
  }
  const write = keeper.writes.find(({ seq }) => seq === current.rec.seq);
  if (!isMine(current.rec, term, policy) || !write) return lose(keeper, 'taken', context);
  const wants = current.rec.wants ?? null;
  if (wants !== null && wants !== term.wants && wants !== policy.id) effects.push({ do: 'asked', by: wants });
  const shown = { ...keeper, term: { ...term, seen: current, wants } };
  if (write.sentAtMs < term.sentAtMs) {
    effects.push({ do: 'say', saying: { what: 'rolled-back' } });
    return doubtful(shown, atMs);
  }
  return keeper.doubted ? shown : { ...shown, term: { ...shown.term, sentAtMs: write.sentAtMs } };
}

/** As a standby. A wish for a hand-over that somebody wrote into it makes it no other record: its holder's deadline stays. */
function observe(
  keeper: Keeper,
  current: Seen | null,
  { atMs, random, policy, effects }: Context,
  hinted = false,
): Keeper {
  const { sight } = keeper;
  const same = sight !== null && isSame(sight.seen?.rec ?? null, current?.rec ?? null);
  if (sight === null || sight.seen?.rec.holder !== current?.rec.holder)
    effects.push({ do: 'say', saying: { what: 'sees', rec: current?.rec ?? null } });
  const next: Sight = { seen: current, sinceMs: same ? sight.sinceMs : atMs };
  const { pollMs, renewMs } = policy.timing;
  // One that was promised the lease does not let it wait; where true hints come, looks of our own can be rarer.
  const promised = current?.rec.wants === policy.id;
  const everyMs = promised ? 0.4 * pollMs : hinted && !same ? 1.5 * renewMs : pollMs;
  return { ...keeper, sight: next, dueAtMs: atMs + everyMs * (0.8 + 0.4 * random) };
}

function isSame(a: LeaseRecord | null, b: LeaseRecord | null): boolean {
  if (a === null || b === null) return a === b;
  return a.holder === b.holder && a.epoch === b.epoch && a.seq === b.seq && a.vacant === b.vacant;
}

/** From when on a standby may take the record; Infinity: it has to look, or to mark a vanished one, first. */
export function takeFromMs({ sight }: Keeper, { timing, id, lock }: KeeperPolicy): number {
  if (sight === null) return Number.POSITIVE_INFINITY;
  const { seen, sinceMs } = sight;
  if (seen === null) return Number.POSITIVE_INFINITY;
  const { holder, ttl, wants, vacant } = seen.rec;
  if (vacant !== undefined) return sinceMs + waitMs(timing, ttl);
  // Left for the one that asked for it; if that is gone, for all.
  if (holder === '') return wants === undefined || wants === id ? sinceMs : sinceMs + 2 * timing.pollMs;
  // Ours, and no worker of ours runs: an answer that was lost, or a supervisor of this machine that the kernel knows to be dead.
  if (holder === id || (lock !== null && seen.rec.lock === lock)) return sinceMs;
  return sinceMs + waitMs(timing, ttl);
}

/** Gives up what is over, then sends the next request if there is one to send. */
function settle(before: Keeper, context: Context): Keeper {
  const { atMs, policy, effects } = context;
  const keeper = expire(before, context);
  if (keeper.role === 'releasing' && atMs >= keeper.releaseByMs) return released(keeper, false, effects);
  if (keeper.request !== null || atMs < keeper.notBeforeMs) return keeper;
  const kind = nextKind(keeper, context);
  if (kind === null) return keeper;
  const limitMs =
    keeper.role === 'leader'
      ? stopAtMs(keeper, policy)
      : keeper.role === 'releasing'
        ? keeper.releaseByMs
        : Infinity;
  return send(keeper, kind, Math.min(policy.timing.requestMs, limitMs - atMs), context);
}

function nextKind(keeper: Keeper, { atMs, policy }: Context): RequestKind | null {
  const { role, uncertain } = keeper;
  switch (role) {
    case 'idle':
    case 'closing':
      return null;
    case 'standby':
      if (keeper.sight === null || uncertain) return 'read';
      if (atMs >= takeFromMs(keeper, policy)) return 'take';
      if (keeper.sight.seen === null) return 'mark';
      if (wishes(keeper, policy)) return 'ask';
      break;
    case 'leader':
      if (atMs >= keeper.dueAtMs) return uncertain ? 'read' : 'renew';
      break;
    case 'releasing':
      return uncertain ? 'read' : 'free';
  }
  if (keeper.hinted && creditOf(keeper, atMs, policy) >= 1) return 'read';
  return role === 'standby' && atMs >= keeper.dueAtMs ? 'read' : null;
}

/** The first that asks is the one that is asked for. */
function wishes({ wish, sight }: Keeper, { id }: KeeperPolicy): boolean {
  const rec = sight?.seen?.rec;
  return wish && rec !== undefined && rec.holder !== '' && rec.holder !== id && rec.wants === undefined;
}

const CREDIT_MAX = 3;

/** Hints may be wrong and come in swarms: a few at once, somewhat more than a holder renews in the long run. */
function creditOf({ credit }: Keeper, atMs: number, { timing }: KeeperPolicy): number {
  return Math.min(CREDIT_MAX, credit.looks + (atMs - credit.atMs) / creditMs(timing));
}

function creditMs({ renewMs }: LeaseTiming): number {
  return 0.8 * renewMs;
}

function send(keeper: Keeper, kind: RequestKind, ms: number, context: Context): Keeper {
  const { atMs, policy, effects } = context;
  const number = keeper.requests + 1;
  const next = kind === 'read' ? null : nextRecord(keeper, kind, context);
  const prev = (keeper.role === 'standby' ? keeper.sight?.seen?.rev : keeper.term?.seen?.rev) ?? null;
  const hinted = kind === 'read' && keeper.hinted;
  const request: Request = { number, kind, sentAtMs: atMs, next, prev, hinted };
  const limit = Math.max(1, Math.floor(ms));
  const sent: Keeper = { ...keeper, request, requests: number };
  if (next === null) {
    effects.push({ do: 'read', request: number, ms: limit });
    if (!keeper.hinted) return sent;
    const looks = creditOf(keeper, atMs, policy) - 1;
    return { ...sent, hinted: false, credit: { looks: Math.max(0, looks), atMs } };
  }
  effects.push({ do: 'cas', request: number, prev, next, ms: limit });
  if (kind !== 'take' && kind !== 'renew') return { ...sent, seq: Math.max(keeper.seq, next.seq) };
  const young = keeper.writes.filter(({ sentAtMs }) => atMs - sentAtMs < livesMs(policy.timing));
  return { ...sent, seq: next.seq, writes: [...young, { seq: next.seq, sentAtMs: atMs }] };
}

function nextRecord(keeper: Keeper, kind: RequestKind, { unixMs, policy }: Context): LeaseRecord {
  const { id, host, pid, lock, timing } = policy;
  const seq = keeper.seq + 1;
  const base = { v: 1, seq, ttl: timing.ttlMs, host, pid, ...(lock !== null && { lock }) } as const;
  switch (kind) {
    case 'ask':
      // Its number stays: the holder's deadline counts from the write that it names.
      return { ...keeper.sight!.seen!.rec, wants: id };
    case 'mark':
      return {
        ...{ v: 1, holder: '', epoch: keeper.epoch, seq, vacant: id },
        ttl: Math.max(timing.ttlMs, keeper.ttlMs),
      };
    case 'take': {
      const epoch = Math.max(keeper.epoch + 1, Math.floor(unixMs / 1_000));
      return { ...base, holder: id, epoch, since: new Date(unixMs).toISOString() };
    }
    default: {
      const { epoch, since, seen } = keeper.term!;
      const wants = seen?.rec.wants;
      if (kind === 'free')
        return { v: 1, holder: '', epoch, seq, ttl: timing.ttlMs, ...(wants !== undefined && { wants }) };
      return { ...base, holder: id, epoch, since, ...(wants !== undefined && { wants }) };
    }
  }
}

function nextDueMs(keeper: Keeper, atMs: number, policy: KeeperPolicy): number | null {
  const times: number[] = [];
  const { role } = keeper;
  if (role === 'leader') times.push(stopAtMs(keeper, policy));
  if (role === 'closing') times.push(keeper.killAtMs);
  if (role === 'releasing') times.push(keeper.releaseByMs);
  if (keeper.request === null && (role === 'leader' || role === 'standby')) {
    const wanted = [keeper.dueAtMs];
    if (role === 'standby') wanted.push(takeFromMs(keeper, policy));
    if (keeper.hinted) wanted.push(atMs + (1 - creditOf(keeper, atMs, policy)) * creditMs(policy.timing));
    times.push(Math.max(Math.min(...wanted), keeper.notBeforeMs));
  }
  const next = Math.min(...times);
  return Number.isFinite(next) ? next : null;
}
