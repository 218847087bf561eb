/**
 * Redis and Valkey: the record is one string without expiry (expiry follows the server's wall clock), compared and written by
 * a script, whose PUBLISH wakes the others. The client's queue for hard times and its reconnecting are off.
 */
import { ErrorReply } from '@redis/client/dist/lib/errors.js';
import { formatRecord, parseRecord } from './record.ts';
import { dialRedis, type RedisLine } from './redis-line.ts';
import { redisTrouble } from './redis-trouble.ts';
import { type CasResult, LeaseConfigError, type LeaseStore, type Rev, type Seen } from './store.ts';
import { closedTrouble, lateTrouble, socketTrouble, strangerTrouble } from './trouble.ts';
import type { LeaseUrl } from './url.ts';
import { createWake } from './wake.ts';

/**
 * Compares the whole value, which no two writes share: a wiped server cannot be mistaken for an old one. A user who may not
 * publish may still write: by then the SET cannot be undone, so PUBLISH must not fail.
 */
const CAS = `local c = redis.call('GET', KEYS[1]) or ''
if c ~= ARGV[1] then return {0, c} end
redis.call('SET', KEYS[1], ARGV[2])
redis.pcall('PUBLISH', KEYS[1], 'x')
return {1, ''}`;

export function openRedis(url: LeaseUrl, key: string): LeaseStore {
  const database = url.path === '' ? 0 : Number(url.path);
  if (!Number.isSafeInteger(database) || database < 0)
    throw new LeaseConfigError(
      `the lease URL ${url.shown}: ${url.path} is no database number; like redis://host/0`,
    );
  let line: RedisLine | null = null;
  let closed = false;

  function forget(gone: RedisLine): void {
    if (line === gone) line = null;
  }

  async function ask<T>(command: string[], ms: number): Promise<T> {
    if (closed) throw closedTrouble(url);
    const mine: RedisLine = line ?? dialRedis(url, () => forget(mine));
    line = mine;
    let sent = false;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      mine.end();
    }, ms);
    try {
      await mine.ready;
      sent = true;
      return await mine.client.sendCommand<T>(command);
    } catch (error) {
      const answered = sent && error instanceof ErrorReply;
      if (!answered) {
        forget(mine);
        mine.end();
      }
      if (late) throw lateTrouble(url, ms, sent);
      if (closed) throw closedTrouble(url);
      throw error instanceof ErrorReply
        ? redisTrouble(url, key, error.message, sent)
        : socketTrouble(url, error, sent);
    } finally {
      clearTimeout(timer);
    }
  }

  function seen(text: string | null): Seen | null {
    if (text === null || text === '') return null;
    const rec = parseRecord(text);
    if (!rec) throw strangerTrouble(url, key, text);
    return { rev: text, rec };
  }

  const wake = createWake((_after, _ms, bell) => {
    const mine = dialRedis(url, bell.down);
    mine.ready.then(() => mine.client.subscribe(key, bell.ring)).then(bell.up, bell.down);
    return () => mine.end();
  });

  return {
    kind: 'redis',
    read: async (ms) => seen(await ask<string | null>(['GET', key], ms)),
    async cas(prev: Rev | null, next, ms): Promise<CasResult> {
      const text = formatRecord(next);
      const [won, current] = await ask<[number, string]>(['EVAL', CAS, '1', key, prev ?? '', text], ms);
      return won === 1 ? { ok: true, rev: text } : { ok: false, current: seen(current) };
    },
    changed: wake.wait,
    async close() {
      closed = true;
      wake.close();
      line?.end();
      line = null;
    },
  };
}
