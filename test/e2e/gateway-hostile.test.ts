// Hostile local callers of the gateway, from inside the worker's tree and from outside of it: whatever they send, the API sees one
// poll at a time and nothing that was turned down, supervisor and worker live on, memory and descriptors stay bounded
// (gateway-judge.ts). How single requests are read: unit/gateway-request.test.ts, unit/sandbox-requests.test.ts.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { bed, PYTHON, randomToken, worker } from '../support/bed.ts';
import { onUpstream } from '../support/gateway-bed.ts';
import { assertSingleFlight, attacked } from '../support/gateway-judge.ts';
import { listenersAt } from '../support/gateway-process.ts';
import { assertNoToken } from '../support/judge.ts';
import { type Gate, relay, type Side } from '../support/relay.ts';
import { until } from '../support/wait.ts';
import { type Answer, type Ask, ask, chunked, json, requestBytes, wire } from '../support/wire.ts';

const MB = 1 << 20;
const SIDES: Side[] = ['outside', 'inside'];
const KEEP = [['Connection', 'keep-alive']] as const;
const FORM = 'application/x-www-form-urlencoded';
const typed = (type: string, ...more: [string, string][]) => [['Content-Type', type] as const, ...more];

/** The first answer, or null where the connection is closed without one. */
async function answerOrEnd(gate: Gate, side: Side, bytes: string | Buffer): Promise<Answer | null> {
  const connection = wire(gate.dial(side));
  await connection.send(bytes);
  await until('an answer or the end', () => connection.ended() || connection.answers().length > 0, {
    seen: () => `${bytes.toString('latin1').slice(0, 300)}\n${connection.text().slice(0, 300)}`,
  });
  const [answer] = connection.answers();
  connection.close();
  return answer ?? null;
}

// Its path is one that the gateway turns down: seen at the API, it was smuggled.
const BAIT = 'GET /bot1234567:smuggledsmuggledsmuggledsmuggled/sneak HTTP/1.0\r\n\r\n';

