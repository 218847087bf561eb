// The gateway is invisible to a bot: what the worker sends arrives at the API as it was sent, and what the API answers
// comes back as it was answered, but for what belongs to one connection only.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { onUpstream } from '../support/gateway-bed.ts';
import { headersOf } from '../support/upstream.ts';
import { until } from '../support/wait.ts';
import { type Ask, ask, chunked, header, json, requestBytes, wire } from '../support/wire.ts';

const BOUNDARY = '----tgBoundary"7MA4';
const multipart = Buffer.concat([
  Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="chat_id"\r\n\r\n42\r\n`),
  Buffer.from(
    `--${BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="a \xff.png"\r\nContent-Type: image/png\r\n\r\n`,
    'latin1',
  ),
  Buffer.from(Array.from({ length: 4096 }, (_, i) => i % 256)),
  Buffer.from(`\r\n--${BOUNDARY}--\r\n`),
]);
const type = (value: string) => [['Content-Type', value]] as const;
const FORM = 'application/x-www-form-urlencoded';

const WAYS: [string, Omit<Ask, 'target'>, string?][] = [
  ['GET with a query', {}, '?chat_id=1&text=a%20b+c%26&x=%F0%9F%98%80&empty=&y&=z&&q=%zz%'],
  ['GET with a text of 4,096 letters, encoded', {}, `?chat_id=1&text=${'%D1%84%F0%9F%98%80'.repeat(2048)}`],
  ['GET with a body', { method: 'GET', headers: type(FORM), body: 'chat_id=1&text=body' }],
  ['POST without a body', { method: 'POST', headers: [['Content-Length', '0']] }, '?chat_id=1'],
  ['POST, urlencoded', { headers: type(FORM), body: 'chat_id=1&text=%D0%BF+%2B&text=second' }],
  [
    'POST, JSON',
    { headers: type('application/json'), body: '{"chat_id":1,"text":"\\u0000é😀","x":{"a":[]}}' },
  ],
  ['POST, multipart', { headers: type(`multipart/form-data; boundary="${BOUNDARY}"`), body: multipart }],
  ['POST, no type', { body: Buffer.from([0, 255, 13, 10, 13, 10, 0]) }],
  ['POST, gzip', { headers: [...type(FORM), ['Content-Encoding', 'gzip']], body: gzipSync('chat_id=1') }],
];

test('requests: each way to send parameters arrives byte for byte', async (t) => {
  const { up, gate, b } = await onUpstream(t);
  for (const [name, what, query = ''] of WAYS) {
    const target = `/bot{token}/sendMessage${query}`;
    const answer = await ask(gate, { ...what, target });
    assert.equal(answer.status, 200, name);
    assert.deepEqual(json(answer), { ok: true, result: true }, name);
    const seen = up.of('sendMessage').at(-1)!;
    assert.equal(seen.verb, what.method ?? (what.body ? 'POST' : 'GET'), name);
    assert.equal(seen.target, target.replace('{token}', b.token), name);
    assert.deepEqual(seen.body, Buffer.from(what.body ?? ''), name);
    for (const key of ['content-type', 'content-encoding']) {
      const sent = what.headers?.find(([one]) => one.toLowerCase() === key)?.[1];
      assert.deepEqual(headersOf(seen, key), sent === undefined ? [] : [sent], `${name}: ${key}`);
    }
    if (what.body) assert.deepEqual(headersOf(seen, 'content-length'), [String(seen.body.length)], name);
    assert.deepEqual(headersOf(seen, 'host'), [`127.0.0.1:${up.port}`], name);
  }
  assert.equal(up.of('sendMessage').length, WAYS.length, 'each once');
  assert.deepEqual(up.unreadable, []);
});

test('requests: chunked bodies arrive whole; paths of the Bot API, under a root with a path of its own', async (t) => {
  const { b, up, gate } = await onUpstream(t, { path: '/some/where' });
  const headers = [
    ...type(`multipart/form-data; boundary="${BOUNDARY}"`),
    ['Transfer-Encoding', 'chunked'],
  ] as const;
  const extended = chunked(multipart, 700)
    .toString('latin1')
    .replaceAll('\r\n2bc\r\n', '\r\n2bc;name="v;\\"";flag\r\n')
    .replace(/\r\n$/, 'X-Trailer: 1\r\n\r\n');
  for (const body of [chunked(multipart, 1), Buffer.from(extended, 'latin1')]) {
    assert.equal((await ask(gate, { target: '/bot{token}/sendPhoto', headers, body })).status, 200);
    assert.deepEqual(up.of('sendPhoto').at(-1)!.body, multipart);
  }
  assert.equal(up.of('sendPhoto').length, 2, 'each once');
  const encoded = b.token.replace(':', '%3A');
  for (const target of [
    `/bot${encoded}/getChat?chat_id=1`,
    `/bot${b.token}/test/getChat?chat_id=1`,
    `/bot${b.token}/get%43hat?chat_id=1`,
    `/file/bot${encoded}/photos/with%20space%2Fand+plus/getChat`,
    `/file/bot${b.token}/test/photos/getChat`,
  ]) {
    assert.equal((await ask(gate, { target })).status, 200, target);
    assert.ok(
      up.seen.some((it) => decodeURIComponent(it.target) === decodeURIComponent(`/some/where${target}`)),
      target,
    );
  }
});

test('requests: headers of the worker pass, those of its connection do not', async (t) => {
  const { up, gate } = await onUpstream(t);
  const passed = [
    ['User-Agent', 'a bot/1.0 (x; y)'],
    ['Accept', 'application/json, */*;q=0.1'],
    ['Accept-Encoding', 'gzip, br;q=0.5'],
    ['X-Twice', 'one'],
    ['X-Twice', 'two, "three"'],
    ['X-Empty', ''],
    ["x!#$%&'*+.^_`|~9", 'odd name'],
    ['X-Latin', 'caf\xe9 \xff \x80'],
    ['Cookie', 'a=1; b=2'],
    ['Authorization', 'Basic eDp5'],
    ['X-Long', 'v'.repeat(6000)],
  ] as const;
  const dropped = [
    ['Connection', 'close, X-Private, keep-alive'],
    ['X-Private', 'for the next hop only'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'keep-alive'],
    ['Proxy-Authorization', 'Basic c2VjcmV0'],
    ['TE', 'trailers'],
    ['Upgrade', 'h2c'],
  ] as const;
  const answer = await ask(gate, {
    target: '/bot{token}/getChat?chat_id=1',
    headers: [...passed, ...dropped],
  });
  assert.equal(answer.status, 200, answer.body.toString());
  const seen = up.of('getChat')[0]!;
  for (const name of new Set(passed.map(([key]) => key))) {
    const sent = passed.filter(([key]) => key === name).map(([, value]) => value);
    // Fields of one name may be joined (RFC 9110 5.3), not reordered.
    assert.equal(headersOf(seen, name).join(', '), sent.join(', '), name);
  }
  for (const [name] of dropped) {
    if (name !== 'Connection') assert.deepEqual(headersOf(seen, name), [], name);
  }
  assert.doesNotMatch(headersOf(seen, 'connection').join(), /private|close/i);
  assert.ok(
    !JSON.stringify(seen.headers).includes(`:${gate.port}`),
    `the gateway's own address went up: ${JSON.stringify(seen.headers)}`,
  );
});

