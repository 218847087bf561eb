/**
 * The record that says who may poll, and what an engine has to do: keep that one small record per bot, and change it by compare-and-set.
 * It is a JSON object below 1 KiB, never deleted. No time in it is compared with a clock: `holder` and `seq` tell a record from an older
 * one, and who may poll until when is decided in keeper.ts. What all engines share is here: time limit, end, and error messages.
 */
import timers from 'node:timers/promises';
import { parseObject } from '../config/files.ts';
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
  const it = text.length > TEXT_MAX ? null : parseObject<Record<string, unknown>>(text);
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

/** Opaque. Redis, PostgreSQL: the value itself; etcd: mod_revision and value; Kubernetes: uid/resourceVersion. */
export type Rev = string;

export interface Seen {
  readonly rev: Rev;
  readonly rec: LeaseRecord;
}

/** `ok: false` only if the write was surely not applied; `current` is the record that is there, null if there is none. */
type CasResult = { ok: true; rev: Rev } | { ok: false; current: Seen | null };

/** Nothing is retried or queued; `ms` is a hard limit. Rejects with LeaseIoError or LeaseConfigError only. */
export interface LeaseStore {
  readonly kind: string;
  /** Linearizable; null: there is no record. */
  read(ms: number): Promise<Seen | null>;
  /** Writes `next` if the record is still `prev`; null: if there is none. */
  cas(prev: Rev | null, next: LeaseRecord, ms: number): Promise<CasResult>;
  /**
   * Calls `hint` when a watch is established, because earlier changes were missed, then at each change. It may miss changes and
   * report some that are none. A watch that ends, or is not established within `upWithinMs`, is replaced, at growing intervals
   * while none comes up. Returns how to end it.
   */
  watch(upWithinMs: number, hint: () => void): () => void;
  /** Ends every connection; present and later calls reject. */
  close(): Promise<void>;
}

/** The engine cannot be reached, does not answer in time or cannot write at present. */
export class LeaseIoError extends Error {
  constructor(
    message: string,
    /** False only if the write surely never took effect. */
    readonly maybeApplied: boolean,
  ) {
    super(message);
  }
}

/** Wrong credentials, rights, type or URL; never applied. It ends the run at the start; a holder treats it like LeaseIoError. */
export class LeaseConfigError extends Error {}

/** An engine's answer that is not what it was asked for. */
export class EngineAnswer extends Error {
  constructor(
    /** The text that the engine's rules are matched with. */
    readonly code: string,
    message = code,
  ) {
    super(message);
  }
}

/**
 * What an engine's answer means. `config`: waiting does not cure it; `refused`: the write was surely not applied; `unclear`: it
 * may have been applied. `advice` says what to do about it.
 */
export type Rule = readonly [code: RegExp, fault: 'config' | 'refused' | 'unclear', advice?: string];

export interface Entry {
  readonly rev: Rev;
  readonly text: string;
}

/** One engine. Its calls reject with an EngineAnswer, a LeaseConfigError or a socket's error. An abort ends the connection. */
export interface Engine {
  readonly kind: string;
  readonly label: string;
  readonly where: string;
  /** The first rule that matches decides; an answer that matches none is unclear. */
  readonly rules: readonly Rule[];
  /** Masks the password in an engine's message. */
  hide(text: string): string;
  read(signal: AbortSignal): Promise<Entry | null>;
  cas(
    prev: Rev | null,
    text: string,
    signal: AbortSignal,
    next: LeaseRecord,
  ): Promise<Rev | { readonly current: Entry | null }>;
  /** Settles when the watch has ended. */
  watch(changed: () => void, signal: AbortSignal): Promise<unknown>;
  close(): void;
}

/** A connection may be silent for long; this probe finds out that the other side is gone. */
export const PROBE_AFTER_MS = 10_000;

