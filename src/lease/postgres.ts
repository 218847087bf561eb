/**
 * PostgreSQL: one row, compared and written by single statements, which work through a pooler too. No session lock and no clock
 * of the server is used. NOTIFY wakes the others; through a pooler in transaction mode it does not arrive, so they also poll.
 */
import { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { Client, type DatabaseError } from 'pg';
import {
  createStore,
  EngineAnswer,
  type Entry,
  type LeaseStore,
  PROBE_AFTER_MS,
  type Rule,
} from './store.ts';
import { filesOf, type LeaseUrl } from './url.ts';

const TABLE = 'CREATE TABLE IF NOT EXISTS singlepoll_lease (name text PRIMARY KEY, rec text NOT NULL)';
const READ = 'SELECT rec FROM singlepoll_lease WHERE name = $1';
const CREATE =
  "WITH w AS (INSERT INTO singlepoll_lease VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1) SELECT pg_notify($3, '') FROM w";
// Under READ COMMITTED the condition is evaluated again once the row is locked.
const CAS =
  "WITH w AS (UPDATE singlepoll_lease SET rec = $2 WHERE name = $1 AND rec = $4 RETURNING 1) SELECT pg_notify($3, '') FROM w";
const NO_TABLE = '42P01';
/** Another session has created the table, its type or its index at the same moment. */
const CREATED_MEANWHILE = /^(?:42P07|42710|23505|XX000)$/;
/** The client's own errors about a server's answer. */
const CLIENT_WORDS = /password must be|not support SSL/;

/** Rules match `SEVERITY code message`. https://www.postgresql.org/docs/current/errcodes-appendix.html */
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
  // An error rolls the transaction back, but two codes leave the outcome open, as does FATAL.
  [/^ERROR (?!40003|08007)/, 'refused'],
];

/** `name` is that of the row and of the channel. */
export function openPostgres(url: LeaseUrl, name: string): LeaseStore {
  // Without a user or password in the URL, PGUSER and PGPASSWORD apply, as usual with PostgreSQL.
  const user = url.user ?? process.env.PGUSER ?? 'postgres';
  // The default of psql.
  const mode = url.options.get('sslmode') ?? 'prefer';
  let plain = mode === 'disable';
  let present: ReturnType<typeof connect> | null = null;
  let changed = () => {};

  function connect() {
    const { host, port } = url.hosts[0]!;
    const socket = new Socket();
    const client = new Client({
      ...{ host, port, user, database: url.path || user, application_name: 'singlepoll' },
      ...{ stream: () => socket, keepAlive: true, keepAliveInitialDelayMillis: PROBE_AFTER_MS },
      password: () => url.password ?? process.env.PGPASSWORD ?? '',
      ssl: plain ? false : sslOf(url, mode),
    });
    const end = () => {
      if (present?.client === client) present = null;
      socket.destroy();
    };
    const gone = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    client.on('error', end);
    client.on('end', end);
    client.on('notification', () => changed());
    // LISTEN fails on a replica, which must not be used as it may show old data.
    const ready = client.connect().then(() => client.query(`LISTEN "${name}"`));
    return { client, ready, gone, end, encrypted: !plain };
  }

  async function connected(signal?: AbortSignal): Promise<ReturnType<typeof connect>> {
    const connection = present ?? connect();
    present = connection;
    signal?.addEventListener('abort', connection.end);
    try {
      await connection.ready;
      return connection;
    } catch (error) {
      connection.end();
      const mayGoPlain = connection.encrypted && /^(?:allow|prefer)$/.test(mode);
      if (!mayGoPlain || !/not support SSL/.test(`${error}`)) throw error;
      plain = true;
      return await connected(signal);
    }
  }

  async function ask(text: string, values: string[], signal: AbortSignal): Promise<{ rec?: string }[]> {
    try {
      const { client } = await connected(signal);
      const query = async () => (await client.query<{ rec?: string }>(text, values)).rows;
      return await query().catch(async (error: DatabaseError) => {
        if (error.code !== NO_TABLE) throw error;
        await client.query(TABLE).catch((second: DatabaseError) => {
          if (!CREATED_MEANWHILE.test(second.code ?? '')) throw second;
        });
        return await query();
      });
    } catch (error) {
      present?.end();
      const { severity = '', code = '', message = '' } = error as Partial<DatabaseError>;
      if (severity === '' && !CLIENT_WORDS.test(message)) throw error;
      throw new EngineAnswer(`${severity} ${code} ${message}`, message);
    }
  }

  async function read(signal: AbortSignal): Promise<Entry | null> {
    const [row] = await ask(READ, [name], signal);
    return row?.rec === undefined ? null : { rev: row.rec, text: row.rec };
  }

  return createStore({
    ...{ kind: 'postgres', label: url.label, where: `singlepoll_lease.${name}`, hide: url.hide },
    rules: rulesFor(url, user),
    read,
    async cas(prev, record, signal) {
      // A database need not be in UTF-8.
      const text = record.replace(
        /[\u0080-\uffff]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
      const values = [name, text, name];
      const rows = await (prev === null ? ask(CREATE, values, signal) : ask(CAS, [...values, prev], signal));
      return rows.length > 0 ? text : { current: await read(signal) };
    },
    async watch(tell, signal) {
      // The connection outlives the watch, as it also serves the calls.
      const { gone } = await connected();
      changed = () => signal.aborted || tell();
      tell();
      await gone;
    },
    close: () => present?.end(),
  });
}

/** libpq's modes (https://www.postgresql.org/docs/current/libpq-ssl.html); `no-verify` is node-postgres' name for `require`. */
const UNVERIFIED = /^(?:allow|prefer|require|no-verify)$/;

/** Checks the certificate if the URL names an authority or the mode demands it. pg-connection-string lacks allow and system. */
function sslOf(url: LeaseUrl, mode: string): ConnectionOptions {
  const files = filesOf(url, { ca: 'sslrootcert', cert: 'sslcert', key: 'sslkey' });
  return {
    ...files,
    ...(!files.ca && UNVERIFIED.test(mode) && { rejectUnauthorized: false }),
    ...((UNVERIFIED.test(mode) || mode === 'verify-ca') && { checkServerIdentity: () => undefined }),
  };
}
