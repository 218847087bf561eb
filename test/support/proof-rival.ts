// A way to the stand-in that no TCP socket of this machine shows: through a socket in the file system, whose connections are handed to
// the stand-in's server. Whoever polls by it is elsewhere, whoever looks; and a network namespace without a way out can reach it.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Agent, get, type Server } from 'node:http';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bed } from './bed.ts';

/** The stand-in's own HTTP server, which does not show itself but to whoever watches requests begin. */
async function serverOf(b: Bed): Promise<Server> {
  let found: Server | null = null;
  const look = (message: unknown) => {
    const { server } = message as { server: Server };
    const address = server.address();
    if (typeof address === 'object' && address?.port === b.sandbox.port) found = server;
  };
  subscribe('http.server.request.start', look);
  try {
    await fetch(b.sandbox.root);
  } finally {
    unsubscribe('http.server.request.start', look);
  }
  if (!found) throw new Error('the stand-in did not show its server');
  return found;
}

/** Opens the way; gives its path. It is gone with the test. */
export async function openBackDoor(t: TestContext, b: Bed): Promise<string> {
  const server = await serverOf(b);
  const path = join(b.dir, `door-${Math.random().toString(36).slice(2)}`);
  const door = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    server.emit('connection', socket);
  });
  await new Promise<void>((resolve) => door.listen(path, resolve));
  t.after(() => door.close());
  return path;
}

export interface RemoteRival {
  readonly polls: number;
  readonly conflicts: number;
  leave(): Promise<void>;
}

/** The rival's name in the stand-in's record. */
export const REMOTE = 'remote.0';

/** Polls from elsewhere until it leaves, with the test at the latest; `retryMs` after a 409 again. */
export async function startRemoteRival(
  t: TestContext,
  b: Bed,
  retryMs = 200,
  token = b.token,
): Promise<RemoteRival> {
  const path = await openBackDoor(t, b);
  const gone = new AbortController();
  const { signal } = gone;
  const agent = new Agent({ keepAlive: true });
  agent.createConnection = () => createConnection(path);
  const url = `${b.sandbox.root}/bot${token}/getUpdates?timeout=20&poller=${REMOTE}`;
  const self = { polls: 0, conflicts: 0, leave };
  const ask = () =>
    new Promise<number>((resolve, reject) => {
      get(url, { agent, signal, headers: { 'user-agent': 'remote' } }, (response) => {
        response.resume();
        response.once('end', () => resolve(response.statusCode ?? 0));
        response.once('error', reject);
      }).once('error', reject);
    });
  const ended = (async () => {
    while (!signal.aborted) {
      self.polls += 1;
      const status = await ask().catch(() => 0);
      if (status === 409) self.conflicts += 1;
      await pause(status === 200 ? 10 : retryMs, undefined, { signal }).catch(() => undefined);
    }
  })();
  async function leave(): Promise<void> {
    gone.abort();
    agent.destroy();
    await ended;
  }
  t.after(leave);
  return self;
}
