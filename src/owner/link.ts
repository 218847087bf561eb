/** The supervisor's end of the link to the program that it belongs to: it never outlives that program. */
import net from 'node:net';
import { SinglepollError } from '../errors.ts';
import { maskText } from '../output/mask.ts';
import { type Message, OWNED_VARIABLE, OWNER_FD } from './message.ts';

export interface Owner {
  readonly isReady: boolean;
  tell(message: Message): void;
  /** Only the first time counts. */
  ready(text: string): void;
  /** Told when the program has gone; the present listener alone, at once where it has gone before. */
  onGone(listener: () => void): void;
  /** Tells why it ends; resolves when that has left, or was not taken within half a second. Only the first time counts. */
  end(why: unknown): Promise<void>;
}

/** A program that does not read its end must not keep its supervisor from ending. */
const END_MS = 500;

/** To be called once, in a process that src/api has started. */
export function openOwner(socket = new net.Socket({ fd: OWNER_FD, readable: true, writable: true })): Owner {
  delete process.env[OWNED_VARIABLE];
  let isReady = false;
  let isGone = false;
  let hasEnded = false;
  let gone = () => {};
  const leave = () => {
    if (isGone) return;
    isGone = true;
    socket.destroy();
    gone();
  };
  socket.on('end', leave).on('close', leave).on('error', leave).resume().unref();
  // Nobody reads: of the states only the newest is worth memory. What else is told is told once.
  let unsaid: Message | null = null;
  const write = (message: Message, onSent = () => {}) => {
    socket.write(`${maskText(JSON.stringify(message), [])}\n`, () => {
      onSent();
      if (socket.writableLength === 0) sayState();
    });
  };
  const sayState = () => {
    const message = unsaid;
    unsaid = null;
    if (message && !isGone) write(message);
  };
  const tell = (message: Message, onSent = () => {}) => {
    if (isGone) return onSent();
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
    onGone(listener) {
      gone = listener;
      if (isGone) listener();
    },
    end(why) {
      if (hasEnded) return Promise.resolve();
      hasEnded = true;
      const hint = SinglepollError.is(why) ? why.hint : undefined;
      const reason = why instanceof Error ? why.message : String(why);
      return new Promise((resolve) => {
        const timer = setTimeout(() => {
          isGone = true;
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
