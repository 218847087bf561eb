/**
 * What every engine of a lease offers: one record, read and changed by compare-and-set. No timing logic at all; no retries, no
 * pools, no queue of requests for an engine that is away.
 */
import type { LeaseRecord } from '../core/lease-record.ts';

/** Opaque: redis and postgres the value itself, etcd mod_revision, kubernetes uid/resourceVersion. */
export type Rev = string;

export interface Seen {
  rev: Rev;
  rec: LeaseRecord;
}

/** `ok: false` only when it was surely not applied; `current` null: the record is absent. */
export type CasResult = { ok: true; rev: Rev } | { ok: false; current: Seen | null };

/** `ms` is a hard limit, kept by destroying the socket. Rejects with LeaseIoError or LeaseConfigError. */
export interface LeaseStore {
  readonly kind: string;
  /** Linearizable; null: the record is absent. */
  read(ms: number): Promise<Seen | null>;
  /** `prev` null: create it only if it is absent. */
  cas(prev: Rev | null, next: LeaseRecord, ms: number): Promise<CasResult>;
  /** Returns when the record may have changed, or after `ms`; never rejects; may be wrong. */
  changed(after: Rev | null, ms: number, stop: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Out of reach, or an answer that says nothing. `maybeApplied` false: the request surely never took effect. */
export class LeaseIoError extends Error {
  constructor(
    message: string,
    readonly maybeApplied: boolean,
  ) {
    super(message);
  }
}

/** Rights, a wrong password, a key that holds something else, a bad URL: does not heal by waiting. */
export class LeaseConfigError extends Error {}
