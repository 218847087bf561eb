// A rival that no search of this machine finds: it polls from the test's own process, which has the token in no variable, no argument
// and no file. To the program it is a poller elsewhere. And a way to the stand-in that no TCP socket of this machine shows: through a
// socket in the file system, whose connections are handed to the stand-in's server; a network namespace without a way out can use it.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Agent, get, type Server } from 'node:http';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bed } from './bed.ts';

/** Its name in the stand-in's log, so that its polls are told from ours. */
export const RIVAL = 'rival.0';

export interface RivalOptions {
  /** Of its long poll, seconds. */
  timeout?: number;
  /** From the end of a poll to the next, milliseconds. */
  pauseMs?: number;
  /** The same from a 409; null: it ends there, as grammY and Telegraf do. Absent: as `pauseMs`. */
  retryMs?: number | null;
  /** Asks for what comes next, and so confirms what it got. */
  confirms?: boolean;
  /** Through this socket in the file system. */
  path?: string;
}

/** A bot that works: it takes its updates, polls again at once, and knows a 409 only as `retryMs` says. */
export const working = (retryMs: number | null): RivalOptions => ({
  timeout: 30,
  pauseMs: 0,
  retryMs,
  confirms: true,
});

export type Rival = ReturnType<typeof startRival>;

/** Starts polling at once; it leaves with the test at the latest. */
export function startRival(t: TestContext, b: Bed, options: RivalOptions = {}) {
  const { timeout = 20, pauseMs = 1000, retryMs = pauseMs, confirms = false, path } = options;
  const gone = new AbortController();
  const { signal } = gone;
  const agent = new Agent({ keepAlive: true });
  if (path !== undefined) agent.createConnection = () => createConnection(path);
  /** `conflicts`: 409s it got, how often it was kicked. */
  const self = { polls: 0, conflicts: 0, leave };
  const url = `${b.sandbox.root}/bot${b.token}/getUpdates?timeout=${timeout}&poller=${RIVAL}`;
  let offset = 0;

  const ask = () =>
    new Promise<{ ok: boolean; error_code?: number; result: { update_id: number }[] }>((resolve, reject) => {
      const headers = { 'user-agent': 'rival' };
      get(confirms ? `${url}&offset=${offset}` : url, { agent, signal, headers }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk;
        });
        response.once('error', reject).once('end', () => resolve(JSON.parse(text)));
      }).once('error', reject);
    });

  /** What it waits before the next poll; null: there is none. */
  async function poll(): Promise<number | null> {
    self.polls += 1;
    const body = await ask();
    if (body.error_code === 409) self.conflicts += 1;
    if (!body.ok) return retryMs;
    for (const update of body.result) offset = update.update_id + 1;
    return pauseMs;
  }

  const ended = (async () => {
    while (!signal.aborted) {
      // No answer: not at once again, whatever its habits.
      const waitMs = await poll().catch(() => Math.max(pauseMs, 100));
      if (waitMs === null) break;
      await pause(waitMs, undefined, { signal }).catch(() => undefined);
    }
  })();
  /** Its connection is cut, as when its process is killed; resolves when it asks no more. */
  async function leave(): Promise<void> {
    gone.abort();
    agent.destroy();
    await ended;
  }
  t.after(leave);
  return self;
}

/** One whose socket nobody sees on this machine, whoever looks. */
export const startRemoteRival = async (t: TestContext, b: Bed): Promise<Rival> =>
  startRival(t, b, { path: await openBackDoor(t, b), pauseMs: 10, retryMs: 200 });

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
