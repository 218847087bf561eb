// The quiet client against a server that answers whatever it likes: every call comes to one end.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { openQuietClient } from '../../src/gateway/quiet-client.ts';
import { until } from '../support/wait.ts';

async function client(t: TestContext, answer: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', () => answer(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const root = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const quiet = await openQuietClient({ root, connections: 1, connectMs: 1_000, keepAliveMs: 5_000 });
  t.after(() => {
    quiet.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { quiet, sockets };
}

type Quiet = Awaited<ReturnType<typeof client>>['quiet'];

/** What a call comes to: `200 body`, or the code of the error. */
function call(quiet: Quiet, abortAfterMs: number | null = null): Promise<string> {
  return new Promise((resolve, reject) => {
    let ended = 0;
    let text = '';
    const end = (how: string) => {
      ended += 1;
      if (ended > 1) reject(new Error(`a second end: ${how}`));
      setImmediate(resolve, how);
    };
    quiet.dispatch(
      { method: 'POST', path: '/', headers: ['x-odd', 'a'], body: 'timeout=1' },
      {
        onRequestStart(controller) {
          if (abortAfterMs !== null) setTimeout(() => controller.abort(new Error('given up')), abortAfterMs);
        },
        onResponseStart(_controller, status) {
          text = `${status} `;
        },
        onResponseData(_controller, chunk) {
          text += chunk.toString();
        },
        onResponseEnd: () => end(text),
        onResponseError: (_controller, error) => end((error as NodeJS.ErrnoException).code ?? error.message),
      },
    );
  });
}

for (const [what, bytes, expected] of [
  ['a plain answer', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', '200 ok'],
  ['one behind a 103', 'HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', '200 ok'],
  [
    'a change of protocol',
    'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
    'ECONNRESET',
  ],
  ['no HTTP at all', 'SSH-2.0-x\r\n\r\n', 'HPE_INVALID_CONSTANT'],
] as const)
  test(`quiet client: ${what}`, async (t) => {
    const { quiet } = await client(t, (socket) => socket.write(bytes));
    assert.equal(await call(quiet), expected);
    // The one connection is free again, or replaced.
    assert.equal(await call(quiet), expected);
  });

for (const [what, bytes] of [
  ['before the answer', ''],
  ['in mid-body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'],
] as const)
  test(`quiet client: a connection that is cut ${what}`, async (t) => {
    const { quiet } = await client(t, (socket) => socket.end(bytes));
    assert.equal(await call(quiet), 'ECONNRESET');
  });

test('quiet client: a call that is given up frees the connection for the next', async (t) => {
  let answers = false;
  const { quiet, sockets } = await client(t, (socket) => {
    if (answers) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  assert.equal(await call(quiet, 50), 'given up');
  answers = true;
  assert.equal(await call(quiet), '200 ok');
  assert.equal(sockets.length, 2);
  assert.ok(sockets[0]?.destroyed || sockets[0]?.readableEnded, 'the first is closed');
});

test('quiet client: a call that is thought better of when its connection is there leaves without a byte', async (t) => {
  let asked = 0;
  const { quiet, sockets } = await client(t, () => {
    asked += 1;
  });
  const error = await new Promise<Error>((resolve) =>
    quiet.dispatch(
      { method: 'POST', path: '/', headers: [], body: 'timeout=1' },
      {
        onRequestStart: (controller) => controller.abort(new Error('too late')),
        onResponseError: (_controller, why) => resolve(why),
      },
    ),
  );
  assert.equal(error.message, 'too late');
  await until(
    'the connection to be seen and closed',
    () => sockets[0]?.readableEnded || sockets[0]?.destroyed,
  );
  assert.equal(asked, 0);
});

test('quiet client: nobody listens', async (t) => {
  const root = new URL('http://127.0.0.1:1');
  const quiet = await openQuietClient({ root, connections: 1, connectMs: 200, keepAliveMs: 1_000 });
  t.after(() => quiet.close());
  assert.equal(await call(quiet), 'ECONNREFUSED');
});
