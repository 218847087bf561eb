/**
 * PostgreSQL: one row, compared and written by single statements, which work through a pooler too. It uses no session lock and no
 * clock of the server. NOTIFY wakes the others; through a pooler in transaction mode it does not arrive, and polling serves.
 */
import { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { Client, type DatabaseError } from 'pg';
import { formatRecord } from './record.ts';
import {
  type CasResult,
  createTrouble,
  LeaseConfigError,
  LeaseIoError,
  type LeaseStore,
  type Rule,
  type Seen,
  type WatchListener,
} from './store.ts';
import { type LeaseUrl, readNamedFile } from './url.ts';

const TABLE = 'CREATE TABLE IF NOT EXISTS singlepoll_lease (name text PRIMARY KEY, rec text NOT NULL)';
const READ =
  'SELECT pg_is_in_recovery() AS replica, (SELECT rec FROM singlepoll_lease WHERE name = $1) AS rec';
const CREATE =
  "WITH w AS (INSERT INTO singlepoll_lease VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1) SELECT pg_notify($3, '') FROM w";
// Under READ COMMITTED the condition is looked at again once the row is locked.
const CAS =
  "WITH w AS (UPDATE singlepoll_lease SET rec = $2 WHERE name = $1 AND rec = $4 RETURNING 1) SELECT pg_notify($3, '') FROM w";
/** A session may be silent for long; this finds out that the other side is gone. */
const PROBE_AFTER_MS = 10_000;
/** Somebody else has created the table, its type or its index at the same moment. */
const CREATED_MEANWHILE = /^(?:42P07|42710|23505|XX000)$/;

/** For `SEVERITY code message`. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const rulesFor = ({ scheme }: LeaseUrl, user: string): Rule[] => [
  [/^\w* (?:28|3D)|password must be/, 'config', `check the URL: ${scheme}://user:password@host/database`],
  [
    /^\w* (?:42501|3F000)/,
    'config',
    `let the database's owner run: ${TABLE}; GRANT SELECT, INSERT, UPDATE ON singlepoll_lease TO "${user}"`,
  ],
  [/^\w* 25006/, 'refused', 'it is a read-only replica: name the primary in the URL'],
  [/^\w* 42/, 'config', 'the table is singlepoll_lease'],
  [/not support SSL/, 'config', 'sslmode=disable goes without'],
  // An error ends the transaction, except for two codes that leave open how. After FATAL nobody knows either.
  [/^ERROR (?!40003|08007)/, 'refused'],
  [/^\w/, 'unclear'],
];

type Row = { rec?: string | null; replica?: boolean };
/** `write`: where no answer comes, it may have been applied. */
type Query = (text: string, values?: string[], write?: boolean) => Promise<Row[]>;

interface Connection {
  readonly client: Client;
  readonly ready: Promise<unknown>;
  /** Destroys the socket; a statement under way is rejected. */
  end(): void;
}

/** `name`: of the row and of the channel. */
export function openPostgres(url: LeaseUrl, name: string): LeaseStore {
  const trouble = createTrouble(url.label, url.hide);
  // PGUSER and PGPASSWORD serve where the URL names none, as everywhere with PostgreSQL.
  const user = url.user ?? process.env.PGUSER ?? 'postgres';
  const rules = rulesFor(url, user);
  const mode = sslModeOf(url);
  let plain = mode === 'disable';
  let present: Connection | null = null;
  let closed = false;
  /** The client wants its statements one after the other. */
  let turn: Promise<unknown> = Promise.resolve();
  let watching: WatchListener | null = null;

  function connect(): Connection {
    const { host, port } = url.hosts[0]!;
    const socket = new Socket();
    const client = new Client({
      ...{ host, port, user, database: url.path || user, application_name: 'singlepoll' },
      ...{ stream: () => socket, keepAlive: true, keepAliveInitialDelayMillis: PROBE_AFTER_MS },
      password: () => url.password ?? process.env.PGPASSWORD ?? '',
      ssl: plain ? false : sslOf(url, mode),
    });
    const end = () => {
      socket.destroy();
      if (present !== connection) return;
      present = null;
      watching?.ended();
    };
    client.on('error', end);
    client.on('end', end);
    client.on('notification', () => watching?.changed());
    const ready = client.connect();
    ready.catch(() => {});
    const connection = { client, ready, end };
    return connection;
  }

  async function connected(): Promise<Connection> {
    present ??= connect();
    const connection = present;
    try {
      await connection.ready;
      return connection;
    } catch (error) {
      const maySkipTls =
        !plain && (mode === 'allow' || mode === 'prefer') && /not support SSL/.test(`${error}`);
      plain ||= maySkipTls;
      // A watch that has been asked for goes on with the next connection.
      if (maySkipTls && present === connection) present = null;
      connection.end();
      if (!maySkipTls) throw error;
      return connected();
    }
  }

  async function ask<T>(ms: number, work: (query: Query) => Promise<T>): Promise<T> {
    let asked = false;
    let sent = false;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      present?.end();
    }, ms);
    const before = turn;
    const run = async (): Promise<T> => {
      await before;
      if (closed) throw trouble.closed();
      if (late) throw trouble.late(ms, false);
      const { client } = await connected();
      const query: Query = async (text, values, write = false) => {
        asked = true;
        sent = write;
        const { rows } = await client.query<Row>(text, values);
        sent = false;
        return rows;
      };
      return work((text, values, write) =>
        query(text, values, write).catch(async (error: DatabaseError) => {
          if (error.code !== '42P01') throw error;
          await query(TABLE).catch((second: DatabaseError) => {
            if (!CREATED_MEANWHILE.test(second.code ?? '')) throw second;
          });
          return query(text, values, write);
        }),
      );
    };
    const result = run();
    turn = result.catch(() => {});
    try {
      return await result;
    } catch (error) {
      const { severity = '', code = '', message = '' } = error as Partial<DatabaseError>;
      const isOurs = error instanceof LeaseIoError || error instanceof LeaseConfigError;
      // After an error the session goes on; after anything else it is not to be trusted.
      if (!isOurs && severity !== 'ERROR') present?.end();
      if (late) throw trouble.late(ms, asked, sent);
      if (closed) throw trouble.closed();
      if (isOurs) throw error;
      if (severity === '' && !/password must be|not support SSL/.test(message))
        throw trouble.socket(error, sent, '?sslmode=require');
      throw trouble.answer(`${severity} ${code} ${message}`, message, sent, rules);
    } finally {
      clearTimeout(timer);
    }
  }

  async function look(query: Query): Promise<Seen | null> {
    const [row] = await query(READ, [name]);
    if (row?.replica) throw trouble.replica();
    if (typeof row?.rec !== 'string') return null;
    return { rev: row.rec, rec: trouble.record(`singlepoll_lease.${name}`, row.rec) };
  }

  return {
    kind: 'postgres',
    read: (ms) => ask(ms, look),
    cas(prev, next, ms): Promise<CasResult> {
      // A database need not be in UTF-8.
      const text = formatRecord(next).replace(
        /[\u0080-\uffff]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
      return ask(ms, async (query) => {
        const [statement, values] =
          prev === null ? [CREATE, [name, text, name]] : [CAS, [name, text, name, prev]];
        const rows = await query(statement, values, true);
        return rows.length > 0 ? { ok: true, rev: text } : { ok: false, current: await look(query) };
      });
    },
    watch(_after, listener) {
      watching = listener;
      ask(LISTEN_MS, (query) => query(`LISTEN "${name}"`)).then(listener.changed, listener.ended);
      return () => {
        if (watching === listener) watching = null;
      };
    },
    async close() {
      closed = true;
      present?.end();
      await turn;
    },
  };
}

