/**
 * What is asked of an engine: keep one small record and change it by compare-and-set. No engine knows about time: who may poll and until
 * when is decided in keeper.ts. Everything that engines have in common is here: the time limit, the end, and the words for what goes wrong.
 */
import { formatRecord, type LeaseRecord, parseRecord } from './record.ts';

/** Opaque: of Redis and PostgreSQL the value itself, of etcd mod_revision and value, of Kubernetes uid/resourceVersion. */
export type Rev = string;

export interface Seen {
  readonly rev: Rev;
  readonly rec: LeaseRecord;
}

/** `ok: false` only where the write was surely not applied; `current` is what stands there now, null where nothing does. */
export type CasResult = { ok: true; rev: Rev } | { ok: false; current: Seen | null };

/** Nothing is tried twice and nothing is queued for later; `ms` is a hard limit. Rejects with LeaseIoError or LeaseConfigError only. */
export interface LeaseStore {
  readonly kind: string;
  /** Linearizable; null where there is no record. */
  read(ms: number): Promise<Seen | null>;
  /** Writes `next` where the record is still `prev`; null: only where there is none. */
  cas(prev: Rev | null, next: LeaseRecord, ms: number): Promise<CasResult>;
  /**
   * Calls `changed` first when the watch is established, because what changed before was missed, then at each change. It may miss
   * changes, and tell of some that are none. Resolves when the watch has ended.
   */
  watch(changed: () => void, signal: AbortSignal): Promise<void>;
  /** Ends every connection; calls under way are rejected, later ones too. */
  close(): Promise<void>;
}

/** The engine cannot be reached, does not answer in time or cannot write at present. */
export class LeaseIoError extends Error {
  constructor(
    message: string,
    /** False only where the write surely never took effect. */
    readonly maybeApplied: boolean,
  ) {
    super(message);
  }
}

/** Credentials, rights, a wrong type, a bad URL. At the start it ends the run; a holder treats it like LeaseIoError. Never applied. */
export class LeaseConfigError extends Error {}

/** What an engine answered in place of what it was asked for. */
export class EngineAnswer extends Error {
  constructor(
    /** What its rules are matched with. */
    readonly code: string,
    message = code,
  ) {
    super(message);
  }
}

/**
 * What an engine's answer means: `config`: waiting does not heal it; `refused`: the write was surely not applied; `unclear`: it may
 * have been. `advice` says what to do about it.
 */
export type Rule = readonly [code: RegExp, fault: 'config' | 'refused' | 'unclear', advice?: string];

/** The record as the engine keeps it. */
export interface Entry {
  readonly rev: Rev;
  readonly text: string;
}

/** One engine. Its calls reject with an EngineAnswer, a LeaseConfigError or the error of a socket. When `signal` aborts, the connection is destroyed. */
export interface Engine {
  readonly kind: string;
  /** For messages: the engine and its place. */
  readonly label: string;
  /** For messages: where the record stands. */
  readonly where: string;
  /** The first that fits decides; what none fits is unclear. */
  readonly rules: readonly Rule[];
  /** Masks the password in what an engine says. */
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

/** Why there is no connection: then no write was sent. */
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

  /** Throws where something stands in the record's place that singlepoll did not write. */
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
    async watch(changed, signal) {
      const own = new AbortController();
      calls.add(own);
      signal.addEventListener('abort', () => own.abort());
      const tell = () => own.signal.aborted || changed();
      try {
        if (!closed && !signal.aborted)
          await Promise.race([aborted(own.signal), engine.watch(tell, own.signal)]);
      } catch {
        // A read or a write tells what is wrong.
      }
      own.abort();
      calls.delete(own);
    },
    async close() {
      closed = true;
      for (const call of calls) call.abort(io('closed', true));
      engine.close();
    },
  };
}

/** Rejects when the signal aborts, also where an engine should not heed it. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}
