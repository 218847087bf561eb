/** Opens the engine of a lease, and describes the lease from the keeper's state or from one look at the record. */
import type { LeaseEntry } from '../supervisor/status.ts';
import { type Keeper, type KeeperPolicy, stopAtMs, takeFromMs } from './keeper.ts';
import type { LeaseRecord, LeaseStore } from './store.ts';
import { type ClockLook, livesMs, stopAfterMs } from './timing.ts';
import { parseLeaseUrl } from './url.ts';

/** How long `status` and `who` wait for an engine. */
const GLANCE_MS = 2_000;
const NOTHING: Omit<LeaseEntry, 'engine'> = {
  ...{ holder: null, mine: false, epoch: null, expiresAt: null, role: 'none', since: null },
  ...{ decision: null, reachable: null, unreachable: null },
};

export function leaseEntry(
  engine: string,
  keeper: Keeper,
  { nowMs, unixMs }: Pick<ClockLook, 'nowMs' | 'unixMs'>,
  policy: KeeperPolicy,
): LeaseEntry {
  const { role, term, sight, reach } = keeper;
  const known = (role === 'standby' ? sight : term)?.seen?.rec;
  const rec = known?.vacant === undefined ? known : undefined;
  const at = (ms: number) => new Date(unixMs + Math.max(0, Math.round(ms - nowMs))).toISOString();
  const entry: LeaseEntry = {
    ...{ ...NOTHING, engine, ...holderOf(rec), role: 'standby' },
    epoch: (rec?.epoch ?? keeper.epoch) || null,
    reachable: reach?.ok ?? null,
    unreachable: reach?.ok === false ? reach.why : null,
  };
  if (role === 'leader') {
    const stopMs = stopAtMs(keeper, policy);
    // A holder stops polling before the time that the others grant it is over.
    const expiresAt = at(stopMs + livesMs(policy.timing) - stopAfterMs(policy.timing));
    return { ...entry, mine: true, role: 'holder', expiresAt, decision: { what: 'stop', at: at(stopMs) } };
  }
  const takeMs = role === 'standby' ? takeFromMs(keeper, policy) : Number.POSITIVE_INFINITY;
  if (!Number.isFinite(takeMs)) return entry;
  return { ...entry, expiresAt: at(takeMs), decision: { what: 'take', at: at(takeMs) } };
}

/** `box-a:4711`, and since when. */
export function holderOf(rec: LeaseRecord | undefined): Pick<LeaseEntry, 'holder' | 'since'> {
  if (!rec?.holder) return { holder: null, since: null };
  return { holder: `${rec.host ?? 'unknown'}:${rec.pid ?? '?'}`, since: rec.since ?? null };
}

/** Looks at the record once, without seeking the lease. Never rejects: what is wrong is in `unreachable`. */
export async function lookAtLease(url: string, botId: number): Promise<LeaseEntry> {
  const entry: LeaseEntry = { ...NOTHING, engine: url.slice(0, url.indexOf(':')) };
  let store: LeaseStore | null = null;
  try {
    store = await openStore(url, botId);
    const rec = (await store.read(GLANCE_MS))?.rec;
    const found = { ...holderOf(rec), epoch: rec?.epoch || null, reachable: true };
    return { ...entry, engine: store.kind, ...found };
  } catch (error) {
    const engine = store?.kind ?? entry.engine;
    return { ...entry, engine, reachable: false, unreachable: (error as Error).message };
  } finally {
    await store?.close().catch(() => {});
  }
}

/**
 * Loads the engine that the URL names; connects to nothing yet. Throws LeaseConfigError for what is wrong with the URL or the
 * files it names. `botId`: the digits before the token's colon, never the token.
 */
export async function openStore(text: string, botId: number): Promise<LeaseStore> {
  const url = parseLeaseUrl(text);
  const name = `singlepoll/${botId}`;
  switch (url.kind) {
    case 'redis':
      return (await import('./redis.ts')).openRedis(url, name);
    case 'postgres':
      return (await import('./postgres.ts')).openPostgres(url, name);
    case 'etcd':
      return (await import('./etcd.ts')).openEtcd(url, name);
    case 'kubernetes':
      return (await import('./kubernetes.ts')).openKubernetes(url, `singlepoll-${botId}`);
  }
}
