/**
 * The way to the Bot API: kept-alive connections, those of the polls apart from all others, so that nothing can take a poll's
 * place. Few and small calls go by Node's own client; the first traffic brings undici, once and for good.
 */
import type { Socket } from 'node:net';
import type { Dispatcher } from 'undici';
import { explain } from '../telegram/explain.ts';
import { proxyOf } from '../telegram/proxy.ts';
import { forget } from './forget.ts';
import { openQuietClient } from './quiet-client.ts';

/** Calls of the worker that can be under way at once; more wait their turn. */
const CONNECTIONS_MAX = 64;
const CONNECT_MS = 10_000;
/** Longer than most pauses between two polls, shorter than what servers grant an idle connection. */
const KEEP_ALIVE_MS = 30_000;
/** More calls within a second are traffic. */
const QUIET_CALLS_MAX = 20;

type Client = Pick<Dispatcher, 'dispatch'>;

export interface Upstream {
  readonly calls: Client;
  readonly polls: Client;
  /** What stands before `/bot<token>`: the path of the API root. */
  readonly prefix: string;
  /** Why a call has failed, for people. */
  explain(error: Error): string;
  close(): void;
}

/** A poll that is given up takes its connection to the proxy with it. */
function forgetful(
  handler: Dispatcher.DispatchHandler,
  sockets: ReadonlySet<Socket>,
): Dispatcher.DispatchHandler {
  return {
    ...handler,
    onRequestStart(controller, context) {
      const abort = (reason: Error) => {
        for (const socket of sockets) forget(socket);
        controller.abort(reason);
      };
      handler.onRequestStart?.({ abort } as Dispatcher.DispatchController, context);
    },
  };
}

export async function openUpstream(
  apiRoot: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Upstream> {
  const root = new URL(apiRoot);
  const prefix = root.pathname.replace(/\/+$/, '');
  const why = (error: Error) => explain(error, root, env);
  if (proxyOf(root, env)) {
    const { openProxyDispatcher } = await import('../telegram/proxy-transport.ts');
    const calls = openProxyDispatcher();
    const sockets = new Set<Socket>();
    const onSocket = (socket: Socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    };
    const polls = openProxyDispatcher({ connections: 1, onSocket });
    return {
      calls: { dispatch: (call, handler) => calls.dispatch({ ...call, origin: root.origin }, handler) },
      polls: {
        dispatch: (poll, handler) =>
          polls.dispatch({ ...poll, origin: root.origin }, forgetful(handler, sockets)),
      },
      ...{ prefix, explain: why },
      close: () => [calls, polls].forEach((it) => void it.destroy()),
    };
  }
  const options = { root, connectMs: CONNECT_MS, keepAliveMs: KEEP_ALIVE_MS };
  const polls = await openQuietClient({ ...options, connections: 1 });
  const quiet = await openQuietClient({ ...options, connections: CONNECTIONS_MAX });
  let busy: Pick<Dispatcher, 'dispatch' | 'destroy'> | null = null;
  let loading: Promise<Client> | null = null;
  let closed = false;
  let sinceMs = 0;
  let calls = 0;

  const load = () => {
    loading ??= import('./busy-client.ts').then(
      ({ openBusyClient }) => {
        busy = openBusyClient({ ...options, connections: CONNECTIONS_MAX });
        quiet.retire();
        if (closed) busy.destroy();
        return busy;
      },
      (error: unknown) => {
        // No descriptor free, or an upgrade that has taken our files away: the next one that needs it tries again.
        loading = null;
        throw error;
      },
    );
    return loading;
  };
  const isTraffic = (nowMs: number) => {
    if (nowMs - sinceMs > 1_000) {
      sinceMs = nowMs;
      calls = 0;
    }
    calls += 1;
    return calls > QUIET_CALLS_MAX;
  };

  return {
    polls,
    calls: {
      dispatch(request, handler) {
        if (busy) return busy.dispatch(request, handler);
        const { body } = request;
        const inMemory =
          body === null || body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
        if (inMemory) {
          // The calls that are there do not wait for what the next ones will use.
          if (isTraffic(performance.now())) load().catch(() => {});
          return quiet.dispatch(request, handler);
        }
        load()
          .then((client) => client.dispatch(request, handler))
          .catch((error: Error) => handler.onResponseError?.(null as never, error));
        return true;
      },
    },
    ...{ prefix, explain: why },
    close() {
      closed = true;
      polls.close();
      quiet.close();
      busy?.destroy().catch(() => {});
    },
  };
}
