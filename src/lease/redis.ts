/**
 * Redis and Valkey: the record is one string without expiry, because expiry follows the server's wall clock. A script compares and
 * writes it, and its PUBLISH wakes the others. The client's queue for hard times and its reconnecting are off.
 */
import { createClient, ErrorReply } from '@redis/client';
import { formatRecord } from './record.ts';
import {
  type CasResult,
  createTrouble,
  LeaseConfigError,
  type LeaseStore,
  type Rule,
  type Seen,
  type Trouble,
} from './store.ts';
import { type LeaseUrl, tlsOf } from './url.ts';

/**
 * Compares the whole value, which no two writes share, so a wiped server cannot be mistaken for an old one. A user who may not
 * publish may still write: by then the SET cannot be undone, so PUBLISH must not fail.
 */
const CAS = `local c = redis.call('GET', KEYS[1]) or ''
if c ~= ARGV[1] then return {0, c} end
redis.call('SET', KEYS[1], ARGV[2])
redis.pcall('PUBLISH', KEYS[1], 'x')
return {1, ''}`;
/** A subscription may be silent for long; this finds out that the other side is gone. */
const PROBE_AFTER_MS = 10_000;

const CREDENTIALS =
  /^(?:NOAUTH|WRONGPASS|ERR (?:AUTH|invalid password|Client sent AUTH))|^HELLO must be called/;

/** https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors. What a proxy answers in the server's place is unclear. */
const rulesFor = ({ scheme, user }: LeaseUrl, key: string): Rule[] => [
  [
    /^(?:MOVED|ASK) /,
    'config',
    'this is a Redis Cluster, which singlepoll does not follow: name a single server',
  ],
  [CREDENTIALS, 'config', `check user and password in the URL: ${scheme}://user:password@host`],
  [
    /^NOPERM/,
    'config',
    `let an administrator grant it: ACL SETUSER ${user ?? 'default'} +get +set +eval +publish +subscribe ~${key} &${key}`,
  ],
  [/^READONLY/, 'refused', 'it is a read-only replica: name the primary in the URL'],
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
  if (!/^\d*$/.test(url.path))
    throw new LeaseConfigError(
      `the lease URL ${url.shown}: ${url.path} is no database number; like redis://host/0`,
    );
  const trouble = createTrouble(url.label, url.hide);
  const rules = rulesFor(url, key);
  let present: Connection | null = null;
  let closed = false;
  const watches = new Set<() => void>();

  async function ask<T>(command: string[], ms: number): Promise<T> {
    if (closed) throw trouble.closed();
    const connection: Connection = present ?? connect(url, trouble, () => forget());
    const forget = () => {
      if (present === connection) present = null;
    };
    present = connection;
    let sent = false;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      connection.end();
    }, ms);
    try {
      await connection.ready;
      sent = true;
      return await connection.client.sendCommand<T>(command);
    } catch (error) {
      const isAnswer = error instanceof ErrorReply;
      if (!isAnswer || !sent) {
        forget();
        connection.end();
      }
      if (late) throw trouble.late(ms, sent);
      if (closed) throw trouble.closed();
      throw isAnswer
        ? trouble.answer(error.message, error.message, sent, rules)
        : trouble.socket(error, sent);
    } finally {
      clearTimeout(timer);
    }
  }

  function seen(text: string | null): Seen | null {
    if (text === null || text === '') return null;
    return { rev: text, rec: trouble.record(key, text) };
  }

  return {
    kind: 'redis',
    read: async (ms) => seen(await ask<string | null>(['GET', key], ms)),
    async cas(prev, next, ms): Promise<CasResult> {
      const text = formatRecord(next);
      const [won, current] = await ask<[number, string]>(['EVAL', CAS, '1', key, prev ?? '', text], ms);
      return won === 1 ? { ok: true, rev: text } : { ok: false, current: seen(current) };
    },
    watch(_after, { changed, ended }) {
      const { ready, client, end } = connect(url, trouble, ended);
      ready.then(() => client.subscribe(key, changed)).then(changed, ended);
      watches.add(end);
      return () => {
        watches.delete(end);
        end();
      };
    },
    async close() {
      closed = true;
      for (const end of watches) end();
      present?.end();
      present = null;
    },
  };
}

type Connection = ReturnType<typeof connect>;

/** `onGone`: the connection has ended by itself. */
function connect(url: LeaseUrl, trouble: Trouble, onGone: () => void) {
  const cut = new AbortController();
  const client = clientOf(url, cut.signal);
  /** Destroys the socket, also one that is being connected. */
  const end = () => {
    cut.abort();
    client.destroy();
  };
  client.on('error', () => {});
  client.on('terminated', () => {
    // The client first rejects its pending commands with the original error.
    queueMicrotask(end);
    onGone();
  });
  /** Rejects with the socket's error, the server's, or with what makes this server useless. */
  const ready = client.connect().then(() => greet((command) => client.sendCommand(command), trouble));
  ready.catch(() => {});
  return { client, ready, end };
}

function clientOf(url: LeaseUrl, signal: AbortSignal) {
  const { host, port } = url.hosts[0]!;
  const isName = !/^[\d.]+$|:/.test(host);
  return createClient({
    socket: {
      host,
      port,
      // Handed through to the socket: the client itself cannot end one that is being connected.
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

/** Asks who is there, because a replica may show what is long past. Servers older than 6 do not say. */
async function greet(send: (command: string[]) => Promise<unknown>, trouble: Trouble): Promise<void> {
  const answer = await send(['HELLO']).catch((error: Error) => {
    if (CREDENTIALS.test(error.message)) throw error;
    return [];
  });
  const fields = answer as string[];
  const field = (name: string) => (fields.includes(name) ? fields[fields.indexOf(name) + 1] : undefined);
  if ((field('role') ?? 'master') !== 'master') throw trouble.replica();
  if (field('mode') === 'sentinel')
    throw trouble.answer('', 'it is a Sentinel, which keeps no data', false, [
      [/^/, 'config', 'name the primary in the URL'],
    ]);
}
