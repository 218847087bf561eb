// The gateway's ways to the Bot API, in the clear, by TLS and through a proxy: a poll that is given up resets its TCP connection, so
// that the kernel goes on delivering nothing of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { openUpstream, type Upstream } from '../../src/gateway/upstream.ts';
import { proxyOf } from '../../src/telegram/proxy.ts';
import { makeCertificate } from '../support/certificate.ts';
import { within } from '../support/wait.ts';

const dir = mkdtempSync(join(tmpdir(), 'sp-upstream-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const certificate = makeCertificate(dir);
// Of this process alone: the certificate is its own authority.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
process.removeAllListeners('warning');

const WAYS = ['in the clear', 'by TLS', 'through a proxy', 'by TLS through a proxy'] as const;
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Way {
  readonly upstream: Upstream;
  /** TCP connections, in order. */
  readonly sockets: Socket[];
  /** Resolves with what ended the n-th: an error's code, or `FIN`. */
  ended(n: number): Promise<string>;
}

async function openWay(t: TestContext, way: (typeof WAYS)[number], answer: () => string): Promise<Way> {
  const secure = way.startsWith('by TLS');
  const proxied = way.endsWith('proxy');
  const sockets: Socket[] = [];
  const ends: Promise<string>[] = [];
  const serve = (tcp: Socket) => {
    const socket = secure
      ? new TLSSocket(tcp, { isServer: true, key: certificate.key, cert: certificate.cert })
      : tcp;
    socket.on('data', () => socket.write(answer()));
    ends.push(
      new Promise((resolve) => {
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        socket.once('end', () => resolve('FIN'));
      }),
    );
  };
  const server = createServer((socket) => {
    sockets.push(socket);
    if (!proxied) return serve(socket);
    socket.once('data', (words) => {
      assert.match(words.toString(), /^CONNECT bot-api\.test:\d+ /);
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      serve(socket);
    });
  });
  const address = await listen(t, server, sockets);
  const env = proxied ? { HTTP_PROXY: `http://${address}`, HTTPS_PROXY: `http://${address}` } : {};
  // undici reads it from there.
  Object.assign(process.env, env);
  const root = `http${secure ? 's' : ''}://${proxied ? 'bot-api.test:8081' : address}`;
  const upstream = await openUpstream(root, env);
  t.after(() => {
    upstream.close();
    for (const name of Object.keys(env)) delete process.env[name];
  });
  return { upstream, sockets, ended: (n) => within('its end', ends[n]!, 5_000) };
}

async function listen(t: TestContext, server: Server, sockets: readonly Socket[]): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a poll comes to; given up so many ms after it was sent. */
function poll({ polls }: Upstream, abortAfterMs: number | null = null): Promise<string> {
  let text = '';
  return new Promise((resolve) =>
    polls.dispatch(
      { method: 'POST', path: '/bot1:x/getUpdates', headers: [], body: 'timeout=50' },
      {
        onRequestStart(controller) {
          if (abortAfterMs !== null) setTimeout(() => controller.abort(new Error('given up')), abortAfterMs);
        },
        onResponseStart: (_controller, status) => {
          text = `${status} `;
        },
        onResponseData: (_controller, chunk) => {
          text += chunk.toString();
        },
        // The connection is free for the next only then.
        onResponseEnd: () => setImmediate(resolve, text),
        onResponseError: (_controller, error) =>
          resolve((error as NodeJS.ErrnoException).code ?? error.message),
      },
    ),
  );
}

for (const way of WAYS) {
  test(`upstream: ${way}, a poll that is given up resets its connection`, async (t) => {
    let heard = 0;
    const { upstream, sockets, ended } = await openWay(t, way, () => {
      heard += 1;
      return heard === 1 ? '' : ANSWER;
    });
    assert.notEqual(await poll(upstream, 200), '200 ok');
    assert.equal(heard, 1);
    assert.equal(await ended(0), 'ECONNRESET');
    assert.equal(await poll(upstream), '200 ok');
    assert.equal(sockets.length, 2);
  });

  test(`upstream: ${way}, polls share a connection, and it is closed in the ordinary way`, async (t) => {
    const { upstream, sockets, ended } = await openWay(t, way, () => ANSWER);
    for (let i = 0; i < 3; i += 1) assert.equal(await poll(upstream), '200 ok');
    assert.equal(sockets.length, 1);
    upstream.close();
    assert.equal(await ended(0), 'FIN');
  });
}

test('upstream: by TLS, nobody listens', async (t) => {
  const upstream = await openUpstream('https://127.0.0.1:1', {});
  t.after(() => upstream.close());
  assert.equal(await poll(upstream), 'ECONNREFUSED');
});

test('upstream: by TLS, what answers does not speak it', async (t) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}));
    socket.once('data', () => socket.write(ANSWER));
  });
  const upstream = await openUpstream(`https://${await listen(t, server, sockets)}`, {});
  t.after(() => upstream.close());
  assert.match(await poll(upstream), /SSL/);
});

test('upstream: by TLS, a certificate that nobody vouches for', async (t) => {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '1';
  t.after(() => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  });
  const { upstream } = await openWay(t, 'by TLS', () => ANSWER);
  assert.equal(await poll(upstream), 'DEPTH_ZERO_SELF_SIGNED_CERT');
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
});
