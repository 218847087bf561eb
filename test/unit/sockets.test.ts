/** TCP sockets as ss and as the kernel's own table tell them: parsed, addresses decoded, each found under its inode. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo, connect, createServer } from 'node:net';
import { test } from 'node:test';
import {
  addressOfHex,
  connectsTo,
  followDestroyed,
  parseSockets,
  shortAddress,
  socketInodes,
  type TcpSocket,
  tcpRows,
} from '../../src/machine/sockets.ts';
import { awaitsAnswer as isHeld } from '../../src/strays/api-addresses.ts';
import { listen } from '../support/place.ts';
import { until } from '../support/wait.ts';

for (const [hex, little, address] of [
  ['6EA69A95', true, '149.154.166.110'],
  ['959AA66E', false, '149.154.166.110'],
  ['0000000000000000FFFF00000100007F', true, '127.0.0.1'],
  ['00000000000000000000000001000000', true, '::1'],
  ['7C06012004F0E8040000000009000000', true, '2001:67c:4e8:f004::9'],
] as const) {
  test(`${hex} (${little ? 'little' : 'big'} endian) is ${address}`, () =>
    assert.equal(addressOfHex(hex, little), address));
}

for (const host of ['127.0.0.1', '::1']) {
  test(`the client's end of a connection to ${host} is in the table, and its inode among its process's`, async (t) => {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    // An earlier connection to this port may still be in the table.
    const isKnown = [...tcpRows(port)].some(({ remotePort }) => remotePort === port);
    assert.equal(await connectsTo(port, process.pid), isKnown, 'it only listens');
    const client = connect(port, host);
    await once(client, 'connect');
    t.after(() => {
      client.destroy();
      server.close();
    });
    const ours = [...tcpRows(port)].filter((it) => it.localPort === client.localPort);
    const [row] = ours.filter((it) => it.remotePort === port);
    assert.deepEqual([row?.remote, row?.state], [host, '01']);
    assert.ok(socketInodes(process.pid)?.includes(row!.inode));
    assert.equal(await connectsTo(port, process.pid), true);
  });
}

test('a request is held: the last thing that happened was a send, three seconds ago', () => {
  const socket = (some: Partial<TcpSocket>): TcpSocket => ({
    ...{ local: '10.0.0.1:40000', localPort: 40_000, remote: '10.0.0.2:443', remotePort: 443, uid: 0 },
    ...{ inode: 7, cgroup: null, bytesSent: 500, bytesReceived: 500, minRttMs: 0 },
    ...{ lastSendMs: 3_000, lastReceiveMs: 9_000 },
    ...some,
  });
  assert.equal(isHeld(socket({})), true);
  assert.equal(isHeld(socket({ lastSendMs: 2_999 })), false, 'it may be answered yet');
  assert.equal(isHeld(socket({ lastReceiveMs: 2_950 })), false, 'answered');
  assert.equal(isHeld(socket({ bytesSent: 0 })), false, 'nothing was asked');
  assert.equal(isHeld(socket({ bytesReceived: 0, lastReceiveMs: 0 })), true, 'nothing ever came');
  assert.equal(isHeld(socket({ lastReceiveMs: 3_000 })), true, 'no answer comes that soon over a network');
  const local = { local: '127.0.0.1:40000', remote: '127.0.0.1:8081' };
  assert.equal(isHeld(socket({ ...local, lastReceiveMs: 3_000 })), false, 'on one machine it does');
  assert.equal(isHeld(socket({ ...local, lastReceiveMs: 3_004 })), true);
});

test('a client that closes at its answer is told of with what it received', async (t) => {
  const clients: net.Socket[] = [];
  const port = await listen(
    t,
    net.createServer((socket) => clients.push(socket)),
  );
  const gone: TcpSocket[] = [];
  const follower = followDestroyed({ remotePort: port }, (it) => gone.push(it));
  t.after(() => follower.stop());
  await until('the follower', () => follower.isReady());
  const client = net.connect(port, '127.0.0.1').on('error', () => {});
  client.write('getUpdates');
  client.on('data', () => client.destroy());
  const served = await until('it', () => clients.find((it) => it.remotePort === client.localPort));
  const { localPort } = client;
  served.end('409 Conflict');
  const told = await until('its end', () => gone.find((it) => it.localPort === localPort));
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
      ...{ local: '10.0.0.1:40000', localPort: 40000, remote: '149.154.167.220:443', remotePort: 443 },
      ...{ uid: 33, inode: 7, cgroup: '/system.slice/bot.service', bytesSent: 5, bytesReceived: 0 },
      ...{ lastSendMs: 900, lastReceiveMs: 0, minRttMs: 0 },
    },
  ]);
});
