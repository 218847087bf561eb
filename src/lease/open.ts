/** `--lease URL` → the engine's store. Each engine is loaded only when it is named. */
import type { LeaseStore } from './store.ts';
import { type LeaseUrl, parseLeaseUrl } from './url.ts';

/**
 * Connects to nothing yet. Throws LeaseConfigError for what is wrong with the URL or the files it names. `botId`: the digits
 * before the token's colon, never the token.
 */
export async function openStore(text: string, botId: number | string): Promise<LeaseStore> {
  const url = parseLeaseUrl(text);
  return openEngine(url, String(botId));
}

async function openEngine(url: LeaseUrl, botId: string): Promise<LeaseStore> {
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
    case 'memory':
      return (await import('./memory.ts')).openMemory(`${url.hosts[0]?.host ?? ''}${url.path}/${name}`);
  }
}
