/**
 * The way to the Bot API: undici's kept-alive connections, those of the polls apart from all others, so that nothing can take
 * a poll's place. Only the parts of undici that this needs are loaded: the whole costs an idle supervisor 10 MB more
 * (`npm run bench -- client`).
 */
import type { Dispatcher } from 'undici';
import Pool from 'undici/lib/dispatcher/pool.js';
import { proxyFor } from '../telegram/transport.ts';

/** Calls of the worker that can be under way at once; more wait their turn. */
const CONNECTIONS_MAX = 64;
/** `highWaterMark` (bytes) goes to net.connect: with less, an upload is made to pause after every piece. */
const CONNECT = { timeout: 10_000, highWaterMark: 512 * 1024 };
/** Longer than most pauses between two polls, shorter than what servers grant an idle connection. */
const KEEP_ALIVE_MS = 30_000;

export interface Upstream {
  readonly calls: Pick<Dispatcher, 'dispatch'>;
  readonly polls: Pick<Dispatcher, 'dispatch'>;
  /** What stands before `/bot<token>`: the path of the API root. */
  readonly prefix: string;
  close(): void;
}

export async function openUpstream(
  apiRoot: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Upstream> {
  const url = new URL(apiRoot);
  const prefix = url.pathname.replace(/\/+$/, '');
  if (proxyFor(url, env)) {
    const { openProxyDispatcher } = await import('../telegram/proxy-transport.ts');
    const dispatcher = openProxyDispatcher();
    const through: Pick<Dispatcher, 'dispatch'> = {
      dispatch: (options, handler) => dispatcher.dispatch({ ...options, origin: url.origin }, handler),
    };
    return { calls: through, polls: through, prefix, close: () => void dispatcher.destroy() };
  }
  const open = (connections: number) =>
    new Pool(url.origin, {
      connections,
      pipelining: 1,
      // Its timers would tick twice a second as long as a poll is open. Who waits for an answer has a time-out of its own.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      connect: CONNECT,
    });
  const calls = open(CONNECTIONS_MAX);
  const polls = open(1);
  return {
    calls,
    polls,
    prefix,
    close() {
      for (const pool of [calls, polls]) pool.destroy().catch(() => {});
    },
  };
}
