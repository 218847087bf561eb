/**
 * The keeper of a lease: decides when this machine may poll, from one record in an engine that all machines share. A holder
 * writes the record again and again; a standby takes it after it has seen the same one for a whole ttl of its own clock, or at
 * once when it is free. Pure: events carry the time (ms of the clock that includes suspend), effects come out as data.
 *
 * Invariants (test/simulation/keeper.ts, test/thorough/lease.pml): at most one of all machines may poll; deadlines count from
 * before the write was sent; one request is in flight; the record is written by compare-and-set only, and not at all after its
 * release; the record is not taken while a worker of ours may live.
 */
import { spread } from '../turns.ts';
import type { LeaseRecord, Seen } from './store.ts';
import { killAfterMs, type LeaseTiming, livesMs, stopAfterMs, waitMs } from './timing.ts';

export interface KeeperPolicy {
  readonly timing: LeaseTiming;
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** The kernel lock that we hold, so a record with the same one belongs to a dead supervisor of this machine. */
  readonly lock: string | null;
}

/** `closing`: the term is over, its worker is being stopped. `releasing`: the worker is gone, the record is being freed. */
type Role = 'idle' | 'standby' | 'leader' | 'closing' | 'releasing';

/** The record as a standby knows it, and when this state of it was first seen. */
interface Sight {
  readonly seen: Seen | null;
  readonly sinceMs: number;
}

interface Held {
  readonly epoch: number;
  /** The record as last seen; null: it has vanished. */
  readonly seen: Seen | null;
  /** t0, read before the last acknowledged write was sent. */
  readonly sentAtMs: number;
  readonly since: string;
  /** The record names another holder or is gone, so there is nothing to free. */
  readonly taken: boolean;
}

/** `ask` writes our wish for a hand-over into another machine's record; `mark` writes a vacant record after one has vanished. */
type RequestKind = 'read' | 'take' | 'renew' | 'ask' | 'free' | 'mark';

interface Request {
  readonly number: number;
  readonly kind: RequestKind;
  readonly sentAtMs: number;
  readonly next: LeaseRecord | null;
  /** The state of the record that it replaces; null: there is none. */
  readonly prev: string | null;
  /** It was sent because the engine said that the record may have changed. */
  readonly hinted: boolean;
}

export type Keeper = Readonly<typeof newKeeper>;

export const newKeeper = {
  role: 'idle' as Role,
  sight: null as Sight | null,
  term: null as Held | null,
  request: null as Request | null,
  requests: 0,
  /** Our writes that a record may still show. */
  writes: [] as readonly { readonly seq: number; readonly sentAtMs: number }[],
  /** The greatest number ever seen or used. */
  seq: 0,
  epoch: 0,
  /** Promised by the last record that was seen: its holder may still rely on it after the record has vanished. */
  ttlMs: 0,
  /** A write may or may not have been applied: read before the next one. */
  uncertain: false,
  /** After a failure, when the next request may be sent. */
  notBeforeMs: 0,
  /** The next regular look (standby) or write (leader). */
  dueAtMs: 0,
  releaseByMs: 0,
  hinted: false,
  ackedAtMs: 0,
  /** After a lost term: when the rest of its worker has to be killed. */
  killAtMs: Number.POSITIVE_INFINITY,
  /** Time may have passed unnoticed, so answers to requests up to this number prove nothing. */
  doubtUpTo: 0,
  doubted: false,
  /** Until the lease is won, its holder is to be asked to hand it over. */
  wish: false,
  /** Whether the engine answers; null: it was not asked yet. */
  reach: null as
    | null
    | { readonly ok: true }
    | { readonly ok: false; readonly why: string; readonly sinceMs: number },
};

export type Outcome =
  | { readonly kind: 'seen'; readonly seen: Seen | null }
  | { readonly kind: 'written'; readonly rev: string }
  | { readonly kind: 'conflict'; readonly current: Seen | null }
  /** `settled`: the request surely never took effect. `lasting`: waiting does not cure it (rights, password). */
  | { readonly kind: 'failed'; readonly why: string; readonly settled: boolean; readonly lasting: boolean };

