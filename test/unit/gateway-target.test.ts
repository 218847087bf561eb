/** What a request to the gateway may ask for: the worker's own token only, in the server's own forms, from programs only. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Head, targetOf } from '../../src/gateway/target.ts';

const TOKEN = '123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0';
const PORT = 4_711;

function ask(target: string, head: Partial<Head> = {}) {
  return targetOf(
    { method: 'GET', target, host: `127.0.0.1:${PORT}`, origin: undefined, ...head },
    TOKEN,
    PORT,
  );
}

const status = (target: string, head?: Partial<Head>) => {
  const it = ask(target, head);
  return it.kind === 'refused' ? it.status : it.kind;
};

test('a call: its method in lower case, its path as it came, its query untouched', () => {
  assert.deepEqual(ask(`/bot${TOKEN}/getUpdates?offset=5&x=%20`), {
    kind: 'call',
    method: 'getupdates',
    environment: '',
    rest: '/getUpdates',
    query: '?offset=5&x=%20',
  });
});

test('the test environment, the encoded colon, POST, and a method that a parameter names', () => {
  const it = ask(`/bot${TOKEN}/test/getMe`, { method: 'POST' });
  assert.ok(it.kind === 'call' && it.environment === '/test' && it.rest === '/getMe');
  assert.equal(status(`/bot${TOKEN.replace(':', '%3A')}/getMe`), 'call');
  const named = ask(`/bot${TOKEN}/?method=getUpdates`);
  assert.ok(named.kind === 'call' && named.method === '' && named.rest === '/');
});

test('no spelling of a method passes unseen: paths are decoded first', () => {
  const it = ask(`/bot${TOKEN}/%67et%55pdates`);
  assert.ok(it.kind === 'call' && it.method === 'getupdates' && it.rest === '/getUpdates');
  assert.equal(status(`/bot${TOKEN}/getUpdates%2F..%2FgetMe`), 404);
  assert.equal(status(`/bot${TOKEN}/getUpdates%3Fa=b`), 404);
  assert.equal(status(`/bot${TOKEN}/get%0d%0aUpdates`), 404);
});

test('files: each part encoded anew, and no way up', () => {
  const it = ask(`/file/bot${TOKEN}/photos/a%20b.jpg?x=1`);
  assert.deepEqual(it, { kind: 'file', environment: '', rest: '/photos/a%20b.jpg', query: '?x=1' });
  assert.equal(status(`/file/bot${TOKEN}/../../etc/passwd`), 404);
  assert.equal(status(`/file/bot${TOKEN}/photos/%2e%2e/x`), 404);
});

test('another token: 401; another path: 404', () => {
  assert.equal(status(`/bot${TOKEN}x/getMe`), 401);
  assert.equal(status('/bot1:a/getUpdates'), 401);
  assert.equal(status('/'), 404);
  assert.equal(status('/sandbox/state'), 404);
  assert.equal(status(`http://127.0.0.1/bot${TOKEN}/getMe`), 404);
});

test('verbs that the server does not know: 501, without a body', () => {
  for (const method of ['HEAD', 'OPTIONS', 'PUT', 'DELETE', 'CONNECT'])
    assert.deepEqual(ask(`/bot${TOKEN}/getMe`, { method }), {
      kind: 'refused',
      status: 501,
      description: '',
    });
});

test('Host: a name of this machine with our port, or none at all (HTTP/1.0)', () => {
  for (const host of [
    'localhost',
    `localhost:${PORT}`,
    'LOCALHOST',
    '127.0.0.1',
    '127.1.2.3',
    `[::1]:${PORT}`,
    undefined,
  ])
    assert.equal(status(`/bot${TOKEN}/getMe`, { host }), 'call', host);
  for (const host of [
    'evil.example',
    `evil.example:${PORT}`,
    `127.0.0.1:${PORT + 1}`,
    '127.0.0.1.evil.example',
    '',
    'localhost:',
    '10.0.0.1',
  ])
    assert.equal(status(`/bot${TOKEN}/getMe`, { host }), 421, host);
});

test('a web page, which names its origin, is refused, whatever it is', () => {
  for (const origin of ['https://evil.example', 'null', `http://127.0.0.1:${PORT}`, ''])
    assert.equal(status(`/bot${TOKEN}/getMe`, { origin }), 403);
});
