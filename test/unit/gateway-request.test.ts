/**
 * How a request is read, by gateway and sandbox: path, parameters, bodies; and what one to the gateway may ask for, how its poll is
 * written anew.
 */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import {
  booleanArg,
  createArgs,
  integerArg,
  readArgs,
  readBody,
  routeOf,
  splitTarget,
} from '../../src/gateway/params.ts';
import { pollBody, readPoll, targetOf } from '../../src/gateway/request.ts';

const api = (token: string, method: string, isTest = false) => ({ kind: 'api', token, test: isTest, method });
const NONE = { kind: 'none', description: 'Not Found' };
const WHOLE_URL = 'Not Found: absolute URI is specified in the Request-Line';

test('paths, as the Bot API server takes them', () => {
  for (const [target, expected] of [
    ['/bot1:a/getMe', api('1:a', 'getMe')],
    ['/bot1%3Aa/get%4De?x=1', api('1:a', 'getMe')],
    ['/bot1:a/test/getMe', api('1:a', 'getMe', true)],
    ['/bot1:a/', api('1:a', '')],
    ['/bot1:a/getMe/x', api('1:a', 'getMe/x')],
    ['/bot1:a/getMe#f', api('1:a', 'getMe')],
    ['/bot/getMe', api('', 'getMe')],
    ['/file/bot1:a/documents/x.txt', { kind: 'file', token: '1:a', test: false, path: 'documents/x.txt' }],
    ['/sandbox/log', { kind: 'control', path: '/log' }],
    ['http://h/bot1:a/getMe', { kind: 'none', description: WHOLE_URL }],
    ...['/bot1:a', '/bot1:a/test', '/bot1:a/testing', '/bots1:a'].map((it) => [it, NONE] as const),
    ...['/', '/api/bot1:a/getMe', '/BOT1:a/getMe'].map((it) => [it, NONE] as const),
  ] as const)
    assert.deepEqual(routeOf(splitTarget(target).path), expected, target);
  assert.equal(splitTarget('/%zz%4%C3%A4%').path, '/%zz%4ä%');
  assert.deepEqual(splitTarget('/a+b?c+d=%20?#e'), { path: '/a+b', query: 'c+d=%20?#e' });
});

test('integers are leading digits, clamped; true, yes and 1 are true', () => {
  for (const [text, expected] of Object.entries({
    ...{ '5': 5, '-7': -7, '30.9': 30, '12abc': 12, abc: 0, ' 5': 0, '+5': 0, '-': 0, '': 42 },
    '99999999999999': 2_147_483_647,
  }))
    assert.equal(integerArg(createArgs({ n: text }), 'n', 42), expected, text);
  assert.equal(integerArg(createArgs({ n: '500' }), 'n', 5, 1, 100), 100);
  for (const [text, expected] of [
    ...['true', 'TRUE', ' yes\n', '1'].map((it) => [it, true] as const),
    ...['', 'on', '2', 'false', 'y'].map((it) => [it, false] as const),
  ])
    assert.equal(booleanArg(createArgs({ b: text }), 'b'), expected, text);
});

const FORM = 'application/x-www-form-urlencoded';
const MULTIPART = 'multipart/form-data; boundary=b';
const headed = (type: string, encoding?: string) => ({
  ...(type && { 'content-type': type }),
  ...(encoding && { 'content-encoding': encoding }),
});
const read = (query: string, body = '', type = FORM) =>
  readArgs(query, Buffer.from(body, 'latin1'), headed(type));
const part = (head: string, content: string) =>
  `--b\r\nContent-Disposition: form-data; ${head}\r\n\r\n${content}\r\n`;

const parts = (...all: string[]) =>
  `${all.map((head, at) => (at % 2 === 0 ? part(head, all[at + 1]!) : '')).join('')}--b--`;

test('parameters: the first of a name wins, what is no string keeps its JSON text, another type is ignored', () => {
  for (const [args, expected] of [
    [read('a=1&a=2&b=x+y%2B&c&d==e&q=%zz%'), { a: '1', b: 'x y+', c: '', d: '=e', q: '%zz%' }],
    [read('a=1', 'a=2&b=3'), { a: '1', b: '3' }],
    [
      read(
        '',
        '{"a": 30, "b": "x\\n", "c": [1,"x"], "d":{"e":null},"f":true}',
        'Application/JSON; charset=x',
      ),
      { a: '30', b: 'x\n', c: '[1,"x"]', d: '{"e":null}', f: 'true' },
    ],
    ...['', 'nonsense', '[1]', '5', '{', '{a:1}', '{"a":1,', 'null', '"x"'].map(
      (it) => [read('', it, 'application/json'), {}] as const,
    ),
    ...['text/plain;charset=UTF-8', 'image/png', ''].map((type) => [read('', '{"a":1}', type), {}] as const),
    [read('', parts('name="a"', '1', 'name=a', '2', 'name="e"', ''), MULTIPART), { a: '1', e: '' }],
    [read('', `x\r\n${part('name="a"', '1')}--b--y`, 'multipart/form-data; boundary="b"; x=y'), { a: '1' }],
  ] as const)
    assert.deepEqual(Object.fromEntries(args.entries()), expected);
  const bytes = '\x00\xff--b-\r\n';
  const { files } = read(
    '',
    `${part('name="f"; filename="x.bin"\r\nContent-Type: image/png', bytes)}${part('filename=y; name=g', '')}--b--`,
    MULTIPART,
  );
  assert.deepEqual(files, [
    { field: 'f', fileName: 'x.bin', contentType: 'image/png', bytes: Buffer.from(bytes, 'latin1') },
    { field: 'g', fileName: 'y', contentType: 'application/octet-stream', bytes: Buffer.alloc(0) },
  ]);
});