/** `random` (0 … 1) spreads actions that many machines would take at once. */
export type KeeperEvent = { readonly atMs: number; readonly unixMs: number; readonly random: number } & (
  | { readonly kind: 'seek' | 'quit' | 'hint' | 'due' }
  | { readonly kind: 'answer'; readonly request: number; readonly outcome: Outcome }
  /** Time may have passed that none of our clocks counted. */
  | { readonly kind: 'doubt' }
  /** The worker's whole tree is reaped: the record may be freed. */
  | { readonly kind: 'release' }
);

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
  /** The door is shut from now on; `kill` follows at `killByMs` unless the worker is gone before. */
  | { readonly do: 'lost'; readonly why: 'deadline' | 'taken'; readonly killByMs: number }
  | { readonly do: 'kill' }
  /** Another machine asks for a hand-over: stop the worker gracefully, then release. */
  | { readonly do: 'asked' }
  | { readonly do: 'released' }
  /** The engine refused the first look, and waiting does not cure that. */
  | { readonly do: 'refused'; readonly why: string }
  | { readonly do: 'unreachable'; readonly why: string }
  /** `vanished`: the record was gone while we held it and is rewritten. `rolled-back`: the engine lost acknowledged writes. */
  | { readonly do: 'reachable' | 'vanished' | 'rolled-back' }
  /** A standby sees another holder than before; null: the record is absent. */
  | { readonly do: 'sees'; readonly rec: LeaseRecord | null }
  /** Sets the only timer: send `due` at this time; null: not at all. */
  | { readonly do: 'wake'; readonly atMs: number | null };

/** The next state while it is being decided, the time, and the effects. */
interface Step {
  readonly k: typeof newKeeper;
  readonly atMs: number;
  readonly unixMs: number;
  readonly random: number;
  readonly policy: KeeperPolicy;
  readonly effects: KeeperEffect[];
}

function set(k: typeof newKeeper, change: Partial<typeof newKeeper>): void {
  Object.assign(k, change);
}

export function stepKeeper(
  keeper: Keeper,
  event: KeeperEvent,
  policy: KeeperPolicy,
): readonly [Keeper, readonly KeeperEffect[]] {
  const { atMs, unixMs, random } = event;
  const step: Step = { k: { ...keeper }, atMs, unixMs, random, policy, effects: [] };
  expire(step);
  take(step, event);
  expire(step);
  settle(step);
  step.effects.push({ do: 'wake', atMs: nextDueMs(step) });
  return [step.k, step.effects];
}

/** Whether polls may pass at this time. Asked before each poll and before each answer. */
export function holds(keeper: Keeper, atMs: number, policy: KeeperPolicy): boolean {
  return keeper.role === 'leader' && !keeper.doubted && atMs < stopAtMs(keeper, policy);
}

/** When the door shuts unless the record is written before that; 0 without a term. */
export function stopAtMs({ term }: Keeper, { timing }: KeeperPolicy): number {
  return term === null ? 0 : term.sentAtMs + stopAfterMs(timing);
}

/** When a standby may take the record. Infinity: it first has to look, or to mark a vanished record. */
export function takeFromMs({ sight }: Keeper, { timing, id, lock }: KeeperPolicy): number {
  if (sight === null) return Number.POSITIVE_INFINITY;
  const { seen, sinceMs } = sight;
  if (seen === null) return Number.POSITIVE_INFINITY;
  const { holder, ttl, wants, vacant } = seen.rec;
  if (vacant !== undefined) return sinceMs + waitMs(timing, ttl);
  // The record is left for the machine that asked for it; if that is gone, any machine may take it.
  if (holder === '') return wants === undefined || wants === id ? sinceMs : sinceMs + 2 * timing.pollMs;
  // The record is ours and no worker of ours runs: an answer was lost, or the kernel lock shows that its supervisor is dead.
  if (holder === id || (lock !== null && seen.rec.lock === lock)) return sinceMs;
  return sinceMs + waitMs(timing, ttl);
}

function take(step: Step, event: KeeperEvent): void {
  const { k, atMs } = step;
  switch (event.kind) {
    case 'seek':
      if (k.role !== 'idle') break;
      set(k, { role: 'standby', sight: null, term: null, dueAtMs: atMs });
      break;
    case 'quit':
      if (k.role === 'standby') set(k, { role: 'idle', sight: null });
      break;
    case 'answer':
      if (k.request?.number === event.request) answered(step, k.request, event.outcome);
      break;
    case 'hint':
      k.hinted ||= !isEcho(step);
      break;
    case 'due':
      break;
    case 'doubt':
      doubt(step);
      break;
    case 'release':
      release(step);
      break;
  }
}

