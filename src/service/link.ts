/** The supervisor's end of the link to whoever started it. Each is to be opened once, in a process that was started for it. */
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { SinglepollError } from '../errors.ts';
import { maskText } from '../output/mask.ts';
import type { Starter } from '../output/report.ts';
import { painter } from '../output/words.ts';
import { DETACHED_VARIABLE, LINK_FD, OWNED_VARIABLE, type OwnerMessage, readyLine } from './messages.ts';

interface Waiting {
  readonly isReady: boolean;
  /** Tells that it runs. Only the first time counts. */
  ready(text: string): void;
  /** Told when the other end has gone; the present listener alone, at once where it has gone before. */
  onGone(listener: () => void): void;
}

/** To `start --detach`: all that belongs to it is let go once the run is ready, and whether it goes then is no matter any more. */
export interface Link extends Starter, Waiting {}

/** To the program that the supervisor belongs to, which it never outlives. */
export interface Owner extends Waiting {
  tell(message: OwnerMessage): void;
  /** Tells why it ends; resolves when that has left, or was not taken within half a second. Only the first time counts. */
  end(why: unknown): Promise<void>;
}

/** A program that does not read its end must not keep its supervisor from ending. */
const END_MS = 500;

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
    onGone(next: () => void) {
      listener = next;
      if (isGone) next();
    },
  };
}

export async function openLink(socket = openSocket()): Promise<Link> {
  const isTTY = process.env[DETACHED_VARIABLE] === 'terminal';
  // Not for the worker, which may be another singlepoll.
  delete process.env[DETACHED_VARIABLE];
  const paint = await painter({ isTTY }, process.env);
  const { isGone, onGone } = watch(socket);
  let isReady = false;
  return {
    paint,
    sink: {
      write(bytes, onFree) {
        if (isGone()) return true;
        socket.write(bytes, () => onFree());
        return false;
      },
    },
    get isReady() {
      return isReady;
    },
    ready(text) {
      if (isReady) return;
      isReady = true;
      socket.end(readyLine(text), () => socket.destroy());
      leaveStderr();
    },
    onGone: (listener) => onGone(() => void (isReady || listener())),
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

export function openOwner(socket = openSocket()): Owner {
  delete process.env[OWNED_VARIABLE];
  const { isGone, onGone } = watch(socket);
  socket.unref();
  let isReady = false;
  let hasEnded = false;
  // The program may not read: of the states only the newest is worth memory. Everything else is told once.
  let unsaid: OwnerMessage | null = null;
  const write = (message: OwnerMessage, onSent = () => {}) => {
    socket.write(`${maskText(JSON.stringify(message), [])}\n`, () => {
      onSent();
      if (socket.writableLength === 0) sayState();
    });
  };
  const sayState = () => {
    const message = unsaid;
    unsaid = null;
    if (message && !isGone()) write(message);
  };
  const tell = (message: OwnerMessage, onSent = () => {}) => {
    if (isGone()) return onSent();
    if ('state' in message && socket.writableLength > 0) {
      unsaid = message;
      return;
    }
    sayState();
    write(message, onSent);
  };
  return {
    get isReady() {
      return isReady;
    },
    tell: (message) => tell(message),
    ready() {
      if (isReady) return;
      isReady = true;
      tell({ ready: true });
    },
    onGone,
    async end(why) {
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
