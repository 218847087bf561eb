/** The supervisor's end of the link to whoever started it. Each is to be opened once, in a process that was started for it. */
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { SinglepollError } from '../errors.ts';
import { maskText } from '../output/mask.ts';
import { painter } from '../output/words.ts';
import { DETACHED_VARIABLE, LINK_FD, OWNED_VARIABLE, type OwnerMessage, readyLine } from './messages.ts';

/** To `start --detach`: all that belongs to it is let go once the run is ready, and whether it goes then is no matter any more. */
export type Link = Awaited<ReturnType<typeof openLink>>;

/** To the program that the supervisor belongs to, which it never outlives. */
export type Owner = ReturnType<typeof openOwner>;

/** A program that does not read its end must not keep its supervisor from ending. */
const END_MS = 500;
/** States are not told to a program that has left so much unread. */
const UNREAD_MAX = 64 * 1024;

function openSocket() {
  return new net.Socket({ fd: LINK_FD, readable: true, writable: true });
}

/** Notices that the other end has gone. */
function watch(socket: net.Socket) {
  let isGone = false;
  let listener = (): void => {};
  const leave = (): void => {
    if (isGone) return;
    isGone = true;
    socket.destroy();
    listener();
  };
  socket.on('end', leave).on('close', leave).on('error', leave).resume();
  return {
    isGone: () => isGone,
    /** The present listener alone, at once where it has gone before. */
    onGone(next: () => void): void {
      listener = next;
      if (isGone) next();
    },
  };
}

export async function openLink(socket = openSocket()) {
  const isTTY = process.env[DETACHED_VARIABLE] === 'terminal';
  // Not for the worker, which may be another singlepoll.
  delete process.env[DETACHED_VARIABLE];
  const paint = await painter({ isTTY }, process.env);
  const { isGone, onGone } = watch(socket);
  let isReady = false;
  return {
    paint,
    sink: {
      write(bytes: Uint8Array | string, onFree: () => void): boolean {
        if (isGone()) return true;
        socket.write(bytes, () => onFree());
        return false;
      },
      onNote: () => {},
      droppedBytes: 0,
      close: () => {},
    },
    get isReady(): boolean {
      return isReady;
    },
    /** Tells that it runs. Only the first time counts. */
    ready(text: string): void {
      if (isReady) return;
      isReady = true;
      socket.end(readyLine(text), () => socket.destroy());
      leaveStderr();
    },
    onGone: (listener: () => void): void => onGone(() => void (isReady || listener())),
  };
}

/** Until now what Node itself says when it breaks has gone to the starter. */
function leaveStderr(): void {
  try {
    closeSync(2);
    // The lowest free number is given next: the one just closed.
    openSync('/dev/null', 'r+');
  } catch {
    // Not open: then nothing is kept either.
  }
}

export function openOwner(socket = openSocket()) {
  delete process.env[OWNED_VARIABLE];
  const { isGone, onGone } = watch(socket);
  socket.unref();
  let isReady = false;
  let hasEnded = false;
  const tell = (message: OwnerMessage, onSent = () => {}): void => {
    if (isGone()) onSent();
    else if (!('state' in message) || socket.writableLength < UNREAD_MAX)
      socket.write(`${maskText(JSON.stringify(message), [])}\n`, () => onSent());
  };
  return {
    get isReady(): boolean {
      return isReady;
    },
    tell: (message: OwnerMessage): void => tell(message),
    ready(_text: string): void {
      if (isReady) return;
      isReady = true;
      tell({ ready: true });
    },
    onGone,
    /** Tells why it ends; resolves when that has left, or was not taken within half a second. Only the first time counts. */
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
  };
}
