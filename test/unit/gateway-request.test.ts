/**
 * What a request to the gateway may ask for, how its poll is read and written anew, what the answer means, and which headers pass:
 * the worker's own token only, in the server's own forms, from programs only.
 */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import {
  downstreamHeaders,
  pollBody,
  READ_BYTES_MAX,
  readArgs,
  readPoll,
  readPollAnswer,
  readSmallBody,
  TooLarge,
  targetOf,
  upstreamHeaders,
} from '../../src/gateway/request.ts';

const TOKEN = '123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0';
const PORT = 4_711;

function ask(url: string, method = 'GET', headers: Record<string, string | undefined> = {}) {
  const all = { host: `127.0.0.1:${PORT}`, ...headers };
  return targetOf({ method, url, headers: all, rawHeaders: ['Host', ''] }, TOKEN, PORT);
}

const seen = (...args: Parameters<typeof ask>) => {
  const it = ask(...args);
  return it.kind === 'refused' ? it.status : it.kind;
};

test('a target: decoded as the server does, written anew, its query untouched', () => {
  const call = (method: string, rest: string, query = '', environment = '') => ({
    kind: 'call',
    method,
    environment,
    rest,
    query,
  });
  const file = { kind: 'file', environment: '', rest: '/photos/a%20b.jpg', query: '?x=1' };
  const at = (path: string) => ask(`/bot${TOKEN}${path}`);
  assert.deepEqual(at('/getUpdates?offset=5&x=%20'), call('getupdates', '/getUpdates', '?offset=5&x=%20'));
  assert.deepEqual(at('/test/getMe'), call('getme', '/getMe', '', '/test'));
  assert.deepEqual(at('/?method=getUpdates'), call('', '/', '?method=getUpdates'));
  assert.deepEqual(at('/%67et%55pdates'), call('getupdates', '/getUpdates'));
  assert.deepEqual(ask(`/bot${TOKEN.replace(':', '%3A')}/getMe`, 'POST'), call('getme', '/getMe'));
  assert.deepEqual(ask(`/file/bot${TOKEN}/photos/a%20b.jpg?x=1`), file);
});

for (const [what, status, urls] of [
  ['no spelling of a method', 404, ['getUpdates%2F..%2FgetMe', 'getUpdates%3Fa=b', 'get%0d%0aUpdates']],
  ['no way up', 404, [`/file/bot${TOKEN}/../../etc/passwd`, `/file/bot${TOKEN}/photos/%2e%2e/x`]],
  ['another path', 404, ['/', '/sandbox/state', `http://127.0.0.1/bot${TOKEN}/getMe`]],
  ['another token', 401, [`/bot${TOKEN}x/getMe`, '/bot1:a/getUpdates']],
] as const)
  test(`${what}: ${status}`, () => {
    for (const url of urls) assert.equal(seen(/^[/h]/.test(url) ? url : `/bot${TOKEN}/${url}`), status, url);
  });

test('verbs that the server does not know: 501, without a body', () => {
  for (const method of ['HEAD', 'OPTIONS', 'PUT', 'DELETE', 'CONNECT'])
    assert.deepEqual(ask(`/bot${TOKEN}/getMe`, method), { kind: 'refused', status: 501, description: '' });
});

test('Host: one, a name of this machine with our port, or none at all (HTTP/1.0); a web page is refused', () => {
  const host = (it: string | undefined) => seen(`/bot${TOKEN}/getMe`, 'GET', { host: it });
  for (const it of ['localhost', `localhost:${PORT}`, 'LOCALHOST', '127.1.2.3', `[::1]:${PORT}`, undefined])
    assert.equal(host(it), 'call', it);
  const strange = [
    'evil.example',
    `127.0.0.1:${PORT + 1}`,
    '127.0.0.1.evil.example',
    '',
    'localhost:',
    '10.0.0.1',
  ];
  for (const it of strange) assert.equal(host(it), 421, it);
  const two = {
    method: 'GET',
    url: '/',
    headers: { host: 'localhost' },
    rawHeaders: ['Host', 'a', 'hOst', 'b'],
  };
  assert.deepEqual((targetOf(two, TOKEN, PORT) as { status?: number }).status, 400);
  for (const origin of ['https://evil.example', 'null', `http://127.0.0.1:${PORT}`, ''])
    assert.equal(seen(`/bot${TOKEN}/getMe`, 'GET', { origin }), 403);
});

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const JSON_TYPE = { 'content-type': 'application/json' };
const read = (query: string, body = '', headers: IncomingMessage['headers'] = FORM) =>
  readArgs(query, Buffer.from(body), headers);
const sent = (body: string) => Object.fromEntries(new URLSearchParams(body));

test('a poll: from the query, a form, JSON, the first of a name wins; other types are ignored', () => {
  for (const [args, offset, timeoutMs] of [
    [read('?offset=5', 'offset=6&timeout=60'), 5, 50_000],
    [read('', '{"offset":-3,"timeout":"20"}', JSON_TYPE), -3, 20_000],
    [read('?offset=0&timeout=-1'), 0, 0],
    [read('?timeout=abc'), null, 0],
    [read('?timeout=7x', '{"offset":9}', { 'content-type': 'text/plain' }), null, 7_000],
  ] as const)
    assert.deepEqual(readPoll(args), { offset, limit: 100, timeoutMs });
});

