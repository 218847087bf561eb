/**
 * Node's parser refuses bytes beyond ASCII in a request's target, which the Bot API server reads, and curl, PHP, Go and Java send as they were
 * written. So they are percent-encoded before it. A request begins at the first byte of a connection, and at the first one behind an answer;
 * what a client sends before that is left as it is.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export function escapeTargets(http: Server): void {
  /** Connections of which the next byte is of a request's first line. */
  const beginning = new WeakSet<Socket>();
  http.on('connection', (socket) => {
    const emit = socket.emit.bind(socket) as (event: string, ...args: unknown[]) => boolean;
    beginning.add(socket);
    socket.emit = (event: string, ...args: unknown[]) => {
      if (event === 'data' && beginning.has(socket)) {
        const chunk = args[0] as Buffer;
        if (chunk.includes('\n')) beginning.delete(socket);
        args[0] = escaped(chunk);
      }
      return emit(event, ...args);
    };
    // Without a listener Node's parser takes the bytes from the system itself.
    socket.on('data', () => {});
  });
  http.on('request', (request, response) => {
    const { socket } = request;
    response.once('finish', () => request.complete && beginning.add(socket));
  });
}

function escaped(chunk: Buffer): Buffer {
  const [line = ''] = chunk.toString('latin1').split('\n', 1);
  const text = line.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`);
  return text === line ? chunk : Buffer.concat([Buffer.from(text, 'latin1'), chunk.subarray(line.length)]);
}
