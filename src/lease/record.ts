/**
 * The record in the shared engine that says who may poll: one per bot, changed by compare-and-set only, never deleted. It is a
 * JSON object below 1 KiB. No time in it is compared with a clock: `holder` and `seq` tell a record from an older one.
 */
import { LONGEST_TTL_MS } from './timing.ts';

export interface LeaseRecord {
  v: 1;
  /** The uuid of one start of a supervisor (never a host name); '' = free. */
  holder: string;
  /** The fencing number: max(previous + 1, unix seconds); it stays the same during a term. */
  epoch: number;
  /** Rises with every write or attempt of a holder, so that no two of them write the same value. */
  seq: number;
  /** The writer's ttl in ms: a standby waits for the greater of its own and this one. */
  ttl: number;
  /** Only for people, like `pid` and `since`. */
  host?: string;
  /** Identifies the kernel lock of its supervisor, which only one living process of this machine can hold. */
  lock?: string;
  pid?: number;
  since?: string;
  /** The uuid of the standby that asks for a hand-over. */
  wants?: string;
  /**
   * Set in a record that marks a vanished one, so that a second loss is noticed: the uuid of the standby that wrote it. It has no
   * holder, yet all wait for its ttl.
   */
  vacant?: string;
}

/** Greater numbers are refused, since they could not rise for long: numbers are exact up to 2^53. */
const HIGHEST = 2 ** 52;
const TEXT_MAX = 4_096;
const ID_MAX = 128;
const HOST_MAX = 253;
/** Keeps control characters that another user of the engine may write away from our terminals. */
const PLAIN_WORD = /^[^\p{C}\s]+$/u;
const TIME = /^\d{4}-\d\d-\d\dT[\d:.]{8,12}Z$/;

/** The order of the fields, so that equal records are equal texts. */
const ORDER = ['v', 'holder', 'epoch', 'seq', 'ttl', 'host', 'lock', 'pid', 'since', 'wants', 'vacant'];

export function formatRecord(record: LeaseRecord): string {
  return JSON.stringify({ ...record, host: record.host?.slice(0, HOST_MAX) }, ORDER);
}

/** Null: this is no record that we understand. Ignores unknown fields and drops malformed ones that are only for people. */
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
