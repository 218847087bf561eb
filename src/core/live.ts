/** What a supervisor tells those who watch it: its status, and the last that it and its worker have said. */
import type { StatusDocument } from './status.ts';

export interface LiveLine {
  /** ISO 8601; null: not known. */
  readonly at: string | null;
  /** singlepoll's own word, or the worker's stdout or stderr. */
  readonly from: 'singlepoll' | 'out' | 'err';
  /** Of singlepoll's own: what it is about. */
  readonly tag: string | null;
  readonly level: 'info' | 'good' | 'warn' | 'error';
  /** As printed, tokens masked. */
  readonly text: string;
}

export interface LiveDocument {
  readonly status: StatusDocument;
  /** Oldest first, at most LIVE_LINES. */
  readonly lines: readonly LiveLine[];
}

export const LIVE_LINES = 40;
