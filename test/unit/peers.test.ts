import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { createPeers } from '../../src/gateway/peers.ts';
import { listen } from '../support/place.ts';
import { until } from '../support/wait.ts';

test('a connection whose process was looked up is forgotten at its end, whatever it spoke', async (t) => {
  const left: number[] = [];
  const peers = createPeers({
    ...{ tree: () => [process.pid], learnTree: async () => {}, onDeath: () => {} },
    onLeft: (connection) => left.push(connection),
  });
  const server = createServer();
  const client = connect(await listen(t, server), '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  const caller = await peers.find(socket);
  assert.equal(caller.kind, 'poller');
  assert.equal(await peers.find(socket), caller);
  client.destroy();
  socket.resume();
  await until('its end to be told', () => left.length > 0);
  assert.deepEqual(left, [1]);
});
