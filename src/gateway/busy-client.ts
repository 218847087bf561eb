/**
 * undici's kept-alive connections to the Bot API, for a worker with many calls or big bodies. Only the parts of undici that this
 * needs are loaded: the whole costs 10 MB more (`npm run bench -- client`).
 */
import type { Dispatcher } from 'undici';
import Pool from 'undici/lib/dispatcher/pool.js';
import type { QuietClientOptions } from './quiet-client.ts';

export function openBusyClient(options: QuietClientOptions): Pick<Dispatcher, 'dispatch' | 'destroy'> {
  const { root, connections, connectMs, keepAliveMs } = options;
  return new Pool(root.origin, {
    connections,
    pipelining: 1,
    // Its timers would tick twice a second as long as a poll is open. Who waits for an answer has a time-out of its own.
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    // `highWaterMark` (bytes) goes to net.connect: with less, an upload is made to pause after every piece.
    connect: { timeout: connectMs, highWaterMark: 512 * 1024 } as { timeout: number },
  });
}
