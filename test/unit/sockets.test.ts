/** Who has a connection to the API root: real sockets, both ends, both families. */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { apiRootOf, createConnectionFinder, hexAddresses } from '../../src/machine/sockets.ts';
import { createStrayWorld, PYTHON, until } from '../support/stray-world.ts';

for (const [url, host, port] of [
  ['https://api.telegram.org', 'api.telegram.org', 443],
  ['http://127.0.0.1:8081/', '127.0.0.1', 8081],
  ['http://localhost', 'localhost', 80],
  ['https://[2001:db8::1]:8443/tg', '2001:db8::1', 8443],
] as const) {
  test(`apiRootOf ${url}`, () => assert.deepEqual(apiRootOf(url), { host, port }));
}

for (const [address, little, hex] of [
  ['149.154.166.110', true, ['6EA69A95', '0000000000000000FFFF00006EA69A95']],
  ['149.154.166.110', false, ['959AA66E', '00000000000000000000FFFF959AA66E']],
  ['127.0.0.1', true, ['0100007F', '0000000000000000FFFF00000100007F', '00000000000000000000000001000000']],
  ['::1', true, ['00000000000000000000000001000000', '0100007F', '0000000000000000FFFF00000100007F']],
  ['2001:67c:4e8:f004::9', true, ['7C06012004F0E8040000000009000000']],
  ['::ffff:149.154.166.110', true, ['6EA69A95', '0000000000000000FFFF00006EA69A95']],
] as const) {
  test(`hexAddresses ${address} ${little ? 'little' : 'big'} endian`, () => {
    assert.deepEqual(
      hexAddresses(address, little).map((h) => h),
      [...hex],
    );
  });
}

const CLIENT =
  'import socket,sys,time\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])))\nprint(1,flush=True)\ntime.sleep(1000)';

test('the client of a connection is found, by name, IPv4, IPv6; the server and others are not', async () => {
  const world = await createStrayWorld();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket));
  const other = createServer((socket) => sockets.add(socket));
  const port = await listen(server);
  const otherPort = await listen(other);
  after(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    other.close();
    await world.close();
  });
  const client = async (host: string, to: number) => {
    const child = world.start(PYTHON, ['-c', CLIENT, host, String(to)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((done) => child.stdout!.once('data', done));
    return child.pid;
  };
  const v4 = await client('127.0.0.1', port);
  const mapped = await client('::ffff:127.0.0.1', port);
  const v6 = await client('::1', port);
  const elsewhere = await client('127.0.0.1', otherPort);
  const all = [v4, mapped, v6, elsewhere, process.pid, 1, 4_000_000];
  for (const host of ['127.0.0.1', 'localhost', '::1', 'bots.example']) {
    const finder = createConnectionFinder({ host, port }, async () => ['127.0.0.1']);
    await finder.refresh();
    assert.deepEqual([...finder.connected(all)].sort(), [v4, mapped, v6].sort(), host);
  }
  const root = createConnectionFinder({ host: '127.0.0.1', port });
  assert.deepEqual([...root.connected(all, [v4, mapped])], [v6], 'sockets of known processes do not count');
  const many = [...all, ...Array.from({ length: 100 }, (_, i) => 4_000_001 + i)];
  assert.equal(root.connected(many).size, 3);
  assert.equal(root.connected(many, [v4, mapped, v6]).size, 0);
  const dead = createConnectionFinder({ host: 'bots.example', port }, async () => []);
  await dead.refresh();
  assert.deepEqual([...dead.connected(all)], []);
  process.kill(v4, 'SIGKILL');
  const finder = createConnectionFinder({ host: '127.0.0.1', port });
  await until(() => finder.connected(all).size === 2, 'the dead client has none');
});

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((done) => server.listen({ port: 0, host: '::' }, done));
  return (server.address() as { port: number }).port;
}

test('an address that a name had once stays known', async () => {
  const answers = [['10.0.0.1'], ['10.0.0.2']];
  let asked = 0;
  const finder = createConnectionFinder(
    { host: 'bots.example', port: 1 },
    async () => answers[asked++] ?? [],
  );
  await finder.refresh();
  await finder.refresh();
  assert.equal(asked, 1, 'not asked again at once');
});
