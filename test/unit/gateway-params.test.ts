/**
 * How a Bot API request is read, by gateway and sandbox: paths, parameters, bodies.
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