/** Shuts the door until a write sent from now on has been acknowledged. */
function doubt({ k, atMs }: Step): void {
  set(k, { doubtUpTo: k.requests, doubted: k.role === 'leader', dueAtMs: atMs });
}

/** Some engines notify the writer of its own write. If something else has changed too, the next write finds it. */
function isEcho({ k: { role, request, ackedAtMs }, atMs, policy }: Step): boolean {
  const writing = request !== null && request.next !== null;
  return role === 'leader' && (writing || atMs - ackedAtMs < policy.timing.pollMs / 10);
}

/** Once the stop point has passed, no later answer extends the term. */
function expire(step: Step): void {
  const { k, atMs, policy, effects } = step;
  if (k.role === 'leader' && atMs >= stopAtMs(k, policy) - 1) lose(step, 'deadline');
  if (k.role !== 'closing' || atMs < k.killAtMs) return;
  effects.push({ do: 'kill' });
  k.killAtMs = Number.POSITIVE_INFINITY;
}

function lose({ k, atMs, policy, effects }: Step, why: 'deadline' | 'taken'): void {
  const killByMs = why === 'taken' ? atMs : k.term!.sentAtMs + killAfterMs(policy.timing);
  effects.push({ do: 'lost', why, killByMs });
  k.term = { ...k.term!, taken: why === 'taken' };
  set(k, { role: 'closing', doubted: false, killAtMs: killByMs });
}

function release(step: Step): void {
  const { k, atMs, policy } = step;
  if (k.role !== 'leader' && k.role !== 'closing') return;
  if (k.term?.taken || isGone(k.term?.seen ?? null)) return void released(step);
  const releaseByMs = atMs + policy.timing.requestMs;
  set(k, { role: 'releasing', doubted: false, notBeforeMs: atMs, releaseByMs });
}

function released({ k, effects }: Step): void {
  effects.push({ do: 'released' });
  set(k, { role: 'idle', term: null, sight: null });
}

function answered(step: Step, request: Request, outcome: Outcome): void {
  const { k, effects } = step;
  k.request = null;
  if (outcome.kind === 'failed') return void failed(step, request, outcome);
  if (outcome.kind === 'conflict' && (outcome.current?.rev ?? null) === request.prev) {
    const why = 'the engine turned down a write although nothing had changed';
    return void failed(step, request, { kind: 'failed', why, settled: true, lasting: false });
  }
  if (k.reach?.ok === false) effects.push({ do: 'reachable' });
  set(k, { reach: { ok: true }, uncertain: false, notBeforeMs: 0 });
  if (outcome.kind === 'written') {
    const seen = { rev: outcome.rev, rec: request.next! };
    remember(step, seen);
    return void written(step, request, seen);
  }
  const current = outcome.kind === 'seen' ? outcome.seen : outcome.current;
  if (current !== null) remember(step, current);
  shown(step, request, current);
}

function failed(
  step: Step,
  request: Request,
  { why, settled, lasting }: Extract<Outcome, { kind: 'failed' }>,
): void {
  const { k, atMs, random, policy, effects } = step;
  const { renewMs, pollMs } = policy.timing;
  if (k.reach === null && lasting && k.role === 'standby') {
    effects.push({ do: 'refused', why });
    k.role = 'idle';
    return;
  }
  if (k.reach?.ok !== false) {
    effects.push({ do: 'unreachable', why });
    k.reach = { ok: false, why, sinceMs: atMs };
  }
  k.reach = { ...k.reach, why };
  k.uncertain ||= request.next !== null && !settled;
  // The pause counts from when the request was sent: after a time-out the next one follows at once, as a holder has little time.
  const pauseMs = spread(k.role === 'standby' ? pollMs : renewMs / 4, random);
  k.notBeforeMs = Math.max(atMs, request.sentAtMs + pauseMs);
  if (k.role === 'releasing' && request.kind === 'free') released(step);
}

function remember({ k }: Step, { rec: { seq, epoch, ttl } }: Seen): void {
  set(k, { seq: Math.max(k.seq, seq), epoch: Math.max(k.epoch, epoch), ttlMs: ttl });
}