/** Errors that mean that there was no connection, so no write was sent. */
const UNREACHED: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name server does not answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no network',
};
const CUT: Readonly<Record<string, string>> = {
  ECONNRESET: 'the other side cut the connection',
  EPIPE: 'the other side cut the connection',
  ETIMEDOUT: 'no answer',
};
const BAD_CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)/;
const NO_TLS = /WRONG_VERSION_NUMBER|EPROTO|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE/;
const STRANGER_SHOWN = 40;
/** Time between the starts of two watches; doubles with each that did not come up. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 64_000;

export function createStore(engine: Engine): LeaseStore {
  const { label, hide, rules } = engine;
  const config = (text: string) => new LeaseConfigError(`${label}: ${text}`);
  const io = (text: string, maybeApplied: boolean) => new LeaseIoError(`${label}: ${text}`, maybeApplied);
  const calls = new Set<AbortController>();
  let closed = false;

  function explain(error: unknown): Error {
    if (error instanceof LeaseIoError || error instanceof LeaseConfigError) return error;
    if (error instanceof EngineAnswer) {
      const [, fault, advice] = rules.find(([pattern]) => pattern.test(error.code)) ?? [null, 'unclear'];
      const text = hide(error.message) + (advice === undefined ? '' : `; ${advice}`);
      return fault === 'config' ? config(text) : io(text, fault === 'unclear');
    }
    const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
    if (BAD_CERTIFICATE.test(code))
      return config(
        `its certificate is not trusted (${code}); name its authority (NODE_EXTRA_CA_CERTS or an option of the URL), ` +
          'or add ?tls=insecure (PostgreSQL: ?sslmode=require) to the URL',
      );
    if (NO_TLS.test(code)) return config(`it does not speak TLS there (${code}); is the scheme right?`);
    return io(UNREACHED[code] ?? CUT[code] ?? hide(message), !(code in UNREACHED));
  }

  async function ask<T>(ms: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (closed) throw io('closed', false);
    const limit = new AbortController();
    calls.add(limit);
    const timer = setTimeout(() => limit.abort(io(`no answer within ${Math.round(ms)} ms`, true)), ms);
    try {
      return await Promise.race([aborted(limit.signal), call(limit.signal)]);
    } catch (error) {
      throw explain(limit.signal.aborted ? limit.signal.reason : error);
    } finally {
      clearTimeout(timer);
      calls.delete(limit);
    }
  }

  async function keepWatching(over: AbortSignal, upWithinMs: number, hint: () => void): Promise<void> {
    let pauseMs = AGAIN_MS;
    while (!over.aborted) {
      const startedAtMs = performance.now();
      const late = new AbortController();
      const signal = AbortSignal.any([over, late.signal]);
      const limit = setTimeout(() => late.abort(), upWithinMs);
      const changed = () => {
        if (signal.aborted) return;
        clearTimeout(limit);
        pauseMs = AGAIN_MS;
        hint();
      };
      // The next read or write tells what is wrong.
      await Promise.race([aborted(signal), engine.watch(changed, signal)]).catch(() => {});
      clearTimeout(limit);
      late.abort();
      const waitMs = Math.max(0, startedAtMs + pauseMs - performance.now());
      await timers.setTimeout(waitMs, undefined, { signal: over }).catch(() => {});
      pauseMs = Math.min(pauseMs * 2, AGAIN_MAX_MS);
    }
  }

  /** Throws if the record's place holds something that singlepoll did not write. */
  function seen(entry: Entry | null): Seen | null {
    if (entry === null) return null;
    const { rev, text } = entry;
    const rec = parseRecord(text);
    if (rec) return { rev, rec };
    const shown = text.length > STRANGER_SHOWN ? `${text.slice(0, STRANGER_SHOWN)}…` : text;
    throw config(
      `${engine.where} holds something that singlepoll did not write: ${hide(JSON.stringify(shown))}; remove it or name another place`,
    );
  }

  return {
    kind: engine.kind,
    read: async (ms) => seen(await ask(ms, (signal) => engine.read(signal))),
    async cas(prev, next, ms) {
      const done = await ask(ms, (signal) => engine.cas(prev, formatRecord(next), signal, next));
      return typeof done === 'string' ? { ok: true, rev: done } : { ok: false, current: seen(done.current) };
    },
    watch(upWithinMs, hint) {
      const over = new AbortController();
      calls.add(over);
      void keepWatching(over.signal, upWithinMs, hint).finally(() => calls.delete(over));
      return () => over.abort();
    },
    async close() {
      closed = true;
      for (const call of calls) call.abort(io('closed', true));
      engine.close();
    },
  };
}

/** Rejects when the signal aborts, even if an engine ignores it. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}
