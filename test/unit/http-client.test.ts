// The one HTTP client against servers that answer whatever they like, in the clear, by TLS and through a proxy: each request comes to
// one end, and one that is given up resets its TCP connection, so that the kernel goes on delivering nothing of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { after, type TestContext, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { type HttpClient, openHttpClient, proxyOf } from '../../src/telegram/http-client.ts';
import { makeCertificate } from '../support/certificate.ts';
import { listen, newFolder } from '../support/place.ts';
import { until, within } from '../support/wait.ts';

const trusted = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
after(() => {
  if (trusted === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  else process.env.NODE_TLS_REJECT_UNAUTHORIZED = trusted;
});
const certificate = makeCertificate(newFolder());
// The certificate is its own authority.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const WAYS = ['in the clear', 'by TLS', 'through a proxy', 'by TLS through a proxy'] as const;
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Server {
  readonly client: HttpClient;
  readonly root: URL;
  /** TCP connections, in order. */
  readonly sockets: Socket[];
  /** Resolves with what ended the n-th: an error's code, or `FIN`. */
  ended(n: number): Promise<string>;
}

type Answers = (socket: Socket) => void;

async function open(t: TestContext, answer: Answers, way: (typeof WAYS)[number] = WAYS[0]): Promise<Server> {
  const secure = way.startsWith('by TLS');
  const proxied = way.endsWith('proxy');
  const sockets: Socket[] = [];
  const ends: Promise<string>[] = [];
  const serve = (tcp: Socket) => {
    const socket = secure ? new TLSSocket(tcp, { isServer: true, ...certificate }) : tcp;
    socket.on('data', () => answer(socket));
    ends.push(
      new Promise((resolve) => {
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        socket.once('end', () => resolve('FIN'));
      }),
    );
  };
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
    if (!proxied) return serve(socket);
    socket.once('data', (words) => {
      assert.match(
        words.toString(),
        /^CONNECT bot-api\.test:\d+ .*-authorization: Basic bWU6dG9wIHNlY3JldA==/is,
      );
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      serve(socket);
    });
  });
  const address = `127.0.0.1:${await listen(t, server)}`;
  const proxy = `http://me:top%20secret@${address}`;
  const root = new URL(`http${secure ? 's' : ''}://${proxied ? 'bot-api.test:8081' : address}`);
  const env = proxied ? { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } : {};
  const client = openHttpClient(root, 1, env);
  t.after(() => client.close());
  return { client, root, sockets, ended: (n) => within('its end', ends[n]!, 15_000) };
}

/** What a request comes to: `200 body`, or the code of the error. `onSent` may give it up. */
async function ask(
  client: HttpClient,
  { signal = new AbortController().signal, ...more }: Partial<Parameters<HttpClient['ask']>[0]> = {},
): Promise<string> {
  try {
    const request = { path: '/', headers: ['x-odd', 'a'], body: 'timeout=1', answerBytesMax: 100, signal };
    const answer = await client.ask({ ...request, ...more });
    // Its connection is free for the next only a turn later.
    await new Promise(setImmediate);
    return `${answer.status} ${answer.body}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code?.toString() ?? (error as Error).message;
  }
}

for (const way of WAYS) {
  test(`${way}: a request that is given up resets its connection, and the next has one of its own`, async (t) => {
    let heard = 0;
    const give = new AbortController();
    const { client, sockets, ended } = await open(
      t,
      (socket) => {
        heard += 1;
        if (heard === 1) setImmediate(() => give.abort(new Error('given up')));
        else socket.write(ANSWER);
      },
      way,
    );
    assert.equal(await ask(client, { signal: give.signal }), 'given up');
    assert.equal(await ended(0), 'ECONNRESET');
    assert.equal(await ask(client), '200 ok');
    assert.deepEqual([heard, sockets.length], [2, 2]);
  });

  test(`${way}: requests share a connection, and it is closed in the ordinary way`, async (t) => {
    const { client, sockets, ended } = await open(t, (socket) => socket.write(ANSWER), way);
    // Directly no more connections are opened at once than may be.
    if (!way.endsWith('proxy'))
      assert.deepEqual(await Promise.all([ask(client), ask(client)]), ['200 ok', '200 ok']);
    for (let i = 0; i < 3; i += 1) assert.equal(await ask(client), '200 ok');
    assert.equal(sockets.length, 1);
    client.close();
    assert.equal(await ended(0), 'FIN');
  });

  test(`${way}: one that may not go when its connection stands leaves without a byte`, async (t) => {
    let heard = 0;
    const { client, sockets } = await open(t, () => void heard++, way);
    const onSent = () => assert.fail('sent');
    assert.equal(await ask(client, { mayGo: () => false, onSent }), 'given up');
    const [first] = sockets;
    await until('its connection to end', () => first?.destroyed || first?.readableEnded);
    assert.equal(heard, 0);
  });
}

for (const [what, bytes, expected] of [
  ['an answer behind a 103', `HTTP/1.1 103 Early\r\n\r\n${ANSWER}`, '200 ok'],
  ['a change of protocol', 'HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n', 'ECONNRESET'],
  ['no HTTP at all', 'SSH-2.0-x\r\n\r\n', 'HPE_INVALID_CONSTANT'],
  ['too much', `HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n${'x'.repeat(200)}`, /an answer of more than/],
] as const)
  test(`${what}; the one connection is free again, or replaced`, async (t) => {
    const { client } = await open(t, (socket) => socket.write(bytes));
    for (let i = 0; i < 2; i += 1) assert.match(await ask(client), new RegExp(expected));
  });

for (const [what, bytes] of [
  ['before the answer', ''],
  ['in mid-body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'],
] as const)
  test(`a connection that is cut ${what}`, async (t) => {
    const { client } = await open(t, (socket) => socket.end(bytes));
    assert.equal(await ask(client), 'ECONNRESET');
  });

for (const scheme of ['http', 'https'])
  test(`${scheme}: nobody listens`, async (t) => {
    const client = openHttpClient(new URL(`${scheme}://127.0.0.1:1`), 1, {});
    t.after(() => client.close());
    for (let i = 0; i < 2; i += 1) assert.equal(await ask(client), 'ECONNREFUSED');
  });