test('answers: status, headers and body come back as they were given', async (t) => {
  const { up, gate } = await onUpstream(t);
  const error = (code: number, rest: object = {}) =>
    JSON.stringify({ ok: false, error_code: code, description: 'Bad \u0000 é', ...rest });
  const cases: [number, Record<string, string | string[]>, string | Buffer][] = [
    [200, { 'Content-Type': 'application/json' }, '{"ok":true,"result":1}'],
    [401, { 'Content-Type': 'application/json' }, error(401)],
    [409, { 'Content-Type': 'application/json' }, error(409)],
    [413, { 'Content-Type': 'text/html' }, '<html>\r\n<h1>413 Request Entity Too Large</h1>'],
    [429, { 'Retry-After': '35' }, error(429, { parameters: { retry_after: 35 } })],
    [502, { 'Content-Type': 'text/html' }, ''],
    [299, { 'X-Odd': 'caf\xe9', 'Set-Cookie': ['a=1; Path=/', 'b=2'], Server: 'nginx/1.18.0' }, 'odd'],
    [301, { Location: 'https://example.com/elsewhere' }, ''],
    [200, { 'Content-Type': 'application/json' }, `{"ok":true,"result":"${'é'.repeat(5_000_000)}"}`],
    [200, { 'Content-Encoding': 'gzip', 'Content-Type': 'application/json' }, gzipSync('{"ok":true}')],
    [200, { 'Content-Encoding': 'br', 'Content-Type': 'application/json' }, Buffer.from([255, 0, 1, 2])],
  ];
  let now = cases[0]!;
  up.on('getChat', (response) => {
    const [status, headers, body] = now;
    response.writeHead(status, headers);
    response.end(Buffer.from(body)); // with a string Node would send the header as UTF-8, too
  });
  for (const chunkedToo of [false, true]) {
    for (now of cases) {
      const [status, headers, body] = now;
      if (!chunkedToo) headers['Content-Length'] = String(Buffer.byteLength(body));
      else delete headers['Content-Length'];
      const before = up.of('getChat').length;
      const answer = await ask(gate, { target: '/bot{token}/getChat' });
      const name = `${status} ${JSON.stringify(headers)}`;
      assert.equal(answer.status, status, name);
      assert.ok(answer.whole, name);
      assert.ok(answer.body.equals(Buffer.from(body)), `${name}: ${answer.body.toString('latin1', 0, 200)}`);
      for (const [key, value] of Object.entries(headers)) {
        const got = answer.headers
          .filter(([one]) => one.toLowerCase() === key.toLowerCase())
          .map(([, v]) => v);
        assert.deepEqual(got, [value].flat(), `${name}: ${key}`);
      }
      assert.equal(up.of('getChat').length, before + 1, `${name}: asked once`);
    }
  }
});

