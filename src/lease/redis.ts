/**
 * Redis and Valkey: the record is one string without expiry, because expiry follows the server's wall clock. A script compares
 * and writes it, and its PUBLISH wakes the others. The client's offline queue and its reconnecting are off.
 */
import { createClient, ErrorReply } from '@redis/client';
import {
  createStore,
  EngineAnswer,
  type Entry,
  type LeaseStore,
  PROBE_AFTER_MS,
  type Rule,
} from './store.ts';
import { type LeaseUrl, tlsOf } from './url.ts';

/**
 * Compares the whole value, which no two writes share, so a wiped server cannot be mistaken for an old one. A user without the
 * right to publish may still write: the SET can't be undone by then, so a failed PUBLISH must not fail the script.
 */
const CAS = `local c = redis.call('GET', KEYS[1]) or ''
if c ~= ARGV[1] then return {0, c} end
redis.call('SET', KEYS[1], ARGV[2])
redis.pcall('PUBLISH', KEYS[1], 'x')
return {1, ''}`;

const CREDENTIALS =
  /^(?:NOAUTH|WRONGPASS|ERR (?:AUTH|invalid password|Client sent AUTH)|HELLO must be called)/;
const PRIMARY = 'it is a read-only replica: name the primary in the URL';

/** https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors. The errors of proxies count as unclear. */
const rulesFor = ({ scheme, user = 'default' }: LeaseUrl, key: string): Rule[] => [
  [
    /^(?:MOVED|ASK) /,
    'config',
    'this is a Redis Cluster, which singlepoll does not follow: name a single server',
  ],
  [CREDENTIALS, 'config', `check user and password in the URL: ${scheme}://user:password@host`],
  [
    /^NOPERM/,
    'config',
    `let an administrator grant it: ACL SETUSER ${user} +get +set +eval +publish +subscribe ~${key} &${key}`,
  ],
  [/^READONLY/, 'refused', PRIMARY],
  [
    /^(?:WRONGTYPE|CROSSSLOT|ERR (?:unknown command|DB index|invalid DB|SELECT|wrong number))/,
    'config',
    `the key is ${key}`,
  ],
  [
    /^(?:LOADING|MASTERDOWN|NOREPLICAS|MISCONF|OOM|BUSY|CLUSTERDOWN|TRYAGAIN|ERR max number of clients)/,
    'refused',
  ],
];

export function openRedis(url: LeaseUrl, key: string): LeaseStore {
  let present: ReturnType<typeof connect> | null = null;

  function connect() {
    const cut = new AbortController();
    const client = clientOf(url, cut.signal);
    /** Destroys the socket, even while it is being connected. */
    const end = () => {
      if (present?.client === client) present = null;
      cut.abort();
      client.destroy();
    };
    client.on('error', () => {});
    // The client first rejects its pending commands with the original error.
    const gone = new Promise<void>((resolve) => client.on('terminated', () => queueMicrotask(resolve)));
    void gone.then(end);
    /** Rejects with the socket's or the server's error, or with the reason why this server can't be used. */
    const ready = client.connect().then(async () => {
      if (await isReplica((command) => client.sendCommand(command))) throw new EngineAnswer('READONLY');
    });
    ready.catch(end);
    return { client, ready, gone, end };
  }

  async function ask<T>(command: string[], signal: AbortSignal): Promise<T> {
    present ??= connect();
    const { client, ready, end } = present;
    signal.addEventListener('abort', end);
    try {
      await ready;
      return await client.sendCommand<T>(command);
    } catch (error) {
      end();
      throw error instanceof ErrorReply ? new EngineAnswer(error.message) : error;
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  const entry = (text: string | null): Entry | null => (text ? { rev: text, text } : null);

  return createStore({
    ...{ kind: 'redis', label: url.label, where: key, hide: url.hide, rules: rulesFor(url, key) },
    read: async (signal) => entry(await ask<string | null>(['GET', key], signal)),
    async cas(prev, text, signal) {
      const [won, current] = await ask<[number, string]>(['EVAL', CAS, '1', key, prev ?? '', text], signal);
      return won === 1 ? text : { current: entry(current) };
    },
    async watch(changed, signal) {
      const { ready, client, gone, end } = connect();
      signal.addEventListener('abort', end);
      await ready;
      await client.subscribe(key, changed);
      changed();
      await gone;
    },
    close: () => present?.end(),
  });
}

function clientOf(url: LeaseUrl, signal: AbortSignal) {
  const { host, port } = url.hosts[0]!;
  const isName = !/^[\d.]+$|:/.test(host);
  return createClient({
    socket: {
      host,
      port,
      // The signal is passed to the socket, as the client cannot end one that is being connected.
      ...({ signal } as object),
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
}

/** A replica must not be used, as it may show old data. Servers before version 6 do not tell. */
async function isReplica(send: (command: string[]) => Promise<unknown>): Promise<boolean> {
  const answer = await send(['HELLO']).catch((error: Error) => {
    if (CREDENTIALS.test(error.message)) throw error;
    return [];
  });
  const fields = answer as string[];
  const at = fields.indexOf('role');
  return at >= 0 && fields[at + 1] !== 'master';
}