function written(step: Step, { kind, number, sentAtMs }: Request, seen: Seen): void {
  const { k, atMs, policy, effects } = step;
  const { timing } = policy;
  const proves = number > k.doubtUpTo;
  k.ackedAtMs = atMs;
  switch (kind) {
    case 'take': {
      // The record names us but no worker runs: settle() takes it again, with a later t0.
      if (k.role === 'standby' && !(proves && atMs < sentAtMs + stopAfterMs(timing) - 1))
        return void observe(step, seen);
      const { epoch, since = '' } = seen.rec;
      k.term = { epoch, seen, sentAtMs, since, taken: false };
      if (k.role !== 'standby') {
        k.role = 'closing';
        return void release(step);
      }
      effects.push({ do: 'won', epoch });
      set(k, { role: 'leader', sight: null, wish: false, dueAtMs: sentAtMs + timing.renewMs });
      break;
    }
    case 'renew':
      if (k.term === null) break;
      k.term = { ...k.term, seen, ...(proves && { sentAtMs }) };
      k.dueAtMs = proves ? sentAtMs + timing.renewMs : atMs;
      k.doubted &&= !proves;
      break;
    default:
      if (k.role === 'standby') observe(step, seen);
      if (k.role === 'releasing' && kind === 'free') released(step);
  }
}

/** Handles the record as a read found it, or as it blocked a write. */
function shown(step: Step, request: Request, current: Seen | null): void {
  const { k, policy } = step;
  switch (k.role) {
    case 'idle':
      break;
    case 'standby':
      observe(step, current, request.hinted);
      break;
    case 'leader':
      recognise(step, current);
      break;
    case 'closing':
    case 'releasing': {
      const isOurs = current !== null && isMine(current.rec, k.term!, policy);
      k.term = isOurs ? { ...k.term!, seen: current } : { ...k.term!, taken: true };
      // A record that is gone is not freed either, as another machine may have held it meanwhile.
      if (!isOurs && k.role === 'releasing') released(step);
    }
  }
}

/** The record has vanished, whether or not a standby has marked that. */
const isGone = (seen: Seen | null): boolean => seen === null || seen.rec.vacant !== undefined;

function isMine(rec: LeaseRecord, { epoch }: Held, { id }: KeeperPolicy): boolean {
  return rec.holder === id && rec.epoch === epoch;
}

/** Handles the record while we hold it. The deadline counts from the write that the record shows, which may be an older one. */
function recognise(step: Step, current: Seen | null): void {
  const { k, atMs, policy, effects } = step;
  const term = k.term!;
  if (current === null || isGone(current)) {
    // While the time is in doubt, another machine may have held the record before it vanished.
    if (k.doubted) return void lose(step, 'taken');
    effects.push({ do: 'vanished' });
    set(k, { term: { ...term, seen: current }, dueAtMs: atMs });
    return;
  }
  const write = k.writes.find(({ seq }) => seq === current.rec.seq);
  if (!isMine(current.rec, term, policy) || !write) return void lose(step, 'taken');
  const { wants } = current.rec;
  if (wants !== undefined && wants !== term.seen?.rec.wants && wants !== policy.id)
    effects.push({ do: 'asked' });
  k.term = { ...term, seen: current };
  if (write.sentAtMs < term.sentAtMs) {
    effects.push({ do: 'rolled-back' });
    doubt(step);
  } else if (!k.doubted) k.term = { ...k.term, sentAtMs: write.sentAtMs };
}

/** Handles the record as a standby. A wish for a hand-over that was added to it does not change its holder's deadline. */
function observe({ k, atMs, random, policy, effects }: Step, current: Seen | null, hinted = false): void {
  const { sight } = k;
  const same = sight !== null && isSame(sight.seen?.rec ?? null, current?.rec ?? null);
  if (sight === null || sight.seen?.rec.holder !== current?.rec.holder)
    effects.push({ do: 'sees', rec: current?.rec ?? null });
  k.sight = { seen: current, sinceMs: same ? sight.sinceMs : atMs };
  const { pollMs, renewMs } = policy.timing;
  // A machine that was promised the lease takes it at once; if hints arrive, fewer looks suffice.
  const promised = current?.rec.wants === policy.id;
  const everyMs = promised ? 0.4 * pollMs : hinted && !same ? 1.5 * renewMs : pollMs;
  k.dueAtMs = atMs + spread(everyMs, random);
}

function isSame(a: LeaseRecord | null, b: LeaseRecord | null): boolean {
  if (a === null || b === null) return a === b;
  return a.holder === b.holder && a.epoch === b.epoch && a.seq === b.seq && a.vacant === b.vacant;
}

