/** What a keeper can tell of the lease: for `status`, the log and readiness. Pure. */
import { type Keeper, type KeeperPolicy, type Role, stopAtMs, takeFromMs } from './keeper.ts';

export interface LeaseStatus {
  readonly role: Role;
  /** '' = free, null = unknown or absent. */
  readonly holder: string | null;
  readonly host: string | null;
  readonly pid: number | null;
  /** ISO 8601, when the holder's term began. */
  readonly since: string | null;
  readonly mine: boolean;
  /** The record's; the greatest that is known where there is none. */
  readonly epoch: number;
  /** A standby: for how long the record stands unchanged. A leader: since its last acknowledged write was sent. */
  readonly seenForMs: number;
  /** `take`: a standby takes over then, unless the record changes. `stop`: a leader's polling ends then, unless it can write. */
  readonly decision: { readonly what: 'take' | 'stop'; readonly inMs: number } | null;
  /** Null: not asked yet. */
  readonly reachable: boolean | null;
  /** Why the engine is out of reach, and for how long. */
  readonly unreachable: { readonly why: string; readonly forMs: number } | null;
  /** Somebody asks the holder to hand over. */
  readonly wanted: boolean;
}

export function leaseStatus(keeper: Keeper, atMs: number, policy: KeeperPolicy): LeaseStatus {
  const { role, term, sight, reach } = keeper;
  const known = (role === 'standby' ? sight?.seen?.rec : term?.seen?.rec) ?? null;
  const rec = known?.vacant === undefined ? known : null;
  const knownSinceMs = term?.sentAtMs ?? sight?.sinceMs ?? atMs;
  return {
    role,
    holder: rec?.holder ?? null,
    host: rec?.host ?? null,
    pid: rec?.pid ?? null,
    since: rec?.since ?? null,
    mine: role === 'leader',
    epoch: rec?.epoch ?? keeper.epoch,
    seenForMs: Math.max(0, Math.round(atMs - knownSinceMs)),
    decision: decisionOf(keeper, atMs, policy),
    reachable: reach === null ? null : reach.ok,
    unreachable: reach?.ok === false ? { why: reach.why, forMs: Math.round(atMs - reach.sinceMs) } : null,
    wanted: rec?.wants !== undefined,
  };
}

function decisionOf(keeper: Keeper, atMs: number, policy: KeeperPolicy): LeaseStatus['decision'] {
  const { role } = keeper;
  const at =
    role === 'leader' ? stopAtMs(keeper, policy) : role === 'standby' ? takeFromMs(keeper, policy) : null;
  if (at === null || !Number.isFinite(at)) return null;
  return { what: role === 'leader' ? 'stop' : 'take', inMs: Math.max(0, Math.round(at - atMs)) };
}
