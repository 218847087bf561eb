/** The detached process's end of the link to who started it: its words until it is ready, then nothing any more. */
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import type { Starter } from '../output/run-output.ts';
import type { Sink } from '../output/sink.ts';
import { painter } from '../output/words.ts';
import { DETACHED_VARIABLE, LINK_FD, readyLine } from './message.ts';

export interface Link extends Starter {
  readonly isReady: boolean;
  /** Tells that it runs, and lets go of all that belongs to the starter. Only the first time counts. */
  ready(text: string): void;
  /** Told when the starter has gone before it was ready. */
  onGone(listener: () => void): void;
}

/** To be called once, in a process that was started by launch.ts. */
export async function openLink(): Promise<Link> {
  const isTTY = process.env[DETACHED_VARIABLE] === 'terminal';
  // Not for the worker, which may be another singlepoll.
  delete process.env[DETACHED_VARIABLE];
  const paint = await painter({ isTTY }, process.env);
  const socket = new net.Socket({ fd: LINK_FD, readable: true, writable: true });
  let isReady = false;
  let isGone = false;
  let gone = () => {};
  const leave = () => {
    if (isGone) return;
    isGone = true;
    socket.destroy();
    if (!isReady) gone();
  };
  socket.on('end', leave).on('close', leave).on('error', leave).resume();
  const sink: Sink = {
    write(bytes, onFree) {
      if (isGone) return true;
      socket.write(bytes, () => onFree());
      return false;
    },
    onNote: () => {},
    droppedBytes: 0,
    close: () => {},
  };
  return {
    sink,
    paint,
    get isReady() {
      return isReady;
    },
    ready(text) {
      if (isReady) return;
      isReady = true;
      socket.end(readyLine(text), () => socket.destroy());
      leaveStderr();
    },
    onGone(listener) {
      gone = listener;
      if (isGone && !isReady) listener();
    },
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