test('answers: what belongs to the connection upstream stays there', async (t) => {
  const { up, gate } = await onUpstream(t);
  up.on('getChat', (response) => {
    const body = '{"ok":true,"result":{}}';
    response.socket!.write(
      [
        'HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 Fine by me',
        'Connection: close, X-Private',
        'X-Private: 1',
        'Keep-Alive: timeout=77',
        'Proxy-Authenticate: Basic',
        'Upgrade: h2c',
        'X-Public: yes',
        `Content-Length: ${body.length}\r\n\r\n${body}`,
      ].join('\r\n'),
    );
    response.socket!.end();
  });
  const connection = wire(gate.dial('inside'));
  const headers = [['Connection', 'keep-alive']] as const;
  for (const round of [1, 2]) {
    await connection.send(requestBytes(gate, { target: '/bot{token}/getChat', headers }));
    const answer = (await connection.until(round))[round - 1]!;
    assert.equal(answer.status, 200);
    assert.equal(answer.body.toString(), '{"ok":true,"result":{}}');
    assert.equal(header(answer, 'x-public'), 'yes');
    for (const name of ['x-private', 'upgrade', 'proxy-authenticate'])
      assert.equal(header(answer, name), undefined, name);
    assert.doesNotMatch(
      header(answer, 'connection') ?? '',
      /close|private/i,
      "the worker's connection stays",
    );
    assert.doesNotMatch(header(answer, 'keep-alive') ?? '', /77/);
  }
  connection.close();
});

test('answers: reason phrases and statuses of any kind', async (t) => {
  const { up, gate } = await onUpstream(t);
  const body = '{"ok":true}';
  let line = '';
  up.on('getChat', (_response, _seen, request) => {
    request.socket.write(Buffer.from(`${line}\r\nContent-Length: ${body.length}\r\n\r\n${body}`, 'latin1'));
  });
  for (line of [
    'HTTP/1.1 200',
    'HTTP/1.1 200 ',
    'HTTP/1.1 200 Tout va tr\xe8s bien',
    'HTTP/1.1 200 \xd0\x9e\xd0\x9a \xe2\x82\xac',
    'HTTP/1.1 200 a\tb',
    'HTTP/1.0 200 OK',
    'HTTP/1.1 299 Odd',
    'HTTP/1.1 599 Odder',
    'HTTP/1.1 999 Oddest',
  ]) {
    const answer = await ask(gate, { target: '/bot{token}/getChat', ms: 5000 });
    assert.equal(answer.status, Number(line.split(' ')[1]), line);
    assert.equal(answer.body.toString(), body, line);
  }
  assert.equal(gate.run.ended(), null, gate.run.seen());
});

test('answers: one that breaks off is not passed as whole; bytes behind one are nobody’s answer', async (t) => {
  const { up, gate } = await onUpstream(t);
  up.on('breakLength', (response) => {
    response.socket!.end('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"ok":true');
  });
  up.on('breakChunk', (response) => {
    response.socket!.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"ok":true');
  });
  for (const method of ['breakLength', 'breakChunk']) {
    const connection = wire(gate.dial('inside'));
    const headers = [['Connection', 'keep-alive']] as const;
    await connection.send(requestBytes(gate, { target: `/bot{token}/${method}`, headers }));
    await until(`an end of ${method}`, () => connection.ended() || connection.answers().length > 0);
    for (const answer of connection.answers())
      assert.ok(!answer.whole || answer.status >= 500, `${method} passed for whole: ${connection.text()}`);
    connection.close();
  }
  up.on('tooMuch', (response) => {
    response.socket!.write(
      'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"poisoned":"x"}',
    );
  });
  up.on('fine', (response) => response.end('{"ok":true,"result":"fine"}'));
  for (let round = 0; round < 3; round++) {
    const [first, second] = await Promise.all([
      ask(gate, { target: '/bot{token}/tooMuch' }),
      ask(gate, { target: '/bot{token}/fine' }),
    ]);
    assert.ok(!first.body.includes('poisoned'), first.body.toString());
    assert.ok(!second.body.includes('poisoned'), second.body.toString());
    const after = await ask(gate, { target: '/bot{token}/fine' });
    assert.ok(!after.body.includes('poisoned'), after.body.toString());
    assert.equal(after.body.toString(), '{"ok":true,"result":"fine"}');
  }
});

