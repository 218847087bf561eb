// Readers of the health endpoint that are slow, many, huge or broken: supervision goes on, and a health check gets through.
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { code, get, httpPort } from '../support/http.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { until } from '../support/wait.ts';

interface Stage {
  b: Bed;
  run: Running;
  port: number;
  /** A connection that sends this and ends with the test. */
  dial(text: string): Socket;
}

async function stage(t: TestContext): Promise<Stage> {
  const b = await bed(t);
  const run = await b.polling(['--http', '0', '--', ...node('polite.mjs')]);
  const port = await httpPort(run);
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  return {
    ...{ b, run, port },
    dial(text) {
      const socket = connect(port, '127.0.0.1');
      sockets.push(socket);
      socket.on('error', () => {});
      socket.write(text);
      return socket;
    },
  };
}

/** The worker still gets what users send, the same one as at first, and `status` answers. */
async function assertServed({ b, run }: Stage): Promise<void> {
  const id = b.sandbox.text('are you there?');
  await until(
    'the worker to get an update',
    () => b.journal().some((it) => it.ev === 'update' && it.id === id),
    {
      ms: 5_000,
      seen: run.seen,
    },
  );
  assert.equal((await b.status()).state, 'polling');
  assert.equal(starts(b.journal()).length, 1, 'the first worker');
  assert.equal(run.ended(), null);
  assertNeverTwo(b);
}

/** Everything that comes until the end of the connection. */
function answerOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('close', () => resolve(text));
  });
}

test('http: a crowd of connections that never ask does not keep a health check out', async (t) => {
  const s = await stage(t);
  const idle = Array.from({ length: 400 }, () => s.dial('GET /metrics HTTP/1.1\r\nX-Slow: '));
  const drip = s.dial('GET /metrics HTTP/1.1\r\nX-Drip: ');
  const dripping = setInterval(() => drip.write('x'), 250);
  t.after(() => clearInterval(dripping));
  await until('most of the crowd to be sent away again', () => idle.filter((it) => it.closed).length >= 300);
  for (let i = 0; i < 5; i++) assert.equal(await code(s.port, '/healthz'), 200);
  await assertServed(s);
  await until('the rest to be sent away for its slowness', () => [...idle, drip].every((it) => it.closed), {
    ms: 15_000,
  });
});

test('http: heads that are huge, endless or no HTTP are refused; bodies are not waited for', async (t) => {
  const s = await stage(t);
  const huge = s.dial(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(1_000_000)}\r\n\r\n`);
  assert.match(await answerOf(huge), /^(HTTP\/1\.1 431 |$)/);
  const long = s.dial(`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  assert.match(await answerOf(long), /^HTTP\/1\.1 431 /);
  assert.match(await answerOf(s.dial('\x16\x03\x01\x02\x00\x01garbage\r\n\r\n')), /^HTTP\/1\.1 400 /);
  const upload = s.dial('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nabc');
  assert.match(await answerOf(upload), /^HTTP\/1\.1 405 /);
  const chunked = s.dial(
    'GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n',
  );
  assert.match(await answerOf(chunked), /^HTTP\/1\.1 200 /);
  const many = s.dial('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(2_000));
  assert.equal((await answerOf(many)).split('HTTP/1.1 200 ').length - 1, 1, 'one connection is one answer');
  assert.doesNotMatch(await answerOf(s.dial('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n')), /^HTTP\/1\.1 2/);
  const old = await answerOf(s.dial('GET /healthz HTTP/1.0\r\n\r\n'));
  assert.match(old, /^HTTP\/1\.1 200 /, 'without a Host, as probes of load balancers do');
  const both = s.dial(
    'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  );
  assert.match(await answerOf(both), /^HTTP\/1\.1 400 /);
  await assertServed(s);
});

test('http: a flood is answered, and the worker goes on', async (t) => {
  const s = await stage(t);
  let answers = 0;
  const flood = async (path: string) => {
    for (let i = 0; i < 100; i++) {
      const { status } = await get(s.port, path).catch(() => ({ status: 0 }));
      if (status === 200) answers += 1;
    }
  };
  const paths = ['/', '/metrics', '/readyz', '/?refresh=off'];
  const floods = Promise.all([...paths, ...paths, ...paths].map(flood));
  await assertServed(s);
  await floods;
  assert.ok(answers > 1_000, `${answers} answers`);
  await assertServed(s);
});

test('http: a stop does not wait for readers', async (t) => {
  const s = await stage(t);
  const readers = Array.from({ length: 20 }, () => s.dial('GET / HTTP/1.1\r\n'));
  await until('them to be connected', () => readers.every((it) => it.readyState === 'open'));
  s.run.signal('SIGTERM');
  assert.equal((await s.run.exit()).code, 0, s.run.seen());
});
