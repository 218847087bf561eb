/** The observer on real connections. What counts as a reaction is tested in reactions.test.ts, who is stopped for it in e2e. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { observe } from '../../src/strays/observer.ts';
import type { Seen } from '../../src/strays/reactions.ts';
import { listen } from '../support/place.ts';

/** heldForMs of it: 800 ms, less than what an observer waits at most. */
const RTT_MS = 200;

test('a request that was sent just before the observation is given the time after which its answer counts', async (t) => {
  const server = createServer();
  const port = await listen(t, server);
  const script = `require('net').connect(${port}, '127.0.0.1').write('GET /'); setInterval(() => {}, 1e9)`;
  const poller = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  t.after(() => poller.kill('SIGKILL'));
  const [socket]: Socket[] = await once(server, 'connection');
  await once(socket!, 'data');

  const addresses = { port, isProxy: false, has: (address: string) => address === '127.0.0.1' };
  const processes = { some: async () => new Map() };
  const observation = await observe({ addresses, ours: () => [], known: [], processes }, RTT_MS);
  t.after(() => observation!.stop());
  const sentAtMs = performance.now();
  const conflictBytes = 450;
  const poke = { sentAtMs, pingedAtMs: sentAtMs - 1_000, rttMs: RTT_MS, listingMs: 0, conflictBytes };
  const seen: Seen[] = [];
  const over = new AbortController();
  const poked = observation!.poked(
    poke,
    (one) => {
      seen.push(one);
      over.abort();
    },
    over.signal,
  );
  socket!.write('x'.repeat(conflictBytes));
  await poked;
  assert.deepEqual(
    seen.map(({ reaction }) => [reaction.bytes, reaction.isConflict, reaction.isUnclear]),
    [[conflictBytes, true, false]],
  );
});
