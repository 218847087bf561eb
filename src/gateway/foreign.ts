/**
 * Calls that do not belong to this bot: with another bot's token, or to another host (from a program that uses the gateway as
 * its proxy). They are passed on unchanged, without door, status or a look at the answers.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { type HttpClient, openHttpClient, openTunnel, proxyOf } from '../telegram/http-client.ts';
import { relay } from './relay.ts';

const CONNECTIONS_MAX = 64;
const CONNECT_TIMEOUT_MS = 10_000;

/** `env` names the user's own proxy. */
export function createForeign(env: Readonly<NodeJS.ProcessEnv>) {
  const clients = new Map<string, HttpClient>();

  function clientOf({ origin }: URL): HttpClient {
    let client = clients.get(origin);
    client ??= openHttpClient({ root: new URL(origin), env, connections: CONNECTIONS_MAX });
    clients.set(origin, client);
    return client;
  }

  return {
    pass(request: IncomingMessage, response: ServerResponse, url: URL): void {
      relay(request, response, { client: clientOf(url), path: `${url.pathname}${url.search}` });
    },
    /** Connects to another host, through the user's own proxy if there is one. Rejects with the system's error. */
    async tunnel(host: string, port: number): Promise<Duplex> {
      const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
      const proxy = proxyOf(new URL(`https://${authority}`), env);
      if (proxy !== null)
        return openTunnel(new URL(proxy), authority, AbortSignal.timeout(CONNECT_TIMEOUT_MS));
      const socket = connect({ host, port });
      return new Promise((resolve, reject) => {
        socket.once('error', reject).once('connect', () => resolve(socket));
      });
    },
    close() {
      for (const client of clients.values()) client.close();
    },
  };
}