test('by TLS: what answers does not speak it', async (t) => {
  const { root } = await open(t, (socket) => socket.write(ANSWER));
  const client = openHttpClient(new URL(`https://${root.host}`), 1, {});
  t.after(() => client.close());
  assert.match(await ask(client), /SSL/);
});

test('by TLS: a certificate that nobody vouches for', async (t) => {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '1';
  t.after(() => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  });
  const { client } = await open(t, (socket) => socket.write(ANSWER), 'by TLS');
  assert.equal(await ask(client), 'DEPTH_ZERO_SELF_SIGNED_CERT');
});

test('a server that takes the connection and never speaks TLS: no connection in time', async (t) => {
  const server = createServer((socket) => socket.resume());
  const root = new URL(`https://127.0.0.1:${await listen(t, server)}`);
  const client = openHttpClient(root, 1, {}, 100);
  const patient = openHttpClient(root, 1, {});
  t.after(() => client.close());
  assert.equal(await ask(client), 'ETIMEDOUT');
  // One that is given up meanwhile ends at once, and its connection with the client.
  const give = new AbortController();
  const met = once(server, 'connection');
  const asked = ask(patient, { signal: give.signal });
  const [socket] = (await met) as [Socket];
  give.abort(new Error('given up'));
  assert.equal(await asked, 'given up');
  patient.close();
  await until('its connection to end', () => socket.destroyed || socket.readableEnded);
});

test('a proxy: which roots go through it', () => {
  const proxied = (root: string, env: Record<string, string>) => proxyOf(new URL(root), env) !== null;
  const proxy = 'http://proxy.test:3128';
  for (const [root, env, expected] of [
    ['https://api.telegram.org', {}, false],
    ['https://api.telegram.org', { HTTPS_PROXY: proxy }, true],
    ['https://api.telegram.org', { HTTP_PROXY: proxy }, true],
    ['http://bot-api.test:8081', { HTTPS_PROXY: proxy }, false],
    ['http://127.0.0.1:8081', { HTTP_PROXY: proxy }, false],
    ['https://api.telegram.org', { HTTPS_PROXY: proxy, NO_PROXY: '*' }, false],
    ['https://api.telegram.org', { HTTPS_PROXY: proxy, NO_PROXY: 'a.test, telegram.org' }, false],
    ['https://api.telegram.org', { HTTPS_PROXY: proxy, no_proxy: '.Telegram.org:443' }, false],
    ['https://api.telegram.org', { HTTPS_PROXY: proxy, NO_PROXY: 'telegram.org:80,gram.org,,' }, true],
  ] as const)
    assert.equal(proxied(root, env), expected, `${root} with ${JSON.stringify(env)}`);
  const bare = { HTTPS_PROXY: 'proxy.test:3128' };
  assert.equal(
    proxyOf(new URL('https://api.telegram.org'), bare),
    proxy,
    'a proxy without a scheme is one of http',
  );
});
