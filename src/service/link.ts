/**
 * The link between a supervisor and the process that started it, over a socket of its own: `start --detach`, which shows the lines of
 * the start and leaves when the run is ready, or a program that owns the supervisor (src/api), which never outlives it. Each line is
 * one JSON object. The other way goes one byte at most, by which the program asks to stop; when the starter is gone, its end closes.
 */
import net from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { parseObject } from '../config/files.ts';
import { SinglepollError } from '../errors.ts';
import { maskText } from '../output/mask.ts';
import { replaceByNull } from '../output/sink.ts';
import { painter } from '../output/words.ts';
import type { RunState } from '../supervisor/status.ts';

export const LINK_FD = 3;
/** Set in the environment of the supervisor: `owner`, or how the lines for `start --detach` are coloured (`terminal`, `plain`). */
export const STARTER_VARIABLE = '_SINGLEPOLL_STARTER';

type LinkMessage =
  | { readonly state: RunState }
  /** Path of its control socket, once that is open. */
  | { readonly control: string }
  /** To be shown as it is. */
  | { readonly text: string }
  | { readonly ready: string }
  /** Why it ends; the code is its exit code. */
  | { readonly end: { readonly reason: string; readonly hint?: string | undefined } };

/** The supervisor's end. */
export type Link = NonNullable<Awaited<ReturnType<typeof openLink>>>;

/** How long an ending supervisor waits for a starter that does not read. */
const END_MS = 500;
/** No more states are sent to a starter that has left this much unread. */
const UNREAD_MAX = 64 * 1024;

/** For the program. A signal would count as a second one where the first, as Ctrl-C, has reached program and supervisor. */
export function askToStop(link: Writable): void {
  link.write('.');
}

/** For the starter. */
export function readLink(link: Readable, onMessage: (message: LinkMessage) => void): void {
  link.on('error', () => {});
  createInterface({ input: link }).on('line', (line) => {
    const message = parseObject<LinkMessage>(line);
    // Null: cut short by a SIGKILL.
    if (message) onMessage(message);
  });
}

/** Opened once in a process; null: nobody waits for this supervisor. */
export async function openLink(starter = process.env[STARTER_VARIABLE], given?: net.Socket) {
  if (starter === undefined) return null;
  // The worker, which may be another singlepoll, must not see this variable.
  delete process.env[STARTER_VARIABLE];
  const isDetached = starter !== 'owner';
  const socket = given ?? new net.Socket({ fd: LINK_FD, readable: true, writable: true });
  const goneWords = isDetached
    ? 'who started it has gone before it was ready'
    : 'the program that it belongs to has gone';
  let [isGone, isReady, hasEnded] = [false, false, false];
  let asked: string | null = null;
  let listener = (_reason: string): void => {};

  function ask(reason: string): void {
    asked = reason;
    listener(reason);
  }

  function leave(): void {
    if (isGone) return;
    isGone = true;
    socket.destroy();
    ask(goneWords);
  }

  function tell(message: LinkMessage, onSent = () => {}): void {
    if (isGone) onSent();
    else if (!('state' in message) || socket.writableLength < UNREAD_MAX)
      socket.write(`${maskText(JSON.stringify(message), [])}\n`, () => onSent());
  }

  socket.on('data', () => ask('asked to by the program that it belongs to'));
  socket.on('end', leave).on('close', leave).on('error', leave).unref();
  return {
    /** The starter leaves when the run is ready; until then its loss matters, later it does not. */
    isDetached,
    paint: await painter(isDetached ? { isTTY: starter === 'terminal' } : process.stderr),
    tell: (message: LinkMessage): void => tell(message),
    get isReady(): boolean {
      return isReady;
    },
    /** Only the first call counts. */
    ready(text: string): void {
      if (isReady) return;
      isReady = true;
      if (!isDetached) return void tell({ ready: text });
      // Until now Node's own crash messages went to the starter, who leaves at the next line.
      replaceByNull(2);
      tell({ ready: text });
      isGone = true;
      socket.end(() => socket.destroy());
    },
    /** The starter asks for the end, or has gone. Replaces the listener; calls it at once where that has happened already. */
    onStop(next: (reason: string) => void): void {
      listener = next;
      if (asked !== null) next(asked);
    },
    /** Reports why it ends; resolves when that was sent, or after half a second. Only the first call counts. */
    async end(why: unknown): Promise<void> {
      if (hasEnded) return;
      hasEnded = true;
      const hint = why instanceof SinglepollError ? why.hint : undefined;
      const reason = why instanceof Error ? why.message : String(why);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          socket.destroy();
          resolve();
        }, END_MS);
        tell({ end: { reason, hint } }, () => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
    /** Where the words of a detached run go. */
    sink: {
      write: (bytes: Uint8Array, onFree: () => void): void =>
        tell({ text: Buffer.from(bytes).toString() }, onFree),
    },
  };
}