test('what may not pass is turned down, and nothing of it reaches the API', async (t) => {
  const { b, up, gate } = await onUpstream(t);
  const other = randomToken();
  const at = (target: string, more: Partial<Ask> = {}) => requestBytes(gate, { target, ...more });
  const sneak = '/bot{token}/sneak';
  const post = (head: string, body: string) =>
    `POST /bot${gate.token}/fine HTTP/1.1\r\nHost: ${gate.host}\r\nContent-Type: ${FORM}\r\n${head}\r\n${body}`;
  const TE = 'Transfer-Encoding: chunked\r\n';
  const rows: [what: string, statuses: number[], bytes: string | Buffer][] = [
    ['another token', [401], at(`/bot${other}/sneak`)],
    ['half a token', [401], at(`/bot${gate.token.slice(0, -1)}/sneak`)],
    ['no token', [401, 404], at('/bot/sneak')],
    ['a NUL behind the token', [401, 404], at(`/bot${gate.token}%00/sneak`)],
    ['a file of another token', [401], at(`/file/bot${other}/sneak`)],
    ['no path of the Bot API', [404], at('/sandbox/log?sneak')],
    ['a path that leads up', [404], at('/file/bot{token}/%2e%2e/%2e%2e/sandbox/sneak')],
    ['a doubled slash', [404], at('//bot{token}/sneak')],
    ['another Host', [421], at(sneak, { host: 'evil.example' })],
    ['a Host with another port', [421], at(sneak, { host: '127.0.0.1:1' })],
    ['no Host', [400, 421], at(sneak, { host: null })],
    ['two Hosts', [400], at(sneak, { headers: [['Host', gate.host]] })],
    ['a whole URL', [400, 404, 421], at(`http://evil.example${sneak}`)],
    ['a web page', [403], at(sneak, { headers: [['Origin', 'https://evil.example']] })],
    ['a preflight', [501], at(sneak, { method: 'OPTIONS' })],
    ['PUT', [501], at(sneak, { method: 'PUT' })],
    ['HEAD', [501], at(sneak, { method: 'HEAD' })],
    ['CONNECT', [0, 400, 404, 501], at(`127.0.0.1:${up.port}`, { method: 'CONNECT' })],
    ['a length and chunks', [400], post(`Content-Length: 5\r\n${TE}`, `0\r\n\r\n${BAIT}`)],
    ['chunks and a length', [400], post(`${TE}Content-Length: 5\r\n`, `0\r\n\r\n${BAIT}`)],
    ['two lengths', [400], post(`Content-Length: 3\r\nContent-Length: ${3 + BAIT.length}\r\n`, `a=b${BAIT}`)],
    ['a length with a sign', [400], post('Content-Length: +3\r\n', `a=b${BAIT}`)],
    ['a length beyond 2^64', [400], post('Content-Length: 18446744073709551619\r\n', `a=b${BAIT}`)],
    [
      'a space before the colon',
      [400],
      post(`Content-Length: 5\r\nTransfer-Encoding : chunked\r\n`, `0\r\n\r\n${BAIT}`),
    ],
    ['an unknown coding', [400, 501], post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${BAIT}`)],
    [
      'chunked, but not last',
      [400, 501],
      post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${BAIT}`),
    ],
    ['a coding behind a bare LF', [400], post(`X-A: b\n${TE}Content-Length: 5\r\n`, `0\r\n\r\n${BAIT}`)],
    ['a chunk of a negative size', [0, 400], post(TE, `-1\r\nab\r\n0\r\n\r\n${BAIT}`)],
    ['a chunk with 0x', [0, 400], post(TE, `0x3\r\na=b\r\n0\r\n\r\n${BAIT}`)],
    ['a header by encoded line ends', [404], at(`/bot${gate.token}/sneak%0d%0aX-Injected:%201`)],
    ['TLS', [0, 400], Buffer.concat([Buffer.from('16030100f5010000f10303', 'hex'), randomBytes(234)])],
    ['HTTP/2', [0, 400, 505], 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['no HTTP', [0, 400], '*1\r\n$4\r\nPING\r\n'],
    ['a NUL in a header', [400], `GET / HTTP/1.1\r\nHost: ${gate.host}\r\nX: a\0b\r\n\r\n`],
  ];
  for (const side of SIDES)
    for (const [what, statuses, bytes] of rows) {
      const answer = await answerOrEnd(gate, side, bytes);
      assert.ok(
        statuses.includes(answer?.status ?? 0),
        `${side}, ${what}: ${answer?.status} ${answer?.body}`,
      );
      if (answer?.body.length) assert.equal(json(answer).error_code, answer.status, what);
      assert.ok(!answer?.headers.some(([name]) => /^access-control/i.test(name)), what);
    }
  // Read in one way only, they work: `Connection` names what frames the body.
  for (const [name, value, body] of [
    ['Content-Length', String(BAIT.length), BAIT],
    ['Transfer-Encoding', 'chunked', chunked(Buffer.from(BAIT), 7).toString()],
  ])
    assert.equal(
      (await answerOrEnd(gate, 'inside', post(`Connection: ${name}\r\n${name}: ${value}\r\n`, body!)))
        ?.status,
      200,
    );
  assert.deepEqual(
    up
      .of('fine')
      .slice(-2)
      .map(({ body }) => body.toString()),
    [BAIT, BAIT],
  );
  assert.equal(
    await ask(gate, { target: '/bot{token}/fine', host: null, version: 'HTTP/1.0' }).then((it) => it.status),
    200,
  );
  assert.deepEqual(up.of('sneak'), []);
  assert.deepEqual(up.unreadable, [], 'the API got what it cannot read');
  assert.ok(up.seen.every(({ headers }) => !headers.some(([name]) => /injected/i.test(name))));
  assert.equal(up.mostPolls(), 1);
  assert.equal(gate.run.ended(), null, gate.run.seen());
  assertNoToken(gate.run.stderr() + gate.run.stdout(), b.token);
});

