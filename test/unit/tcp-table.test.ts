/** The kernel's table of TCP sockets: addresses decoded, and a real connection found under its inode. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { test } from 'node:test';
import { addressOfHex, ownersOfSockets, socketInodes, tcpRows } from '../../src/machine/tcp-table.ts';
import { awaitsAnswer as isHeld } from '../../src/strays/api-addresses.ts';
import type { TcpSocket } from '../../src/strays/sockets.ts';
import { PYTHON } from '../support/stray-world.ts';

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
    const client = connect(port, host);
    await once(client, 'connect');
    t.after(() => {
      client.destroy();
      server.close();
    });
    const rows = [...tcpRows(port)].filter(
      (it) => it.remotePort === port && it.localPort === client.localPort,
    );
    assert.deepEqual(
      rows.map(({ remote, state }) => [remote, state]),
      [[host, '01']],
    );
    assert.ok(socketInodes(process.pid)?.includes(rows[0]!.inode));
  });
}

test('owners of sockets: named by inode, whoever has it; hints first', async (t) => {
  const code =
    'import socket,os,time;s=socket.socket(socket.AF_UNIX);print(os.fstat(s.fileno()).st_ino,flush=True);time.sleep(1000)';
  const child = spawn(PYTHON, ['-c', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const inode = Number(line.toString());
  for (const hints of [undefined, [child.pid!], [process.pid]])
    assert.deepEqual([...(await ownersOfSockets([inode], hints))], [[inode, [child.pid]]]);
});

test('a request is held: the last thing that happened was a send, three seconds ago', () => {
  const socket = (some: Partial<TcpSocket>): TcpSocket => ({
    ...{ local: '10.0.0.1:40000', localPort: 40_000, remote: '10.0.0.2:443', remotePort: 443, uid: 0 },
    ...{
      inode: 7,
      cgroup: null,
      bytesSent: 500,
      bytesReceived: 500,
      lastSendMs: 3_000,
      lastReceiveMs: 9_000,
      minRttMs: 0,
    },
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