test('a call whose connection breaks is an error to the worker and never sent twice', async (t) => {
  const { up, gate } = await onUpstream(t);
  for (const end of ['destroy', 'resetAndDestroy'] as const) {
    up.on('sendMessage', (response) => response.socket![end]());
    for (const body of [undefined, 'chat_id=1&text=x']) {
      const before = up.of('sendMessage').length;
      const connection = wire(gate.dial('inside'));
      const headers = type(FORM);
      await connection.send(
        requestBytes(gate, { target: '/bot{token}/sendMessage', headers, ...(body && { body }) }),
      );
      const [answer] = await connection.end();
      if (answer) {
        assert.ok(answer.status >= 500, `${answer.status} ${answer.body}`);
        const told = json(answer);
        assert.equal(told.ok, false);
        assert.equal(told.error_code, answer.status);
        assert.ok(told.description);
      }
      assert.equal(up.of('sendMessage').length, before + 1, `${end}, ${body ? 'POST' : 'GET'}`);
    }
  }
});

test('Expect: 100-continue is answered before the body is sent', async (t) => {
  const { up, gate } = await onUpstream(t);
  const connection = wire(gate.dial('inside'));
  const headers = [...type(FORM), ['Expect', '100-continue'], ['Content-Length', '9']] as const;
  await connection.send(requestBytes(gate, { method: 'POST', target: '/bot{token}/sendMessage', headers }));
  await until('100 Continue', () => connection.answers()[0]?.status === 100, { seen: connection.text });
  await connection.send('chat_id=1');
  const [answer] = await connection.until(1);
  assert.equal(answer?.status, 200);
  assert.equal(up.of('sendMessage')[0]?.body.toString(), 'chat_id=1');
});

test('a worker that leaves in the middle of a call or an upload ends it upstream', async (t) => {
  const { up, gate } = await onUpstream(t);
  up.on('sendMessage', () => {}); // no answer
  const waiting = wire(gate.dial('reset'));
  await waiting.send(requestBytes(gate, { target: '/bot{token}/sendMessage', body: 'x' }));
  const first = await until('the call', () => up.of('sendMessage')[0]);
  waiting.close();
  await until('its end upstream', () => first.goneMs, { ms: 5000 });
  const sending = wire(gate.dial('inside'));
  const headers = [...type('application/octet-stream'), ['Content-Length', '1000000']] as const;
  await sending.send(requestBytes(gate, { method: 'POST', target: '/bot{token}/sendDocument', headers }));
  await sending.send(Buffer.alloc(200_000, 'u'));
  const second = await until('the upload', () => up.of('sendDocument').find((seen) => seen.bytes > 0));
  sending.close();
  await until('the end of the upload upstream', () => second.goneMs, { ms: 5000 });
  assert.equal(second.readMs, null, 'never whole');
  assert.equal(up.mostPolls(), 1);
  assert.equal(gate.run.ended(), null);
});

test('gzip: polls of a client that takes it are answered so that it can read them', async (t) => {
  const { b, up, gate } = await onUpstream(t, { worker: ['--idle'] });
  const text = 'Привет '.repeat(2000);
  up.on('getUpdates', (response, seen) => {
    const body = Buffer.from(JSON.stringify({ ok: true, result: [{ update_id: 77, message: { text } }] }));
    const gzip = headersOf(seen, 'accept-encoding').join().includes('gzip');
    response.writeHead(200, {
      'Content-Type': 'application/json',
      ...(gzip && { 'Content-Encoding': 'gzip' }),
    });
    response.end(gzip ? gzipSync(body) : body);
  });
  for (const accepted of ['gzip, deflate', 'identity']) {
    const answer = await ask(gate, {
      target: '/bot{token}/getUpdates?timeout=1',
      headers: [['Accept-Encoding', accepted]],
    });
    assert.equal(answer.status, 200);
    const coded = header(answer, 'content-encoding') === 'gzip';
    if (accepted === 'identity') assert.equal(coded, false);
    const body = coded ? gunzipSync(answer.body) : answer.body;
    const { result } = JSON.parse(body.toString('utf8')) as { result: { message: { text: string } }[] };
    assert.equal(result[0]?.message.text, text);
  }
  const { polling } = await b.status();
  assert.equal(polling?.polls, 2);
  assert.equal(polling?.updates, 2);
});