test('a poll written anew: every parameter as it came, only the timeout another where a part of it has passed', () => {
  const args = read('?offset=7&limit=1&timeout=30&method=getUpdates&x=a%26b%3D%C3%A4');
  assert.deepEqual(sent(pollBody(args, null)), { offset: '7', limit: '1', timeout: '30', x: 'a&b=ä' });
  assert.deepEqual(sent(pollBody(args, 12_999)), { offset: '7', limit: '1', x: 'a&b=ä', timeout: '12' });
  assert.equal(pollBody(read(''), null), '');
  for (const offset of ['99999999999999', ' 5', '+5', '5.9', 'x', ''])
    assert.equal(sent(pollBody(read(`?offset=${encodeURIComponent(offset)}`), 3_000)).offset, offset);
});

test('a body is read whole, up to 1 MiB; a client that leaves in the middle is an error, not half a body', async () => {
  const whole = (...chunks: Buffer[]) => readSmallBody(Readable.from(chunks) as unknown as IncomingMessage);
  assert.equal((await whole(Buffer.from('off'), Buffer.from('set=1'))).toString(), 'offset=1');
  assert.equal((await whole(Buffer.alloc(READ_BYTES_MAX))).length, READ_BYTES_MAX);
  await assert.rejects(whole(Buffer.alloc(READ_BYTES_MAX), Buffer.alloc(1)), TooLarge);
  const body = new Readable({ read() {} });
  const reading = readSmallBody(body as unknown as IncomingMessage);
  body.push('off');
  body.destroy(new Error('aborted'));
  await assert.rejects(reading, /aborted/);
});

const failed = (code: number, description: string, parameters = {}) =>
  JSON.stringify({ ok: false, error_code: code, description, parameters });

for (const [what, status, body, kind, more] of [
  ['updates', 200, '{"ok":true,"result":[{"update_id":7},{"update_id":9}]}', 'updates', { updates: [7, 9] }],
  ['none', 200, '{"ok":true,"result":[]}', 'updates', { updates: [] }],
  [
    'another poller',
    409,
    failed(409, 'Conflict: terminated by other getUpdates request; make …'),
    'conflict',
    {},
  ],
  [
    'another, as of old',
    409,
    failed(409, 'Conflict: terminated by other long poll or webhook'),
    'conflict',
    {},
  ],
  ['a webhook that is set', 409, failed(409, 'Conflict: terminated by setWebhook request'), 'webhook', {}],
  [
    'a webhook',
    409,
    failed(409, "Conflict: can't use getUpdates method while webhook is active; …"),
    'webhook',
    {},
  ],
  ['a pause', 429, failed(429, 'Too Many Requests', { retry_after: 5 }), 'flood', { retryAfterMs: 5_000 }],
  ['a pause of no length', 429, '<html>', 'flood', { retryAfterMs: 1_000 }],
  ['a refusal', 401, failed(401, 'Unauthorized'), 'verdict', { refused: true, problem: 'Unauthorized' }],
  ['what is the worker’s affair', 400, failed(400, 'Logged out'), 'verdict', {}],
  ['not found', 404, failed(404, 'Not Found'), 'verdict', {}],
  ['a front end’s', 502, '<html>Bad Gateway</html>', 'outage', { problem: 'HTTP 502' }],
  ['nothing', 504, '', 'outage', { problem: 'HTTP 504' }],
  [
    'a restart',
    500,
    failed(500, 'Internal Server Error: restart'),
    'outage',
    { problem: 'Internal Server Error: restart' },
  ],
  ['one that is cut off', 200, '{"ok":true,"result":[{"upd', 'outage', { problem: 'HTTP 200' }],
  [
    'one to something else',
    200,
    '{"ok":true,"result":true}',
    'outage',
    { problem: 'an answer that is none to getUpdates' },
  ],
  ['null', 200, 'null', 'outage', { problem: 'HTTP 200' }],
] as const)
  test(`an answer to getUpdates: ${what} (${status}) is ${kind}`, () => {
    const { result, ...rest } = readPollAnswer(status, Buffer.from(body));
    assert.equal(result.kind, kind);
    assert.equal(rest.refused, 'refused' in more);
    const flat: Record<string, unknown> = { ...result, ...rest };
    for (const [name, value] of Object.entries(more)) assert.deepEqual(flat[name], value);
    if (kind !== 'updates') assert.equal(rest.updates, null);
  });

test('headers: all pass but those of one connection, the host, and an expectation that is met', () => {
  const raw = [
    ...['Host', '127.0.0.1:1', 'User-Agent', 'x/1', 'Connection', 'keep-alive', 'Keep-Alive', 'timeout=5'],
    ...['Cookie', 'a', 'Cookie', 'b', 'Content-Length', '5', 'Expect', '100-continue'],
    ...['Transfer-Encoding', 'chunked', 'TE', 'trailers', 'Upgrade', 'h2c', 'Proxy-Authorization', 'Basic x'],
  ];
  const kept = ['User-Agent', 'x/1', 'Cookie', 'a', 'Cookie', 'b', 'Content-Length', '5'];
  assert.deepEqual(upstreamHeaders(raw), kept);
  const named = ['X-Hop', '1', 'X-Kept', '2', 'connection', 'close, X-HOP ,x-other', 'X-Other', '3'];
  assert.deepEqual(upstreamHeaders(named), ['X-Kept', '2']);
  const answer = ['Retry-After', '5', 'X-\xe9', '1', 'Connection', 'close', 'Transfer-Encoding', 'chunked'];
  assert.deepEqual(downstreamHeaders(answer), ['Retry-After', '5', 'X-\xe9', '1']);
});