const JSON_TYPE = 'application/json';
const multipart = (name: string, value: string) =>
  `--bb\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n--bb--\r\n`;
const MULTI = 'multipart/form-data; boundary=bb';

test('getUpdates in every spelling takes its turn; what only a repair would make one is none', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  const end = 'timeout=1&poller=dodge.1';
  const polls: Ask[] = [
    { target: `/bot{token}/GETUPDATES?${end}` },
    { target: `/bot{token}/%67et%55pdate%73?${end}` },
    { target: `/%62ot{token}%2fgetUpdates?${end}` },
    { target: `/bot{token}/?%6dethod=GetUpdates&method=getMe&${end}` },
    { target: `/bot{token}/?${end}`, headers: typed(FORM), body: 'x=1&me%74hod=getUpdates' },
    { target: `/bot{token}/?${end}`, method: 'GET', headers: typed(FORM), body: 'method=getUpdates' },
    {
      target: `/bot{token}/?${end}`,
      headers: typed(JSON_TYPE),
      body: '{"\\u006dethod":"getUpdates", broken',
    },
    { target: `/bot{token}/?${end}`, headers: typed(MULTI), body: multipart('method', 'getUpdates') },
    {
      target: `/bot{token}/?${end}`,
      headers: typed(FORM, ['Content-Encoding', 'gzip']),
      body: gzipSync('method=getUpdates'),
    },
    {
      target: `/bot{token}/?${end}`,
      headers: typed(FORM, ['Transfer-Encoding', 'chunked']),
      body: chunked(Buffer.from('method=getUpdates'), 1),
    },
  ];
  const near: Ask[] = [
    { target: `/bot{token}/sendMessage/../getUpdates?${end}` },
    { target: `/bot{token}//getUpdates?${end}` },
    { target: `/file/bot{token}/%2e%2e/%2E%2E/bot{token}/getUpdates?${end}` },
    { target: `/bot{token}/getUpdates%00?${end}` },
    { target: `/bot{token}/?method=getMe&method=getUpdates&${end}` },
    { target: `/bot{token}/?${end}`, headers: typed('text/plain'), body: 'method=getUpdates' },
  ];
  const isPoll = (answer: Answer) => answer.status === 200 && Array.isArray(json(answer).result);
  const answers = await Promise.all(polls.map((it) => ask(gate, it)));
  for (const [i, answer] of answers.entries())
    assert.ok(isPoll(answer), `${polls[i]!.target}: ${answer.body}`);
  const before = b.sandbox.polls().filter(({ name }) => /dodge/.test(name)).length;
  for (const it of near) assert.ok(!isPoll(await ask(gate, it)), it.target);
  assert.equal(b.sandbox.polls().filter(({ name }) => /dodge/.test(name)).length, before);
  assertSingleFlight(b);
});

test('setWebhook with a URL is turned down in every spelling; without one it deletes, as ever', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  const url = 'https://hooks.example.com/a';
  const sets: Ask[] = [
    { target: `/bot{token}/set%57ebhook?u%72l=${url}` },
    { target: `/bot{token}/?method=setWebhook&url=${url}` },
    {
      target: '/bot{token}/',
      headers: typed(JSON_TYPE),
      body: JSON.stringify({ url, method: 'setWebhook' }),
    },
    { target: '/bot{token}/setWebhook', headers: typed(MULTI), body: multipart('url', url) },
  ];
  for (const it of sets) {
    const answer = await ask(gate, it);
    assert.equal(answer.status, 409, it.target);
    assert.match(json(answer).description ?? '', /singlepoll/i);
  }
  for (const target of [`/bot{token}/setWebhook?url=&url=${url}`, `/bot{token}/deleteWebhook?url=${url}`])
    assert.equal((await ask(gate, { target })).status, 200, target);
  assert.equal((await b.sandbox.webhookInfo()).url, '');
  await gate.run.waitFor(/setWebhook.*turned down/i);
  assert.equal((await b.status()).polling?.webhookAttempts, sets.length);
});