function settle(step: Step): void {
  const { k, atMs, policy } = step;
  if (k.role === 'releasing' && atMs >= k.releaseByMs) released(step);
  if (k.request !== null || atMs < k.notBeforeMs) return;
  const kind = nextKind(step);
  if (kind === null) return;
  const limitMs =
    k.role === 'leader' ? stopAtMs(k, policy) : k.role === 'releasing' ? k.releaseByMs : Infinity;
  send(step, kind, Math.min(policy.timing.requestMs, limitMs - atMs));
}

function nextKind(step: Step): RequestKind | null {
  const { k, atMs, policy } = step;
  switch (k.role) {
    case 'idle':
    case 'closing':
      return null;
    case 'standby':
      if (k.sight === null || k.uncertain) return 'read';
      if (atMs >= takeFromMs(k, policy)) return 'take';
      if (k.sight.seen === null) return 'mark';
      if (wishes(k, policy)) return 'ask';
      break;
    case 'leader':
      if (atMs >= k.dueAtMs) return k.uncertain ? 'read' : 'renew';
      break;
    case 'releasing':
      return k.uncertain ? 'read' : 'free';
  }
  return k.hinted || (k.role === 'standby' && atMs >= k.dueAtMs) ? 'read' : null;
}

/** True if our wish is to be written: only the first machine that asks is heeded. */
function wishes({ wish, sight }: Keeper, { id }: KeeperPolicy): boolean {
  const rec = sight?.seen?.rec;
  return wish && rec !== undefined && rec.holder !== '' && rec.holder !== id && rec.wants === undefined;
}

function send(step: Step, kind: RequestKind, ms: number): void {
  const { k, atMs, policy, effects } = step;
  const number = k.requests + 1;
  const next = kind === 'read' ? null : nextRecord(step, kind);
  const prev = (k.role === 'standby' ? k.sight?.seen?.rev : k.term?.seen?.rev) ?? null;
  const hinted = kind === 'read' && k.hinted;
  const limit = Math.max(1, Math.floor(ms));
  k.request = { number, kind, sentAtMs: atMs, next, prev, hinted };
  k.requests = number;
  if (next === null) effects.push({ do: 'read', request: number, ms: limit });
  else effects.push({ do: 'cas', request: number, prev, next, ms: limit });
  if (hinted) k.hinted = false;
  k.seq = Math.max(k.seq, next?.seq ?? 0);
  if (next === null || (kind !== 'take' && kind !== 'renew')) return;
  const young = k.writes.filter(({ sentAtMs }) => atMs - sentAtMs < livesMs(policy.timing));
  k.writes = [...young, { seq: next.seq, sentAtMs: atMs }];
}

function nextRecord({ k, unixMs, policy }: Step, kind: Exclude<RequestKind, 'read'>): LeaseRecord {
  const { id, host, pid, lock, timing } = policy;
  const seq = k.seq + 1;
  const free = { v: 1, holder: '', seq, ttl: timing.ttlMs } as const;
  const ours = { ...free, holder: id, host, pid, ...(lock !== null && { lock }) };
  switch (kind) {
    case 'ask':
      // `seq` stays, as the holder's deadline counts from the write of that number.
      return { ...k.sight!.seen!.rec, wants: id };
    case 'mark':
      return { ...free, epoch: k.epoch, vacant: id, ttl: Math.max(timing.ttlMs, k.ttlMs) };
    case 'take': {
      const epoch = Math.max(k.epoch + 1, Math.floor(unixMs / 1_000));
      return { ...ours, epoch, since: new Date(unixMs).toISOString() };
    }
    default: {
      const { epoch, since, seen } = k.term!;
      const kept = kind === 'free' ? { ...free, epoch } : { ...ours, epoch, since };
      const wants = seen?.rec.wants;
      return wants === undefined ? kept : { ...kept, wants };
    }
  }
}

function nextDueMs(step: Step): number | null {
  const { k, atMs, policy } = step;
  const times: number[] = [];
  if (k.role === 'leader') times.push(stopAtMs(k, policy));
  if (k.role === 'closing') times.push(k.killAtMs);
  if (k.role === 'releasing') times.push(k.releaseByMs);
  if (k.request === null && k.role !== 'idle' && k.role !== 'closing') {
    const wanted = k.role === 'releasing' ? [atMs] : [k.dueAtMs];
    if (k.role === 'standby') wanted.push(takeFromMs(k, policy));
    if (k.hinted) wanted.push(atMs);
    times.push(Math.max(Math.min(...wanted), k.notBeforeMs));
  }
  const next = Math.min(...times);
  return Number.isFinite(next) ? next : null;
}