/** Longer than any request of a lease, so that it cuts none short. */
const LISTEN_MS = 10_000;
/** libpq's words (https://www.postgresql.org/docs/current/libpq-ssl.html); `no-verify` is another client's for what libpq calls require. */
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'no-verify', 'verify-ca', 'verify-full'];

/** prefer where the URL does not say, as psql does. */
function sslModeOf({ options, shown }: LeaseUrl): string {
  const mode = options.get('sslmode') ?? 'prefer';
  if (SSL_MODES.includes(mode)) return mode;
  throw new LeaseConfigError(
    `the lease URL ${shown}: no sslmode is called ${mode}; there are ${SSL_MODES.join(', ')}`,
  );
}

/** A certificate is checked where an authority is named, or where the mode says verify. pg-connection-string knows neither allow nor system. */
function sslOf({ options, shown }: LeaseUrl, mode: string): ConnectionOptions {
  const file = (option: string) => {
    const path = options.get(option);
    if (path === null || path === 'system') return undefined;
    return readNamedFile(path, `${option} of the lease URL ${shown}`);
  };
  const [ca, cert, key] = [file('sslrootcert'), file('sslcert'), file('sslkey')];
  return {
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(!ca && !mode.startsWith('verify') && { rejectUnauthorized: false }),
    ...(mode !== 'verify-full' && { checkServerIdentity: () => undefined }),
  };
}
