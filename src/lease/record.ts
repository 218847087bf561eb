/**
 * The record in the shared engine that says who may poll: one per bot, changed by compare-and-set only, never deleted. A JSON
 * object below 1 KiB. No time in it is ever compared with a clock: a record is told from an older one by `holder` and `seq`.
 */
import { LONGEST_TTL_MS } from './timing.ts';

export interface LeaseRecord {
  v: 1;
  /** '' = free; else the uuid of one start of a supervisor (never a host name). */
  holder: string;
  /** The fencing number: max(previous + 1, unix seconds); the same through one term. */
  epoch: number;
  /** Higher with every write of a holder, of an attempt too: no two of them write the same value. */
  seq: number;
  /** ms promised by the writer: a standby waits for the greater of its own and this one. */
  ttl: number;
  /** For people. */
  host?: string;
  /** Names what only one living supervisor of this machine can hold (its kernel lock). */
  lock?: string;
  /** Of the supervisor, for people. */
  pid?: number;
  /** ISO 8601, when the term began, for people. */
  since?: string;
  /** The uuid that asks for a hand-over. */
  wants?: string;
  /**
   * Stands where a record has vanished, so that its absence can be told from a later one: nobody's, and waited for like anybody's.
   * The uuid of the standby that wrote it.
   */
  vacant?: string;
}

/** A greater one could not rise for long: numbers end at 2^53. */
const HIGHEST = 2 ** 52;
const TEXT_MAX = 4_096;
const ID_MAX = 128;
const HOST_MAX = 253;
/** Whoever may write to the engine could draw on our terminals otherwise. */
const PLAIN_WORD = /^[^\p{C}\s]+$/u;
const TIME = /^\d{4}-\d\d-\d\dT[\d:.]{8,12}Z$/;

/** Of the fields in the text, so that the same record is the same text. */
const ORDER = ['v', 'holder', 'epoch', 'seq', 'ttl', 'host', 'lock', 'pid', 'since', 'wants', 'vacant'];

export function formatRecord(record: LeaseRecord): string {
  return JSON.stringify({ ...record, host: record.host?.slice(0, HOST_MAX) }, ORDER);
}

/** Null: this is no record that we understand. Ignores what it does not know; drops what is only for people when it is malformed. */
export function parseRecord(text: string): LeaseRecord | null {
  let it: Record<string, unknown> | null;
  try {
    it = text.length > TEXT_MAX ? null : JSON.parse(text);
  } catch {
    return null;
  }
  if (it?.v !== 1) return null;
  const { holder, epoch, seq, ttl, host, lock, pid, since, wants, vacant } = it;
  if (typeof holder !== 'string' || holder.length > ID_MAX) return null;
  if (!isCount(epoch) || !isCount(seq) || epoch > HIGHEST || seq > HIGHEST) return null;
  if (!isCount(ttl) || ttl === 0 || ttl > LONGEST_TTL_MS) return null;
  return {
    ...{ v: 1, holder, epoch, seq, ttl },
    ...(isText(host, HOST_MAX) && PLAIN_WORD.test(host) && { host }),
    ...(isText(lock, ID_MAX) && { lock }),
    ...(isCount(pid) && { pid }),
    ...(isText(since, 40) && TIME.test(since) && !Number.isNaN(Date.parse(since)) && { since }),
    ...(isText(wants, ID_MAX) && { wants }),
    ...(holder === '' && isText(vacant, ID_MAX) && { vacant }),
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isText(value: unknown, max: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= max;
}
