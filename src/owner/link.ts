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
  /** Tells why it ends; resolves when that has left. Only the first time counts. */
  end(why: unknown): Promise<void>;
}

/** To be called once, in a process that src/api has started. */
export function openOwner(): Owner {
  delete process.env[OWNED_VARIABLE];
  const socket = new net.Socket({ fd: OWNER_FD, readable: true, writable: true });
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
  const tell = (message: Message, onSent = () => {}) => {
    if (isGone) onSent();
    else socket.write(`${maskText(JSON.stringify(message), [])}\n`, () => onSent());
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
      return new Promise((resolve) => tell({ end: { reason, hint } }, resolve));
    },
  };
}
