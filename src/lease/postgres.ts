/**
 * PostgreSQL: one row, compared and written by single statements, which work through a pooler too. No session locks, no clock
 * of the server's. NOTIFY wakes the others; through a pooler in transaction mode it does not arrive, and polling serves.
 */
import type { DatabaseError } from 'pg';
import { type PostgresLine, postgresDialer } from './postgres-line.ts';
import { isAnswer, postgresTrouble, TABLE } from './postgres-trouble.ts';
import { formatRecord, parseRecord } from './record.ts';
import { type CasResult, LeaseIoError, type LeaseStore, type Rev, type Seen } from './store.ts';
import { closedTrouble, lateTrouble, placeOf, strangerTrouble } from './trouble.ts';
import type { LeaseUrl } from './url.ts';
import { type Bell, createWake } from './wake.ts';

const READ =
  'SELECT pg_is_in_recovery() AS replica, (SELECT rec FROM singlepoll_lease WHERE name = $1) AS rec';
const CREATE =
  "WITH w AS (INSERT INTO singlepoll_lease VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1) SELECT pg_notify($3, '') FROM w";
// Under READ COMMITTED the condition is looked at again once the row is locked.
const CAS =
  "WITH w AS (UPDATE singlepoll_lease SET rec = $2 WHERE name = $1 AND rec = $4 RETURNING 1) SELECT pg_notify($3, '') FROM w";
type Row = { rec?: string | null; replica?: boolean };
/** `write`: where no answer comes, it may have been applied. */
type Query = (text: string, values?: string[], write?: boolean) => Promise<Row[]>;

/** `name`: of the row and of the channel. */
export function openPostgres(url: LeaseUrl, name: string): LeaseStore {
  const place = `${url.scheme} lease at ${placeOf(url)}`;
  const dialer = postgresDialer(url);
  let line: PostgresLine | null = null;
  let closed = false;
  /** The client wants its statements one after the other. */
  let turn: Promise<unknown> = Promise.resolve();
  let bell: Bell | null = null;

  async function connected(): Promise<PostgresLine> {
    line ??= dialer.dial(
      () => bell?.ring(),
      (gone) => {
        if (line !== gone) return;
        line = null;
        bell?.down();
      },
    );
    const mine = line;
    try {
      await mine.ready;
      return mine;
    } catch (error) {
      const again = dialer.mayGoPlain(error);
      // A watch that has been asked for goes on with the next line.
      if (again && line === mine) line = null;
      mine.end();
      if (!again) throw error;
      return connected();
    }
  }

  async function ask<T>(ms: number, work: (query: Query) => Promise<T>): Promise<T> {
    let asked = false;
    let sent = false;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      line?.end();
    }, ms);
    const before = turn;
    const run = async (): Promise<T> => {
      await before;
      if (closed) throw closedTrouble(url);
      if (late) throw lateTrouble(url, ms, false);
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
            // Somebody else has created it, or its type or index, at the same moment.
            if (!/^(?:42P07|42710|23505|XX000)$/.test(second.code ?? '')) throw second;
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
      if (!isAnswer(error)) line?.end();
      if (late) throw lateTrouble(url, ms, asked, sent);
      throw closed ? closedTrouble(url) : postgresTrouble(url, dialer.user, error as DatabaseError, sent);
    } finally {
      clearTimeout(timer);
    }
  }

  async function look(query: Query): Promise<Seen | null> {
    const [row] = await query(READ, [name]);
    if (row?.replica)
      throw new LeaseIoError(`${place}: it is a read-only replica; name the primary in the URL`, false);
    if (typeof row?.rec !== 'string') return null;
    const rec = parseRecord(row.rec);
    if (!rec) throw strangerTrouble(url, `singlepoll_lease.${name}`, row.rec);
    return { rev: row.rec, rec };
  }

  const wake = createWake((_after, ms, newBell) => {
    bell = newBell;
    ask(ms, (query) => query(`LISTEN "${name}"`)).then(newBell.up, newBell.down);
    return () => {
      if (bell === newBell) bell = null;
    };
  });

  return {
    kind: 'postgres',
    read: (ms) => ask(ms, look),
    cas(prev: Rev | null, next, ms): Promise<CasResult> {
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
    changed: wake.wait,
    async close() {
      closed = true;
      wake.close();
      line?.end();
      await turn;
    },
  };
}
