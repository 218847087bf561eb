/** The supervisor's end of the link to the process that started it. Each is opened once, in a process that was started for it. */
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { SinglepollError } from '../errors.ts';
import { maskText } from '../output/mask.ts';
import { painter } from '../output/words.ts';
import { DETACHED_VARIABLE, LINK_FD, OWNED_VARIABLE, type OwnerMessage, readyLine } from './messages.ts';

/** The link to `start --detach`, which is closed when the run is ready. Until then its loss matters, later it does not. */
export type Link = Awaited<ReturnType<typeof openLink>>;

/** The link to the program that owns the supervisor, which never outlives it. */
export type Owner = ReturnType<typeof openOwner>;

/** How long an ending supervisor waits for a program that does not read. */
const END_MS = 500;
/** No more states are sent to a program that has left this much unread. */
const UNREAD_MAX = 64 * 1024;

function openSocket() {
  return new net.Socket({ fd: LINK_FD, readable: true, writable: true });
}

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
    /** Replaces the listener; calls it at once if the other end has gone already. */
    onGone(next: () => void): void {
      listener = next;
      if (isGone) next();
    },
  };
}

export async function openLink(socket = openSocket()) {
  const isTTY = process.env[DETACHED_VARIABLE] === 'terminal';
  // The worker, which may be another singlepoll, must not see this variable.
  delete process.env[DETACHED_VARIABLE];
  const paint = await painter({ isTTY });
  const { isGone, onGone } = watch(socket);
  let isReady = false;
  return {
    paint,
    sink: {
      write(bytes: Uint8Array | string, onFree: () => void): void {
        if (isGone()) onFree();
        else socket.write(bytes, () => onFree());
      },
    },
    get isReady(): boolean {
      return isReady;
    },
    /** Reports that it runs. Only the first call counts. */
    ready(text: string): void {
      if (isReady) return;
      isReady = true;
      socket.end(readyLine(text), () => socket.destroy());
      leaveStderr();
    },
    onGone: (listener: () => void): void => onGone(() => void (isReady || listener())),
  };
}

/** Replaces stderr by /dev/null: until now Node's own crash messages went to the starter. */
function leaveStderr(): void {
  try {
    closeSync(2);
    // open(2) returns the lowest free number, which is the one just closed.
    openSync('/dev/null', 'r+');
  } catch {
    // It was not open, so nothing keeps the starter's end open.
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
  };
}
