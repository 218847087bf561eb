/**
 * What a supervisor tells whoever started it, over a socket of its own. A program that it belongs to (src/api) gets one JSON object per
 * line, and says nothing itself; that its end closes says that it has gone. `start --detach` gets lines to show as they are, and one
 * that is marked when the run is ready: a line of a report never begins with a NUL, since control characters are escaped there.
 */
import type { RunState } from '../supervisor/status.ts';

/** The socket's descriptor in the supervisor. */
export const LINK_FD = 3;
/** In the environment of a supervisor that belongs to a program. Not handed on to the worker. */
export const OWNED_VARIABLE = '_SINGLEPOLL_OWNED';
/** In the environment of a detached supervisor: how its lines may be painted. */
export const DETACHED_VARIABLE = '_SINGLEPOLL_DETACHED';

export type OwnerMessage =
  | { readonly state: RunState }
  /** Its control socket, once there is one. */
  | { readonly control: string }
  /** It polls, or stands by. */
  | { readonly ready: true }
  /** Why it ends; the code is its exit code. */
  | { readonly end: { readonly reason: string; readonly hint?: string | undefined } };

const MARK = '\0ready ';

export function readyLine(text: string): string {
  return `${MARK}${text.replaceAll('\n', ' ')}\n`;
}

/** The text of a message that says ready; null: a line to show. */
export function readyText(line: string): string | null {
  return line.startsWith(MARK) ? line.slice(MARK.length) : null;
}
