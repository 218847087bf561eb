/**
 * How a request is read: paths, tokens, parameters, bodies; and the lines typed at a sandbox. All pure.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import {
  addBody,
  addFormParams,
  addJsonParams,
  booleanArg,
  createArgs,
  integerArg,
  routeOf,
  splitTarget,
  UnreadableRequest,
} from '../../src/gateway/params.ts';
import { CONSOLE_HELP, parseLine } from '../../src/sandbox/console.ts';
import { createFaults, parseFault } from '../../src/sandbox/faults.ts';
import { maxOpenPolls, type RequestRecord } from '../../src/sandbox/request-log.ts';
import { checkToken, randomToken } from '../../src/sandbox/token.ts';

const SECRET = 'AAbcdefghijklmnopqrstuvwxyz01234567';

describe('path', () => {
  const notFound = { kind: 'none', description: 'Not Found' };
  const api = (token: string, method: string, test = false) => ({ kind: 'api', token, test, method });
  for (const [target, expected] of [
    ['/bot1:a/getMe', api('1:a', 'getMe')],
    ['/bot1%3Aa/getMe?x=1', api('1:a', 'getMe')],
    ['/bot1%3aa/get%4De', api('1:a', 'getMe')],
    ['/bot1:a/test/getMe', api('1:a', 'getMe', true)],
    ['/bot1:a/', api('1:a', '')],
    ['/bot1:a/test/', api('1:a', '', true)],
    ['/bot1:a/getMe/x', api('1:a', 'getMe/x')],
    ['/bot1:a/getMe#f', api('1:a', 'getMe')],
    ['/bot/getMe', api('', 'getMe')],
    ['/bot1:a', notFound],
    ['/bot1:a/test', notFound],
    ['/bot1:a/testing', notFound],
    ['/', notFound],
    ['/bots1:a', notFound],
    ['/api/bot1:a/getMe', notFound],
    ['/BOT1:a/getMe', notFound],
    ['/file/bot1:a/documents/x.txt', { kind: 'file', token: '1:a', test: false, path: 'documents/x.txt' }],
    ['/sandbox', { kind: 'control', path: '' }],
    ['/sandbox/log', { kind: 'control', path: '/log' }],
    [
      'http://h/bot1:a/getMe',
      { kind: 'none', description: 'Not Found: absolute URI is specified in the Request-Line' },
    ],
  ] as const)
    it(target, () => assert.deepEqual(routeOf(splitTarget(target).path), expected));

  it('leaves broken escapes alone and decodes UTF-8', () => {
    assert.equal(splitTarget('/%zz%4%C3%A4%').path, '/%zz%4ä%');
    assert.deepEqual(splitTarget('/a+b?c+d=%20#e'), { path: '/a+b', query: 'c+d=%20#e' });
  });
});

describe('token', () => {
  const invalid = { ok: false, status: 401, description: 'Unauthorized: invalid token specified' };
  const unallowed = {
    ok: false,
    status: 421,
    description: 'Misdirected Request: unallowed token specified',
  };
  const unauthorized = { ok: false, status: 401, description: 'Unauthorized' };
  for (const [token, expected] of [
    [`123:${SECRET}`, { ok: true, botId: 123 }],
    [`0123:${SECRET}`, invalid],
    [`123:${'a'.repeat(77)}`, invalid],
    [`123:${'a'.repeat(76)}`, { ok: true, botId: 123 }],
    [`123:a/${SECRET}`, invalid],
    ['123', invalid],
    ['', invalid],
    [`abc:${SECRET}`, unallowed],
    [`:${SECRET}`, unallowed],
    [`12a:${SECRET}`, unallowed],
    [`+12:${SECRET}`, unallowed],
    [`-12:${SECRET}`, invalid],
    [`${2n ** 54n}:${SECRET}`, invalid],
    ['123:short', unauthorized],
    [`123:${'a'.repeat(23)}`, unauthorized],
    [`123:${'a'.repeat(24)}`, { ok: true, botId: 123 }],
    [`123:${SECRET.slice(1)}!`, unauthorized],
    ['0x:/', invalid],
    ['abc:short', unallowed],
  ] as const)
    it(`${token.slice(0, 12)} (${token.length})`, () => assert.deepEqual(checkToken(token), expected));

  it('random ones are well formed and look real', () => {
    for (let i = 0; i < 200; i++) {
      const token = randomToken();
      assert.match(token, /^[1-9]\d{8,9}:[A-Za-z0-9_-]{35}$/);
      assert.ok(checkToken(token).ok);
    }
  });
});

describe('integers and booleans', () => {
  for (const [text, expected] of [
    ['5', 5],
    ['-7', -7],
    ['30.9', 30],
    ['12abc', 12],
    ['abc', 0],
    [' 5', 0],
    ['+5', 0],
    ['-', 0],
    ['', 42],
    ['99999999999999', 2_147_483_647],
  ] as const)
    it(`integer '${text}' → ${expected}`, () =>
      assert.equal(integerArg(createArgs({ n: text }), 'n', 42), expected));

  it('clamps', () => {
    assert.equal(integerArg(createArgs({ n: '0' }), 'n', 5, 1, 100), 1);
    assert.equal(integerArg(createArgs({ n: '500' }), 'n', 5, 1, 100), 100);
  });

  it('true, yes and 1, trimmed, in any case', () => {
    for (const text of ['true', 'TRUE', ' yes\n', '1'])
      assert.ok(booleanArg(createArgs({ b: text }), 'b'), text);
    for (const text of ['', 'on', '2', 'false', 'y'])
      assert.ok(!booleanArg(createArgs({ b: text }), 'b'), text);
  });
});

const read = (act: (args: ReturnType<typeof createArgs>) => void) => {
  const args = createArgs();
  act(args);
  return Object.fromEntries(args.entries());
};
const json = (text: string) => read((args) => addJsonParams(text, args));

describe('form parameters', () => {
  it('first occurrence wins, plus is a space, values may hold =', () => {
    assert.deepEqual(
      read((args) => addFormParams('a=1&a=2&b=x+y%2B&c&d==e&=f', args)),
      { a: '1', b: 'x y+', c: '', d: '=e', '': 'f' },
    );
  });
});

describe('JSON parameters', () => {
  it('keeps the JSON text of what is no string', () => {
    assert.deepEqual(
      json(' {"a": 30, "b": "30", "c": [1, "x"] , "d":{"e":null},"f":true,"g":12345678901234567890} '),
      { a: '30', b: '30', c: '[1, "x"]', d: '{"e":null}', f: 'true', g: '12345678901234567890' },
    );
  });

  it('first of two equal names wins', () => assert.deepEqual(json('{"a":1,"a":2}'), { a: '1' }));
  it('decodes strings', () => assert.deepEqual(json('{"a":"x\\n\\u00e4\\"\n"}'), { a: 'x\nä"\n' }));
  it('keeps what came before a mistake', () => {
    assert.deepEqual(json('{"a":1,"b":}'), { a: '1' });
    assert.deepEqual(json('{"a":1 "b":2}'), { a: '1' });
    assert.deepEqual(json('{"a":1,'), { a: '1' });
    assert.deepEqual(json('{"a":[1,{"b":}]}'), {});
  });
  it('ignores what is no object', () => {
    for (const text of ['', 'nonsense', '[1]', '5', '{', '{a:1}']) assert.deepEqual(json(text), {}, text);
  });
  it('takes a bare string as content', () => assert.deepEqual(json('"hello"'), { content: 'hello' }));
  it('survives deep nesting', () => assert.deepEqual(json(`{"a":${'['.repeat(5000)}`), {}));
});

describe('body', () => {
  const body = (content: string | Buffer, type: string | undefined, encoding?: string) =>
    read((args) =>
      addBody(
        Buffer.from(content),
        { ...(type && { 'content-type': type }), ...(encoding && { 'content-encoding': encoding }) },
        args,
      ),
    );
  const unreadable = (act: () => unknown, status: number) =>
    assert.throws(act, (error) => error instanceof UnreadableRequest && error.status === status);

  it('picks the parser by a type found anywhere in the header', () => {
    assert.deepEqual(body('a=1', 'application/x-www-form-urlencoded'), { a: '1' });
    assert.deepEqual(body('{"a":1}', 'Application/JSON; charset=utf-8'), { a: '1' });
  });

  it('ignores any other type, or none, without a word', () => {
    for (const type of ['text/plain;charset=UTF-8', 'application/octet-stream', undefined])
      assert.deepEqual(body('{"a":1}', type), {});
    assert.deepEqual(body('a=1', 'application/json'), {});
  });

  it('undoes gzip and deflate', () => {
    assert.deepEqual(body(gzipSync('{"a":1}'), 'application/json', 'gzip'), { a: '1' });
    assert.deepEqual(body(deflateSync('{"a":1}'), 'application/json', 'Deflate'), { a: '1' });
  });

  it('refuses broken and unknown encodings', () => {
    unreadable(() => body('xxxx', 'application/json', 'gzip'), 400);
    unreadable(() => body(deflateRawSync('{}'), 'application/json', 'deflate'), 400);
    unreadable(() => body('{}', 'application/json', 'br'), 415);
  });

  const multipart = (parts: string, boundary = 'b', header = `multipart/form-data; boundary=${boundary}`) => {
    const args = createArgs();
    addBody(Buffer.from(parts.replaceAll('\n', '\r\n'), 'latin1'), { 'content-type': header }, args);
    return { params: Object.fromEntries(args.entries()), files: args.files };
  };

  it('reads multipart fields and files, bytes untouched', () => {
    const { params, files } = multipart(
      'preamble\n--b\nContent-Disposition: form-data; name="a"\n\n1\n--b\ncontent-disposition: form-data; name=a\n\n2\n' +
        '--b\nContent-Disposition: form-data; name="f"; filename="x.bin"\nContent-Type: image/png\n\n\x00\xff--b-\n--b\n' +
        'Content-Disposition: form-data; name="e"\n\n\n--b--\nepilogue',
    );
    assert.deepEqual(params, { a: '1', e: '' });
    assert.equal(files.length, 1);
    assert.deepEqual(files[0], {
      field: 'f',
      fileName: 'x.bin',
      contentType: 'image/png',
      bytes: Buffer.from('\x00\xff--b-', 'latin1'),
    });
  });

  it('takes a part that is itself a form as parameters', () => {
    const { params } = multipart(
      '--b\nContent-Disposition: form-data; name="x"\nContent-Type: application/x-www-form-urlencoded\n\na=1&b=2\n--b--',
    );
    assert.deepEqual(params, { a: '1', b: '2' });
  });

  it('reads a quoted boundary and refuses a missing one', () => {
    const part = '--b\nContent-Disposition: form-data; name="a"\n\n1\n--b--';
    assert.deepEqual(multipart(part, 'b', 'multipart/form-data; boundary="b"; x=y').params, { a: '1' });
    unreadable(() => multipart(part, 'b', 'multipart/form-data'), 400);
    unreadable(() => multipart(part, 'b', 'multipart/form-data; boundary='), 400);
    unreadable(() => multipart(part, 'b'.repeat(71)), 400);
    unreadable(() => multipart('--b\nContent-Disposition: form-data\n\n1\n--b--'), 400);
  });
});

describe('faults', () => {
  it('strike by method and bot, in order, as often as asked', () => {
    const faults = createFaults();
    faults.add({ kind: 'hang', method: 'GETUPDATES', bot: 5, count: 2 });
    faults.add({ kind: 'reset', count: 0 });
    assert.equal(faults.strike('getUpdates', 6)?.kind, 'reset');
    assert.equal(faults.strike('getUpdates', 5)?.kind, 'hang');
    assert.equal(faults.strike('getMe', 5)?.kind, 'reset');
    assert.equal(faults.strike('getUpdates', 5)?.kind, 'hang');
    assert.equal(faults.strike('getUpdates', 5)?.kind, 'reset');
    assert.deepEqual(
      faults.list().map(({ kind, count }) => [kind, count]),
      [['reset', 0]],
    );
    faults.clear();
    assert.equal(faults.strike('getMe', 5), null);
  });

  it('strike once by default', () => {
    const faults = createFaults();
    faults.add({ kind: 'status' });
    assert.ok(faults.strike('x', 1));
    assert.equal(faults.strike('x', 1), null);
  });

  it('are checked when they come as JSON', () => {
    for (const bad of [null, 5, {}, { kind: 'x' }, { kind: 'hang', count: -1 }, { kind: 'hang', method: 5 }])
      assert.equal(typeof parseFault(bad), 'string', JSON.stringify(bad));
    assert.equal(typeof parseFault({ kind: 'status', status: 999 }), 'string');
    assert.equal(typeof parseFault({ kind: 'slow', ms: '5' }), 'string');
    assert.equal(typeof parseFault({ kind: 'slow', ms: 5, bot: 7 }), 'object');
  });
});

describe('console', () => {
  const fault = (wanted: object) => ({
    kind: 'fault',
    fault: { method: undefined, bot: undefined, ...wanted },
  });
  for (const [line, expected] of [
    ['', { kind: 'nothing' }],
    ['   ', { kind: 'nothing' }],
    ['hello there', { kind: 'text', bot: null, text: 'hello there' }],
    ['/ping', { kind: 'text', bot: null, text: '/ping' }],
    ['@77 /ping', { kind: 'text', bot: 77, text: '/ping' }],
    ['@somebody hi', { kind: 'text', bot: null, text: '@somebody hi' }],
    ['!!x', { kind: 'text', bot: null, text: '!x' }],
    ['{"message":{}}', { kind: 'update', bot: null, update: { message: {} } }],
    ['!502 getUpdates 5', fault({ kind: 'status', status: 502, method: 'getUpdates', count: 5 })],
    ['!500', fault({ kind: 'status', status: 500, count: 1 })],
    ['!401 getMe *', fault({ kind: 'status', status: 401, method: 'getMe', count: 0 })],
    ['!429 3', fault({ kind: 'retry-after', retryAfter: 3 })],
    ['!429 sendMessage 7', fault({ kind: 'retry-after', retryAfter: 7, method: 'sendMessage' })],
    ['!hang', fault({ kind: 'hang', count: 1 })],
    ['@77 !reset getUpdates', fault({ kind: 'reset', method: 'getUpdates', bot: 77, count: 1 })],
    ['!garbage 2', fault({ kind: 'garbage', count: 2 })],
    ['!gone deleteWebhook', fault({ kind: 'gone', method: 'deleteWebhook', count: 1 })],
    ['!html *', fault({ kind: 'html', count: 0 })],
    ['!slow 250 getMe', fault({ kind: 'slow', ms: 250, method: 'getMe' })],
    ['!clear', { kind: 'clear' }],
    ['!webhook https://a.example/x', { kind: 'webhook', bot: null, url: 'https://a.example/x' }],
    ['!webhook', { kind: 'webhook', bot: null, url: '' }],
    ['!rival 20', { kind: 'rival', bot: null, seconds: 20 }],
    ['!RIVAL', { kind: 'rival', bot: null, seconds: 10 }],
    ['@5 !revoke', { kind: 'revoke', bot: 5 }],
    ['!log', { kind: 'log', count: 10 }],
    ['!sent 3', { kind: 'sent', count: 3 }],
    ['!bots', { kind: 'bots' }],
    ['!bot', { kind: 'add-bot' }],
    ['!help', { kind: 'help' }],
  ] as const)
    it(`'${line}'`, () => assert.deepEqual(parseLine(line), expected));

  it('says what it does not understand', () => {
    for (const line of ['!nonsense', '!200', '!700', '!', '{broken', '!502 get-Updates'])
      assert.equal(parseLine(line).kind, 'error', line);
  });

  it('explains every command that it knows', () => {
    for (const [, name] of CONSOLE_HELP.matchAll(/!([a-z0-9]+)/g))
      assert.notEqual(parseLine(`!${name}`).kind, 'error', name);
  });
});

describe('overlap', () => {
  const record = (from: number, to: number | null, extra: Partial<RequestRecord> = {}): RequestRecord => ({
    id: 1,
    bot: 5,
    method: 'getUpdates',
    params: {},
    offset: 0,
    userAgent: '',
    remotePort: 1,
    startedAtMs: from,
    startedAtUnixMs: 0,
    endedAtMs: to,
    clientGoneAtMs: null,
    status: 200,
    error: null,
    delivered: [],
    waited: false,
    fault: null,
    ...extra,
  });

  it('counts polls that are open at the same time', () => {
    assert.equal(maxOpenPolls([], 5), 0);
    assert.equal(maxOpenPolls([record(0, 10), record(10, 20)], 5), 1);
    assert.equal(maxOpenPolls([record(0, 10), record(9.9, 20)], 5), 2);
    assert.equal(maxOpenPolls([record(0, null), record(5, null), record(6, 7)], 5), 3);
  });

  it('ends a poll when its client hung up, though the server goes on', () => {
    assert.equal(maxOpenPolls([record(0, 50, { clientGoneAtMs: 4 }), record(5, 9)], 5), 1);
  });

  it('counts one bot, getUpdates only, and given ports only', () => {
    const records = [
      record(0, 9, { bot: 6 }),
      record(0, 9, { method: 'getMe' }),
      record(0, 9, { method: 'GETUPDATES' }),
      record(1, 9, { remotePort: 2 }),
    ];
    assert.equal(maxOpenPolls(records, 5), 2);
    assert.equal(maxOpenPolls(records, 5, new Set([2])), 1);
  });
});
