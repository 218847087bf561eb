/**
 * What an engine must be able to do: keep one small record and change it by compare-and-set. No engine knows about time: who
 * may act and until when is decided elsewhere, by clocks of its own.
 */
import type { LeaseRecord } from './record.ts';

export type { LeaseRecord };

/** Opaque: of Redis and PostgreSQL the value itself, of etcd mod_revision and value, of Kubernetes uid/resourceVersion. */
export type Rev = string;

export interface Seen {
  rev: Rev;
  rec: LeaseRecord;
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
  /** Returns when the record may have changed since `after`, or after `ms`, or when `stop` says so; never throws; may lie. */
  changed(after: Rev | null, ms: number, stop: AbortSignal): Promise<void>;
  /** Ends every connection; calls under way are rejected, later ones too. */
  close(): Promise<void>;
}

/** The engine cannot be reached, does not answer in time or cannot write at present. */
export class LeaseIoError extends Error {
  constructor(
    m: string,
    /** False only where the write surely never took effect. */
    readonly maybeApplied: boolean,
  ) {
    super(m);
    this.name = 'LeaseIoError';
  }

  /** Each lazily loaded part of the program carries its own copy of this class, so instanceof would be too narrow. */
  static is(error: unknown): error is LeaseIoError {
    return error instanceof Error && error.name === 'LeaseIoError';
  }
}

/** Credentials, rights, a wrong type, a bad URL: at start the end; for a holder the same as LeaseIoError. Never applied. */
export class LeaseConfigError extends Error {
  constructor(m: string) {
    super(m);
    this.name = 'LeaseConfigError';
  }

  static is(error: unknown): error is LeaseConfigError {
    return error instanceof Error && error.name === 'LeaseConfigError';
  }
}
