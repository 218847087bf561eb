/** `memory:` a record in this process, for tests; stores of the same name share it. */
import { formatRecord, parseRecord } from './record.ts';
import { type CasResult, LeaseConfigError, LeaseIoError, type LeaseStore, type Seen } from './store.ts';

/** What stands there, by name: `memory:a` of bot 1 is `a/singlepoll/1`. */
export const records = new Map<string, string>();
const watchers = new Map<string, Set<() => void>>();

export function openMemory(name: string): LeaseStore {
  let closed = false;
  const ends = new Set<() => void>();
  const look = (): Seen | null => {
    if (closed) throw new LeaseIoError('memory lease: closed', false);
    const text = records.get(name);
    if (text === undefined) return null;
    const rec = parseRecord(text);
    if (!rec) throw new LeaseConfigError(`memory lease: ${name} holds ${text}; remove it`);
    return { rev: text, rec };
  };
  return {
    kind: 'memory',
    read: async () => look(),
    async cas(prev, next): Promise<CasResult> {
      const current = look();
      if ((current?.rev ?? null) !== prev) return { ok: false, current };
      const text = formatRecord(next);
      records.set(name, text);
      for (const wake of watchers.get(name) ?? []) wake();
      return { ok: true, rev: text };
    },
    changed(after, ms, stop) {
      if (closed || stop.aborted || (records.get(name) ?? null) !== after) return Promise.resolve();
      return new Promise((resolve) => {
        const set = watchers.get(name) ?? new Set();
        watchers.set(name, set);
        const done = (): void => {
          clearTimeout(timer);
          stop.removeEventListener('abort', done);
          set.delete(done);
          ends.delete(done);
          resolve();
        };
        const timer = setTimeout(done, ms);
        stop.addEventListener('abort', done);
        set.add(done);
        ends.add(done);
      });
    },
    async close() {
      closed = true;
      for (const done of ends) done();
    },
  };
}
