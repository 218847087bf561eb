/**
 * The engine of a lease without its sockets: one linearizable register, and what befalls it: it is away, it is wiped, it
 * loses its last writes, somebody edits the record.
 */
import type { Outcome } from '../../src/lease/keeper.ts';
import { formatRecord, type LeaseRecord, parseRecord } from '../../src/lease/store.ts';
import type { Clock } from './clock.ts';

export interface Entry {
  readonly rev: string;
  readonly rec: LeaseRecord;
  readonly writer: string;
  /** When its writer read t0, real time. */
  readonly sentMs: number;
  readonly appliedMs: number;
}

export type StoreAnswer = Exclude<Outcome, { kind: 'failed' }>;

export type SimStore = ReturnType<typeof createSimStore>;

/** `counted`: revisions are numbers that never repeat (etcd); else the value itself (redis). */
type OnChange = (entry: Entry | null, byCas: boolean) => void;

export function createSimStore(clock: Clock, counted: boolean, onChange: OnChange) {
  let history: Entry[] = [];
  let current: Entry | null = null;
  let revs = 0;

  function set(rec: LeaseRecord, writer: string, sentMs: number, byCas: boolean): string {
    // Through the text, as in every engine.
    const text = formatRecord(rec);
    const rev = counted ? String(++revs) : text;
    current = { rev, rec: parseRecord(text)!, writer, sentMs, appliedMs: clock.now() };
    history = [...history.slice(-5), current];
    onChange(current, byCas);
    return rev;
  }

  const show = () => (current === null ? null : { rev: current.rev, rec: current.rec });

  return {
    get current() {
      return current;
    },
    /** The last writes, the latest last. */
    get history() {
      return history;
    },
    /** Refuses every connection. */
    down: false,
    /** Takes requests and does not answer until it goes on; then it carries them out. */
    frozen: false,
    read: (): StoreAnswer => ({ kind: 'seen', seen: show() }),
    cas(prev: string | null, next: LeaseRecord, writer: string, sentMs: number): StoreAnswer {
      if ((current?.rev ?? null) !== prev) return { kind: 'conflict', current: show() };
      return { kind: 'written', rev: set(next, writer, sentMs, true) };
    },
    wipe() {
      current = null;
      history = [];
      onChange(null, false);
    },
    /** Forgets the last `count` writes. */
    rollBack(count: number) {
      history = history.slice(0, history.length - count);
      current = history.at(-1) ?? null;
      onChange(current, false);
    },
    edit(rec: LeaseRecord) {
      set(rec, 'operator', clock.now(), false);
    },
  };
}
