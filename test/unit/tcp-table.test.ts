/** The kernel's table of TCP sockets: addresses decoded, and a real connection found under its inode. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { test } from 'node:test';
import { addressOfHex, socketInodes, tcpRows } from '../../src/machine/tcp-table.ts';

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
    const rows = [...tcpRows()].filter((it) => it.remotePort === port && it.localPort === client.localPort);
    assert.deepEqual(
      rows.map(({ remote, state }) => [remote, state]),
      [[host, '01']],
    );
    assert.ok(socketInodes(process.pid)?.includes(rows[0]!.inode));
  });
}
