/** One connection to a Redis or Valkey server. Its client's queue for hard times and its reconnecting are off. */
import redis, { type RedisClient } from '@redis/client/dist/lib/client/index.js';
import { isAboutCredentials } from './redis-trouble.ts';
import { LeaseConfigError, LeaseIoError } from './store.ts';
import { placeOf } from './trouble.ts';
import { type LeaseUrl, tlsOf } from './url.ts';

/** A subscription may be silent for long; this finds out that the other side is gone. */
const PROBE_AFTER_MS = 10_000;

export interface RedisLine {
  readonly client: RedisClient;
  /** Rejects with the socket's error, the server's, or with what makes this server useless. */
  readonly ready: Promise<void>;
  /** Destroys the socket, one that is being connected too. */
  end(): void;
}

/** `onEnd`: the connection has ended by itself. */
export function dialRedis(url: LeaseUrl, onEnd: () => void = () => {}): RedisLine {
  const cut = new AbortController();
  const { host, port } = url.hosts[0]!;
  const isName = !/^[\d.]+$|:/.test(host);
  const client = redis.default.create({
    socket: {
      host,
      port,
      // Handed through to the socket: the client itself cannot end one that is being connected.
      ...{ signal: cut.signal },
      connectTimeout: 0,
      reconnectStrategy: false,
      keepAliveInitialDelay: PROBE_AFTER_MS,
      ...(url.tls && { tls: true as const, ...tlsOf(url), ...(isName && { servername: host }) }),
    },
    database: Number(url.path),
    RESP: 2,
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: 'disabled',
    commandOptions: { timeout: 0 },
    ...(url.user !== undefined && { username: url.user }),
    ...(url.password !== undefined && { password: url.password }),
  });
  client.on('error', () => {});
  const end = (): void => {
    cut.abort();
    client.destroy();
  };
  client.on('terminated', () => {
    // Its own clean-up first: what was under way is to hear the reason.
    queueMicrotask(end);
    onEnd();
  });
  const ready = client.connect().then(() => greet(client, url));
  ready.catch(() => {});
  return { client, ready, end };
}

/** Who is there? A replica may show what is long past. Servers older than 6 do not say. */
async function greet(client: RedisClient, url: LeaseUrl): Promise<void> {
  const told = await client.sendCommand<string[]>(['HELLO']).catch((error: Error): string[] => {
    if (isAboutCredentials(error.message)) throw error;
    return [];
  });
  const field = (name: string): string | undefined =>
    told.includes(name) ? told[told.indexOf(name) + 1] : undefined;
  const place = `${url.scheme} lease at ${placeOf(url)}`;
  if ((field('role') ?? 'master') !== 'master')
    throw new LeaseIoError(`${place}: it is a read-only replica; name the primary in the URL`, false);
  if (field('mode') === 'sentinel')
    throw new LeaseConfigError(
      `${place}: it is a Sentinel, which keeps no data; name the primary in the URL`,
    );
}