test('getUpdates of a process outside the worker tree is refused, with its pid in the log, once', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--idle'] });
  assert.deepEqual(
    listenersAt(gate.port).map(({ address }) => address),
    ['0100007F'],
    '127.0.0.1 only',
  );
  for (const target of ['/bot{token}/getUpdates?offset=999999999', '/bot{token}/?method=getUpdates'])
    for (let i = 0; i < 3; i++) assert.equal((await ask(gate, { target, side: 'outside' })).status, 403);
  // A stray bot that copied the worker's settings.
  const stray = b.spawn(PYTHON, [worker('poller.py')], {
    env: { LEGACY_TOKEN: gate.token, LEGACY_ROOT: gate.told.root },
  });
  const refused = () =>
    gate.run
      .stderr()
      .split('\n')
      .filter((line) => /refused/i.test(line));
  await until('the stray to be named', () => refused().some((line) => line.includes(`pid ${stray.pid} `)), {
    seen: gate.run.seen,
  });
  assert.equal(
    refused().filter((line) => line.includes(`pid ${process.pid} `)).length,
    1,
    refused().join('\n'),
  );
  // One that is gone before anybody looks: its offset confirms nothing.
  const id = b.sandbox.text('not to be lost');
  const bytes = requestBytes(gate, { target: `/bot{token}/getUpdates?offset=${id + 1}` });
  for (let round = 0; round < 50; round++) {
    const socket = gate.dial('outside');
    await new Promise((resolve) => socket.end(bytes, () => resolve(null)));
    if (round % 2) socket.destroy();
    else socket.resetAndDestroy();
    // When a call of the worker is answered, what came before it has been looked at.
    if (round % 5 === 0) await ask(gate, { target: '/bot{token}/getMe' });
  }
  assert.equal(b.sandbox.polls().length, 0);
  assert.equal((await b.sandbox.webhookInfo()).pending_update_count, 1);
});

test('pipelined calls and polls are answered in order, HTTP/1.0 without chunks', (t) =>
  attacked(t, async ({ gate }) => {
    const poll = requestBytes(gate, { target: '/bot{token}/getUpdates?timeout=1', headers: KEEP });
    const me = requestBytes(gate, { target: '/bot{token}/getMe', headers: KEEP });
    const mixed = wire(gate.dial('inside'));
    await mixed.send(Buffer.concat([poll, poll, me, poll, me]));
    const kinds = (await mixed.until(5, 30_000)).map((it) =>
      Array.isArray(json(it).result) ? 'poll' : 'me',
    );
    assert.deepEqual(kinds, ['poll', 'poll', 'me', 'poll', 'me']);
    mixed.close();
    const old = wire(gate.dial('inside'));
    await old.send(requestBytes(gate, { target: '/bot{token}/getMe', host: null, version: 'HTTP/1.0' }));
    assert.equal((await old.end())[0]?.status, 200);
    assert.doesNotMatch(old.text(), /transfer-encoding/i);
  }));

/** Opens so many connections that send this and then nothing; they are closed with the returned function. */
function crowd(gate: Gate, side: Side, count: number, bytes: string | Buffer): () => void {
  const sockets = Array.from({ length: count }, () => gate.dial(side));
  for (const socket of sockets) socket.write(bytes);
  return () => sockets.forEach((socket: Socket) => void socket.destroy());
}

