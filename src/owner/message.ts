/**
 * What a supervisor that belongs to a program (src/api) tells it, over a socket of its own: one JSON object per line. The program
 * says nothing there; that its end closes says that it has gone.
 */
import type { RunState } from '../core/status.ts';

/** In the environment of such a supervisor. Not handed on to the worker. */
export const OWNED_VARIABLE = '_SINGLEPOLL_OWNED';
/** The socket's descriptor there. */
export const OWNER_FD = 3;

export type Message =
  | { readonly state: RunState }
  /** Its control socket, once there is one. */
  | { readonly control: string }
  /** It polls, or stands by. */
  | { readonly ready: true }
  /** Why it ends; the code is its exit code. */
  | { readonly end: { readonly reason: string; readonly hint?: string | undefined } };