test('a body is read whole, or not at all', async () => {
  const whole = (...chunks: Buffer[]) => readBody(Readable.from(chunks) as unknown as IncomingMessage, 10);
  assert.equal((await whole(Buffer.from('off'), Buffer.from('set=1'))).toString(), 'offset=1');
  const body = new Readable({ read() {} });
  const reading = readBody(body as unknown as IncomingMessage, 10);
  body.push('off');
  body.destroy(new Error('aborted'));
  await assert.rejects(reading, /aborted/);
});

const TOKEN = '123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0';
const ask = (url: string, method = 'GET', headers: Record<string, string | undefined> = {}) =>
  targetOf({ method, headers: { host: '127.0.0.1:4711', ...headers } }, { by: 'plain', url }, TOKEN);
const seen = (...args: Parameters<typeof ask>) => {
  const it = ask(...args);
  return it.kind === 'refused' ? it.status : it.kind;
};

test('a target: decoded as the server does, written anew, its query untouched', () => {
  const call = (method: string, rest: string, query = '', environment = '') => ({
    ...{ kind: 'call', method, environment, rest, query },
  });
  const at = (path: string) => ask(`/bot${TOKEN}${path}`);
  const asked = 'offset=5&x=%20';
  assert.deepEqual(at(`/getUpdates?${asked}`), call('getupdates', `/getUpdates?${asked}`, asked));
  assert.deepEqual(at('/test/getMe'), call('getme', '/test/getMe', '', '/test'));
  assert.deepEqual(ask(`/bot${TOKEN.replace(':', '%3A')}/getMe`, 'POST'), call('getme', '/getMe'));
  const file = ask(`/file/bot${TOKEN}/photos/a%20b.jpg?x=1`);
  assert.deepEqual([file.kind, 'rest' in file && file.rest], ['file', '/photos/a%20b.jpg?x=1']);
});

for (const [what, status, urls] of [
  ['no spelling of a method', 404, ['', 'getUpdates%2F..%2FgetMe']],
  ['no way up', 404, [`/file/bot${TOKEN}/../../etc/passwd`, `/file/bot${TOKEN}/photos/%2e%2e/x`]],
  ['another path', 404, ['/', '/sandbox/state', `http://127.0.0.1/bot${TOKEN}/getMe`]],
  ['another token', 401, [`/bot${TOKEN}x/getMe`, '/bot1:a/getUpdates']],
] as const)
  test(`${what}: ${status}`, () => {
    for (const url of urls) assert.equal(seen(/^[/h]/.test(url) ? url : `/bot${TOKEN}/${url}`), status, url);
  });

test('only GET and POST, by a name of this machine or none at all (HTTP/1.0), never for a web page', () => {
  for (const method of ['HEAD', 'OPTIONS', 'PUT', 'CONNECT'])
    assert.deepEqual([seen(`/bot${TOKEN}/getMe`, method), seen('/', method)], [501, 404]);
  const host = (it: string | undefined) => seen(`/bot${TOKEN}/getMe`, 'GET', { host: it });
  for (const it of ['localhost', 'LOCALHOST:4711', '127.1.2.3', '[::1]:4711', undefined])
    assert.equal(host(it), 'call', it);
  for (const it of ['evil.example', '127.0.0.1.evil.example', '', 'localhost:', '10.0.0.1'])
    assert.equal(host(it), 421, it);
  for (const origin of ['https://evil.example', 'null', 'http://127.0.0.1:4711', ''])
    assert.equal(seen(`/bot${TOKEN}/getMe`, 'GET', { origin }), 403);
});

const sent = (body: string) => Object.fromEntries(new URLSearchParams(body));

test('a poll: its offset, limit and timeout, clamped as the server does', () => {
  for (const [args, offset, timeoutMs, limit = 100] of [
    [read('offset=5', 'offset=6&timeout=60'), 5, 50_000],
    [read('', '{"offset":-3,"timeout":"20","limit":1}', 'application/json'), -3, 20_000, 1],
    [read('offset=0&timeout=-1&limit=999'), 0, 0],
    [read('timeout=7x'), null, 7_000],
  ] as const)
    assert.deepEqual(readPoll(args), { offset, limit, timeoutMs });
});

test('a poll written anew: every parameter as it came, but for the timeout that is left', () => {
  const args = read('offset=7&limit=1&timeout=30&x=a%26b%3D%C3%A4');
  assert.deepEqual(sent(pollBody(args, 12_999)), { offset: '7', limit: '1', x: 'a&b=ä', timeout: '12' });
  assert.equal(pollBody(read(''), 0), 'timeout=0');
  for (const offset of ['99999999999999', ' 5', '+5', '5.9', 'x', ''])
    assert.equal(sent(pollBody(read(`offset=${encodeURIComponent(offset)}`), 3_000)).offset, offset);
});