for (const [what, memoryMb, attack] of [
  ['2,000 connections that say nothing', 100, (gate: Gate) => crowd(gate, 'outside', 2_000, '')],
  [
    '2,000 bodies that never end',
    100,
    (gate: Gate) =>
      crowd(
        gate,
        'outside',
        2_000,
        requestBytes(gate, {
          method: 'POST',
          target: '/bot{token}/sendDocument',
          headers: [['Content-Length', '9999']],
        }),
      ),
  ],
  [
    '100 strangers with a poll of 1 MB each, nearly whole',
    100,
    (gate: Gate) => {
      const headers = [...typed(FORM), ['Content-Length', String(MB)] as const];
      const head = requestBytes(gate, { method: 'POST', target: '/bot{token}/getUpdates', headers });
      return crowd(gate, 'outside', 100, Buffer.concat([head, Buffer.alloc(MB - 100, 'x')]));
    },
  ],
  [
    '60,000 pipelined calls whose answers nobody reads',
    100,
    (gate: Gate) => {
      const one = requestBytes(gate, { target: '/bot1:wrong/getMe', headers: KEEP });
      const socket = gate.dial('outside').pause();
      socket.write(Buffer.concat(Array(60_000).fill(one)));
      return () => void socket.destroy();
    },
  ],
  [
    '100 heads from inside the tree that never end',
    100,
    (gate: Gate) => crowd(gate, 'inside', 100, `GET /bot${gate.token}/getMe HTTP/1.1\r\nHost: `),
  ],
] as const)
  test(`${what}: the worker is served, status answers`, (t) =>
    attacked(
      t,
      async ({ gate, wellNow }) => {
        const stop = attack(gate);
        await wellNow(what);
        assert.equal((await ask(gate, { target: '/bot{token}/getMe', ms: 60_000 })).status, 200);
        stop();
      },
      { memoryMb },
    ));

test('heads of 20 MB, bodies of a poll without end, and packed ones are cut off', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const start = `GET /bot${gate.token}/getMe HTTP/1.1\r\nHost: ${gate.host}\r\n`;
    const poll = { method: 'POST', target: '/bot{token}/getUpdates' };
    const endless = requestBytes(gate, {
      ...poll,
      headers: typed(JSON_TYPE, ['Transfer-Encoding', 'chunked']),
    });
    for (const side of SIDES)
      for (const [what, begin, piece] of [
        ['one header', `${start}X-A: `, 'a'.repeat(64 * 1024)],
        ['many headers', start, 'X-Name: value of it\r\n'.repeat(2_000)],
        ['the request line', 'GET /', 'a'.repeat(64 * 1024)],
        ['a poll', endless, chunked(Buffer.alloc(64 * 1024, 'x'), 64 * 1024).subarray(0, -5)],
      ] as const) {
        const connection = wire(gate.dial(side));
        await connection.send(begin);
        let sent = 0;
        while (sent < 20 * MB && !connection.ended() && connection.text() === '') {
          await Promise.race([
            connection.send(Buffer.from(piece)),
            connection.until(1, 60_000).catch(() => {}),
          ]);
          sent += piece.length;
        }
        assert.ok(sent < 20 * MB, `${side}, ${what}: all was taken in`);
        connection.close();
      }
    const packed = gzipSync(`x=${'%41'.repeat((58 * MB) / 3)}`);
    const headers = typed(FORM, ['Content-Encoding', 'gzip']);
    assert.equal((await ask(gate, { ...poll, headers, body: packed })).status, 400);
    await wellNow('after them');
  }));

test('a poller that hangs up and comes again, 100 times: nothing lost, never two at the API', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--idle'] });
  const target = '/bot{token}/getUpdates?timeout=30';
  const ids: number[] = [];
  for (let round = 0; round < 100; round++) {
    const connection = wire(gate.dial(round % 3 === 0 ? 'reset' : 'inside'));
    const before = b.sandbox.polls().length;
    await connection.send(requestBytes(gate, { target }));
    if (round % 10 === 0) {
      await until('the poll at the API', () => b.sandbox.polls().length > before);
      ids.push(b.sandbox.text(`round ${round}`));
    }
    connection.close();
  }
  const [first] = json<{ result: { update_id: number }[] }>(await ask(gate, { target })).result;
  assert.equal(first?.update_id, ids[0]);
  assert.equal((await b.sandbox.webhookInfo()).pending_update_count, ids.length);
  assertSingleFlight(b);
});
