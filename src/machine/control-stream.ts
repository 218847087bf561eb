/** A request on the control channel that is answered by many lines, or that may be given up: see control.ts. */
import net from 'node:net';
import { parseObject, type Request, withShortPath } from './control.ts';

export interface ControlStream {
  close(): void;
}

export interface StreamListener {
  /** Each line, parsed; also those that only tell that somebody is awake. */
  readonly heard: (value: Record<string, unknown>) => void;
  /** Once, not after `close`: nobody listens there, or the connection has ended. */
  readonly ended: () => void;
}

/** A line that is longer than this is none of ours. */
const LINE_MAX = 8 * 1024 * 1024;

export function openControlStream(
  socketPath: string,
  request: Request,
  { heard, ended }: StreamListener,
): ControlStream {
  let over = false;
  let socket: net.Socket | null = null;
  const end = () => {
    if (over) return;
    over = true;
    socket?.destroy();
    ended();
  };
  try {
    withShortPath(socketPath, (short, done) => {
      const it = net.connect(short);
      socket = it;
      let text = '';
      it.setEncoding('utf8');
      it.on('connect', () => it.write(`${JSON.stringify(request)}\n`));
      it.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > LINE_MAX) return end();
        for (let at = text.indexOf('\n'); at >= 0 && !over; at = text.indexOf('\n')) {
          const value = parseObject(text.slice(0, at));
          text = text.slice(at + 1);
          if (value === null) return end();
          heard(value);
        }
      });
      it.on('error', end);
      it.on('close', () => {
        done();
        end();
      });
    });
  } catch {
    // The folder of a long path has gone.
    setImmediate(end);
  }
  return {
    close() {
      over = true;
      socket?.destroy();
    },
  };
}
