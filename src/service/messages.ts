/**
 * What a supervisor tells the process that started it, over a separate socket. A program that owns it (src/api) gets one JSON
 * object per line and sends nothing; when it is gone, its end closes. `start --detach` gets lines to show unchanged, and a marked
 * line when the run is ready: it begins with a NUL, which is escaped in all other lines.
 */
import type { RunState } from '../supervisor/status.ts';

export const LINK_FD = 3;
/** Set in the environment of a supervisor that a program owns. Not passed on to the worker. */
export const OWNED_VARIABLE = '_SINGLEPOLL_OWNED';
/** Set in the environment of a detached supervisor: how its lines may be coloured. */
export const DETACHED_VARIABLE = '_SINGLEPOLL_DETACHED';

export type OwnerMessage =
  | { readonly state: RunState }
  /** Path of its control socket, once that is open. */
  | { readonly control: string }
  | { readonly ready: true }
  /** Why it ends; the code is its exit code. */
  | { readonly end: { readonly reason: string; readonly hint?: string | undefined } };

const MARK = '\0ready ';

export function readyLine(text: string): string {
  return `${MARK}${text.replaceAll('\n', ' ')}\n`;
}

/** The text of a ready message; null: this is a line to show. */
export function readyText(line: string): string | null {
  return line.startsWith(MARK) ? line.slice(MARK.length) : null;
}
