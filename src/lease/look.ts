/** One look at the record of a bot, by whoever does not seek the lease: for `status` and `who` beside no supervisor. */
import type { LeaseEntry } from '../core/status.ts';
import { holderText } from '../output/words.ts';
import { openStore } from './open.ts';
import type { LeaseStore } from './store.ts';

const PATIENCE_MS = 2_000;

/** `url` with its credentials. Never rejects: what is wrong stands in `unreachable`. */
export async function lookAtLease(url: string, botId: number): Promise<LeaseEntry> {
  const nobody = { holder: null, mine: false, epoch: null, expiresAt: null, since: null, decision: null };
  let store: LeaseStore | null = null;
  try {
    store = await openStore(url, botId);
    const rec = (await store.read(PATIENCE_MS))?.rec ?? null;
    const living = rec !== null && rec.holder !== '';
    return {
      ...nobody,
      engine: store.kind,
      epoch: rec?.epoch || null,
      ...(living && {
        holder: holderText({ host: rec.host ?? null, pid: rec.pid ?? null }),
        since: rec.since ?? null,
      }),
      role: 'none',
      reachable: true,
      unreachable: null,
    };
  } catch (error) {
    const engine = store?.kind ?? url.slice(0, url.indexOf(':'));
    return { ...nobody, engine, role: 'none', reachable: false, unreachable: (error as Error).message };
  } finally {
    await store?.close().catch(() => {});
  }
}
