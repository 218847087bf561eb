/**
 * What an engine must be able to do: keep one small record and change it by compare-and-set. No engine knows about time: who may
 * poll and until when is decided in keeper.ts. Here are also the words for what goes wrong, the same for every engine.
 */
import { type LeaseRecord, parseRecord } from './record.ts';

/** Opaque: of Redis and PostgreSQL the value itself, of etcd mod_revision and value, of Kubernetes uid/resourceVersion. */
export type Rev = string;

export interface Seen {
  readonly rev: Rev;
  readonly rec: LeaseRecord;
}

/** `ok: false` only where the write was surely not applied; `current` is what stands there now, null where nothing does. */
export type CasResult = { ok: true; rev: Rev } | { ok: false; current: Seen | null };

/**
 * One per engine. Nothing is tried twice and nothing is queued for later; `ms` is a hard limit, at which the socket is
 * destroyed. read and cas reject with LeaseIoError or LeaseConfigError and nothing else.
 */
export interface LeaseStore {
  readonly kind: string;
  /** Linearizable; null where there is no record. */
  read(ms: number): Promise<Seen | null>;
  /** Writes `next` where the record is still `prev`; null: only where there is none. */
  cas(prev: Rev | null, next: LeaseRecord, ms: number): Promise<CasResult>;
  /** Starts to watch for what comes after `after`. Returns what ends the watch. It may miss changes, and tell of some that are none. */
  watch(after: Rev | null, listener: WatchListener): () => void;
  /** Ends every connection; calls under way are rejected, later ones too. */
  close(): Promise<void>;
}

export interface WatchListener {
  /** First when the watch is established, because what changed before may have been missed; then at each change. */
  changed(): void;
  /** The watch has ended by itself. */
  ended(): void;
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

/**
 * What an engine's own error means: `config`: waiting does not heal it; `refused`: the write was surely not applied; `unclear`:
 * it may have been. `advice` says what to do about it.
 */
export type Rule = readonly [code: RegExp, fault: 'config' | 'refused' | 'unclear', advice?: string];

export type Trouble = ReturnType<typeof createTrouble>;

const SOCKET_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the other side cut the connection',
  EPIPE: 'the other side cut the connection',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name server does not answer',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no network',
};
const BAD_CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)/;
const NO_TLS = /WRONG_VERSION_NUMBER|EPROTO|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE/;
const STRANGER_SHOWN = 40;

/** `label`: the engine and its place. `hide` masks the password in what an engine says. */
export function createTrouble(label: string, hide: (text: string) => string) {
  const config = (text: string) => new LeaseConfigError(`${label}: ${text}`);
  const io = (text: string, maybeApplied: boolean) => new LeaseIoError(`${label}: ${text}`, maybeApplied);
  const stranger = (where: string, text: string) => {
    const shown = text.length > STRANGER_SHOWN ? `${text.slice(0, STRANGER_SHOWN)}…` : text;
    return config(
      `${where} holds something that singlepoll did not write: ${hide(JSON.stringify(shown))}; remove it or name another place`,
    );
  };
  return {
    /** An error that the engine answered with: the first rule that fits its code. `write`: it was the answer to one. */
    answer(code: string, message: string, write: boolean, rules: readonly Rule[]): Error {
      const [, fault, advice] = rules.find(([pattern]) => pattern.test(code)) ?? [code, 'unclear'];
      const text = hide(message) + (advice === undefined ? '' : `; ${advice}`);
      return fault === 'config' ? config(text) : io(text, write && fault === 'unclear');
    },
    /** `sent`: a write may have gone out before. `insecure`: the option that takes any certificate. */
    socket(error: unknown, sent: boolean, insecure = '?tls=insecure'): Error {
      if (error instanceof LeaseIoError || error instanceof LeaseConfigError) return error;
      const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
      if (BAD_CERTIFICATE.test(code))
        return config(
          `its certificate is not trusted (${code}); name its authority (NODE_EXTRA_CA_CERTS or the URL's options), or add ${insecure} to the URL`,
        );
      if (NO_TLS.test(code)) return config(`it does not speak TLS there (${code}); is the scheme right?`);
      return io(SOCKET_WORDS[code] ?? hide(message), sent);
    },
    /** `asked`: the answer is missing, not the connection. */
    late: (ms: number, asked: boolean, maybeApplied = asked) =>
      io(`${asked ? 'no answer' : 'no connection'} within ${Math.round(ms)} ms`, maybeApplied),
    closed: () => io('closed', false),
    stranger,
    /** Throws where something stands in the record's place that singlepoll did not write. */
    record(where: string, text: string): LeaseRecord {
      const rec = parseRecord(text);
      if (!rec) throw stranger(where, text);
      return rec;
    },
    replica: () => io('it is a read-only replica; name the primary in the URL', false),
  };
}
