import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { followDestroyed, parseSockets, shortAddress, type TcpSocket } from '../../src/strays/sockets.ts';

/** A server that answers each connection when told to. */
async function server(t: { after: (end: () => void) => void }) {
  const clients: net.Socket[] = [];
  const listener = net.createServer((socket) => {
    clients.push(socket);
    socket.on('error', () => {});
  });
  await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done));
  t.after(() => {
    for (const socket of clients) socket.destroy();
    listener.close();
  });
  return { port: (listener.address() as net.AddressInfo).port, clients };
}

async function until<T>(ask: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    await new Promise((done) => setTimeout(done, 5));
  }
}

test('a client that closes at its answer is told of with what it received', async (t) => {
  const { port, clients } = await server(t);
  const gone: TcpSocket[] = [];
  const follower = followDestroyed({ remotePort: port }, (it) => gone.push(it));
  t.after(() => follower.stop());
  await until(() => follower.isReady());
  const client = net.connect(port, '127.0.0.1').on('error', () => {});
  client.write('getUpdates');
  client.on('data', () => client.destroy());
  const served = await until(() => clients.find((it) => it.remotePort === client.localPort));
  const { localPort } = client;
  served.end('409 Conflict');
  const told = await until(() => gone.find((it) => it.localPort === localPort));
  assert.equal(told.bytesSent, 10);
  // The end of the connection may count as one byte.
  assert.ok(told.bytesReceived === 12 || told.bytesReceived === 13, String(told.bytesReceived));
});

test('addresses are compared in one form; lines that are none and waiting sockets are left out', () => {
  assert.equal(shortAddress('[::ffff:10.0.0.1]'), '10.0.0.1');
  assert.equal(shortAddress('127.0.0.1%lo'), '127.0.0.1');
  assert.equal(shortAddress('[2001:0db8::0001]'), '2001:db8::1');
  assert.equal(shortAddress('*'), null);
  const text = [
    'TIME-WAIT 0      0      127.0.0.1:1 127.0.0.1:2',
    'Cannot open netlink socket: Protocol not supported',
    'ESTAB 0 0 [::ffff:10.0.0.1]:40000 [::ffff:149.154.167.220]:443 uid:33 ino:7 sk:3 cgroup:/system.slice/bot.service <-> ts lastsnd:900 bytes_sent:5',
  ].join('\n');
  assert.deepEqual(parseSockets(text), [
    {
      local: '10.0.0.1:40000',
      localPort: 40000,
      remote: '149.154.167.220:443',
      remotePort: 443,
      uid: 33,
      inode: 7,
      cgroup: '/system.slice/bot.service',
      bytesSent: 5,
      bytesReceived: 0,
      lastSendMs: 900,
      lastReceiveMs: 0,
      minRttMs: 0,
    },
  ]);
});
