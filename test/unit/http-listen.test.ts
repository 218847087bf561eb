/** The listening socket of the health endpoint: what cannot be seen from outside of the process. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { listenHttp } from '../../src/http/listen.ts';
import type { Answered } from '../../src/http/respond.ts';

const OK: Answered = { status: 200, headers: { 'Content-Type': 'text/plain' }, body: 'é\n' };

async function open(t: TestContext, answer: () => Answered): Promise<(text: string) => Promise<string>> {
  const listening = await listenHttp({ host: '127.0.0.1', port: 0 }, answer);
  t.after(() => listening.close());
  return (text) =>
    new Promise((resolve) => {
      const socket = connect(listening.address.port, '127.0.0.1');
      let got = '';
      socket.on('data', (chunk) => {
        got += chunk.toString();
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(got));
      socket.write(text);
    });
}

test('what is sent behind the first request is not even looked up', async (t) => {
  let looked = 0;
  const ask = await open(t, () => {
    looked += 1;
    return OK;
  });
  await ask('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(500));
  assert.equal(looked, 1);
});

test('lengths are in bytes; a HEAD has the length and no body', async (t) => {
  const ask = await open(t, () => OK);
  assert.match(await ask('GET / HTTP/1.1\r\n\r\n'), /Content-Length: 3\r\n.*\r\n\r\né\n$/s);
  assert.match(await ask('HEAD / HTTP/1.1\r\n\r\n'), /Content-Length: 3\r\n.*\r\n\r\n$/s);
});

test('a mistake of ours is a 500 without a word of what it was, and the next one is answered', async (t) => {
  let first = true;
  const ask = await open(t, () => {
    if (!first) return OK;
    first = false;
    throw new Error('secret');
  });
  const failed = await ask('GET / HTTP/1.1\r\n\r\n');
  assert.match(failed, /^HTTP\/1\.1 500 /);
  assert.doesNotMatch(failed, /secret/);
  assert.match(await ask('GET / HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 200 /);
});

test('a port that is taken rejects with the code of the system', async (t) => {
  const first = await listenHttp({ host: '127.0.0.1', port: 0 }, () => OK);
  t.after(() => first.close());
  await assert.rejects(
    listenHttp(first.address, () => OK),
    { code: 'EADDRINUSE' },
  );
});
