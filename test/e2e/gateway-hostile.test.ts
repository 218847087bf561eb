// Hostile local callers of the gateway, from outside the worker's tree and from inside it. Whatever they do: supervisor
// and worker live on, memory and descriptors stay bounded, the worker polls on alone, status answers (gateway-judge.ts).
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { bed } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';
import { assertSingleFlight, attacked, overlaps } from '../support/gateway-judge.ts';
import { watchMemory } from '../support/gateway-process.ts';
import { handled } from '../support/judge.ts';
import { relay, type Side } from '../support/relay.ts';
import { staysTrue, until } from '../support/wait.ts';
import { ask, chunked, json, requestBytes, type Wire, wire } from '../support/wire.ts';

const MB = 1 << 20;
const SIDES: Side[] = ['outside', 'inside'];
const KEEP = [['Connection', 'keep-alive']] as const;

/** Writes one byte of `text` every 100 ms, for ever or until the connection ends; the returned function stops it. */
function trickle(socket: Socket, text: string): () => void {
  let at = 0;
  const timer = setInterval(() => {
    if (socket.destroyed || !socket.writable) return clearInterval(timer);
    socket.write(text[at++ % text.length]!);
  }, 100);
  return () => {
    clearInterval(timer);
    socket.destroy();
  };
}

/** Pours `piece` until `bytes` are out or the connection ends; gives how much was written. */
async function pour(connection: Wire, piece: Buffer, bytes: number): Promise<number> {
  let sent = 0;
  while (sent < bytes && !connection.ended()) {
    await connection.send(piece);
    sent += piece.length;
  }
  return sent;
}

const connected = (sockets: readonly Socket[]): Promise<unknown> =>
  until('the connections to be made or refused', () => sockets.every((socket) => !socket.connecting), {
    ms: 20_000,
  });

test('slow-loris: heads that never end, bodies that never end', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const stops = SIDES.flatMap((side) => [
      ...Array.from({ length: 100 }, () => {
        const socket = gate.dial(side);
        socket.write(`GET /bot${gate.token}/getMe HTTP/1.1\r\nHost: ${gate.host}\r\n`);
        return trickle(socket, 'X-A: b\r\n');
      }),
      ...Array.from({ length: side === 'inside' ? 40 : 100 }, (_, index) => {
        const socket = gate.dial(side);
        const method = ['sendMessage', 'getUpdates', '', 'sendDocument'][index % 4];
        const framing = index % 8 < 4 ? 'Content-Length: 100000' : 'Transfer-Encoding: chunked';
        const headers = [
          ['Content-Type', 'application/x-www-form-urlencoded'],
          framing.split(': ') as [string, string],
        ] as const;
        socket.write(requestBytes(gate, { method: 'POST', target: `/bot{token}/${method}`, headers }));
        return trickle(socket, index % 8 < 4 ? 'a=b&' : '1\r\na\r\n');
      }),
    ]);
    await wellNow('with 340 slow connections');
    const begin = performance.now();
    const me = await ask(gate, { target: '/bot{token}/getMe' });
    assert.equal(me.status, 200);
    assert.ok(performance.now() - begin < 3000, 'other calls get through');
    await staysTrue('the supervisor lives', 3000, () => !gate.run.ended());
    await wellNow('later');
    for (const stop of stops) stop();
  }));

test('heads of 100 MB: one line, many lines, the request line, empty lines before it', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const start = `GET /bot${gate.token}/getMe HTTP/1.1\r\nHost: ${gate.host}\r\n`;
    const heads: [string, string, string][] = [
      ['one header', `${start}X-A: `, 'a'.repeat(64 * 1024)],
      ['many headers', start, 'X-Header-Name: value of it\r\n'.repeat(2000)],
      ['many empty headers', start, 'a:\r\n'.repeat(16_000)],
      ['a header name', start, 'a'.repeat(64 * 1024)],
      ['the request line', 'GET /', 'a'.repeat(64 * 1024)],
      ['a query', `GET /bot${gate.token}/getUpdates?timeout=`, '1'.repeat(64 * 1024)],
      ['empty lines', '', '\r\n'.repeat(32 * 1024)],
      ['a folded header', `${start}X-A: b\r\n`, ' b\r\n'.repeat(16_000)],
      ['the verb', '', 'G'.repeat(64 * 1024)],
    ];
    for (const side of SIDES) {
      for (const [name, begin, piece] of heads) {
        const connection = wire(gate.dial(side));
        await connection.send(begin);
        const sent = await pour(connection, Buffer.from(piece), 100 * MB);
        if (name !== 'empty lines') {
          assert.ok(sent < 20 * MB, `${side}, ${name}: ${sent / MB} MB were taken in`);
          await until(`an end of ${name}`, () => connection.ended(), { ms: 5000 });
        }
        for (const answer of connection.answers())
          assert.ok(answer.status >= 400 && answer.status < 502, `${name}: ${answer.status}`);
        connection.close();
      }
      await wellNow(`after the heads from ${side}`);
    }
  }));

test('2,000 connections that say nothing, or half a request', (t) =>
  attacked(
    t,
    async ({ gate, wellNow }) => {
      for (const text of [
        '',
        `GET /bot${gate.token}/getUpdates?timeout=50 HTTP/1.1\r\nHost: `,
        `POST /bot${gate.token}/sendDocument HTTP/1.1\r\nHost: ${gate.host}\r\nContent-Length: 9999\r\n\r\nx`,
      ]) {
        const sockets = Array.from({ length: 2000 }, () => gate.dial('outside'));
        await connected(sockets);
        for (const socket of sockets) socket.write(text);
        await wellNow(`with 2,000 connections that say ${JSON.stringify(text.slice(0, 10))}`);
        assert.equal((await ask(gate, { target: '/bot{token}/getMe' })).status, 200);
        for (const socket of sockets) socket.destroy();
      }
    },
    { memoryMb: 100 },
  ));

test('2,000 connections where a process may have 1,024 descriptors', async (t) => {
  const b = await bed(t);
  const limited = ['-c', 'ulimit -n 1024; exec "$0" "$@"', process.execPath, '--', PROGRAM];
  const gate = await relay(b, { start: (args, env) => b.spawn('sh', [...limited, ...args], { env }) });
  const sockets = Array.from({ length: 2000 }, () => gate.dial('outside'));
  await connected(sockets);
  const id = b.sandbox.text('/ping');
  await until('the worker to serve', () => handled(b.journal()).has(id), { ms: 10_000, seen: gate.run.seen });
  const answer = await ask(gate, { target: '/bot{token}/getMe' });
  assert.equal(answer.status, 200, 'a new connection of the worker');
  const status = await b.run(['status', '--json'], { ms: 15_000 });
  assert.equal(JSON.parse(status.stdout).supervisor?.pid, gate.run.pid, status.stderr);
  assert.equal(JSON.parse(status.stdout).state, 'polling', status.stdout);
  for (const socket of sockets) socket.destroy();
  await until('all to be well', async () => (await b.status()).healthy, { ms: 15_000, seen: gate.run.seen });
  assertSingleFlight(b);
  assert.equal((await b.status()).worker?.spawns, 1);
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 0, stop.stderr);
});

test('half-closed sockets: before, within and after a request', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const head = `GET /bot${gate.token}/getMe HTTP/1.1\r\nHost: ${gate.host}\r\n`;
    const texts = [
      '',
      'G',
      head,
      `POST /bot${gate.token}/sendMessage HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nch`,
    ];
    for (const side of ['half', 'outside'] as const) {
      const silent = Array.from({ length: 200 }, (_, index) => {
        const socket = gate.dial(side);
        socket.end(texts[index % texts.length] ?? '');
        return wire(socket);
      });
      await until(
        'the far side to hang up on what can never become a request',
        () => silent.every((one) => one.ended()),
        {
          ms: 10_000,
          seen: () => `${silent.filter((one) => !one.ended()).length} open`,
        },
      );
      for (const connection of silent) connection.close();
    }
    // A whole request and then a FIN: whether the client is still there is anybody's guess. Answered or hung up on.
    const calls = Array.from({ length: 20 }, () => {
      const connection = wire(gate.dial('half'));
      connection.socket.end(requestBytes(gate, { target: '/bot{token}/getMe', headers: KEEP }));
      return connection;
    });
    await until('the calls to end', () => calls.every((one) => one.ended() || one.answers().length > 0));
    for (const call of calls) {
      for (const answer of call.answers()) assert.equal(answer.status, 200);
      call.close();
    }
    const polls = Array.from({ length: 20 }, () => {
      const connection = wire(gate.dial('half'));
      connection.socket.end(
        requestBytes(gate, { target: '/bot{token}/getUpdates?timeout=2', headers: KEEP }),
      );
      return connection;
    });
    await wellNow('with half-closed polls');
    await until('the polls to end', () => polls.every((one) => one.ended() || one.answers().length > 0));
    for (const connection of polls) connection.close();
  }));

test('pipelining: answers in order, polls one after the other', (t) =>
  attacked(t, async ({ b, gate, wellNow }) => {
    const connection = wire(gate.dial('inside'));
    const texts = Array.from({ length: 100 }, (_, index) => `pipelined-${index}`);
    const calls = texts.map((text) =>
      requestBytes(gate, { target: `/bot{token}/sendMessage?chat_id=1&text=${text}`, headers: KEEP }),
    );
    await connection.send(Buffer.concat(calls));
    const answers = await connection.until(100, 30_000);
    const got = answers.map((answer) => json<{ result: { text: string } }>(answer).result.text);
    assert.deepEqual(got, texts);
    const sent = b.sandbox.sentTexts().filter((text) => text.startsWith('pipelined-'));
    assert.equal(sent.length, 100);

    const mixed = wire(gate.dial('inside'));
    const poll = (name: string) =>
      requestBytes(gate, { target: `/bot{token}/getUpdates?timeout=1&poller=${name}.1`, headers: KEEP });
    const me = requestBytes(gate, { target: '/bot{token}/getMe', headers: KEEP });
    await mixed.send(Buffer.concat([poll('p1'), poll('p2'), me, poll('p3'), me, poll('p4')]));
    await wellNow('while polls are pipelined');
    const kinds = (await mixed.until(6, 30_000)).map((answer) => {
      assert.equal(answer.status, 200, answer.body.toString());
      return Array.isArray(json(answer).result) ? 'poll' : 'me';
    });
    assert.deepEqual(kinds, ['poll', 'poll', 'me', 'poll', 'me', 'poll']);
    const stranger = wire(gate.dial('outside'));
    await stranger.send(Buffer.concat(Array.from({ length: 50 }, () => poll('stranger'))));
    await until('refusals', () => stranger.answers().length > 0 || stranger.ended());
    for (const answer of stranger.answers()) assert.equal(answer.status, 403);
    for (const one of [connection, mixed, stranger]) one.close();
  }));

test('callers that never read: 100,000 pipelined calls, big answers', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const deaf: Socket[] = [];
    for (const side of SIDES) {
      for (const target of [`/bot${'1'.repeat(9)}:wrong/getMe`, '/', '/bot{token}/getMe']) {
        const socket = gate.dial(side);
        socket.pause();
        deaf.push(socket);
        const many = target.includes('{token}') ? 3000 : 100_000;
        socket.write(Buffer.concat(Array(many).fill(requestBytes(gate, { target, headers: KEEP }))));
      }
    }
    await wellNow('while nobody reads');
    await staysTrue('the supervisor lives', 2000, () => !gate.run.ended());
    await wellNow('later');
    for (const socket of deaf) socket.destroy();
  }));

test('HTTP/1.0: answered without chunks, the connection closed', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  for (const host of [null, gate.host]) {
    const connection = wire(gate.dial('inside'));
    await connection.send(requestBytes(gate, { target: '/bot{token}/getMe', host, version: 'HTTP/1.0' }));
    const [answer] = await connection.end();
    assert.equal(answer?.status, 200);
    assert.equal(json<{ result: { id: number } }>(answer!).result.id, b.botId);
    assert.doesNotMatch(connection.text(), /transfer-encoding/i);
  }
  const poll = wire(gate.dial('inside'));
  const target = '/bot{token}/getUpdates?timeout=1';
  await poll.send(requestBytes(gate, { target, version: 'HTTP/1.0', host: null }));
  const [empty] = await poll.end();
  assert.deepEqual(json(empty!), { ok: true, result: [] });
  const kept = wire(gate.dial('inside'));
  const headers = [['Connection', 'keep-alive']] as const;
  await kept.send(requestBytes(gate, { target: '/bot{token}/getMe', version: 'HTTP/1.0', headers }));
  assert.equal((await kept.until(1))[0]?.status, 200);
  kept.close();
  const chunks = wire(gate.dial('inside'));
  const encoding = [['Transfer-Encoding', 'chunked']] as const;
  await chunks.send(
    requestBytes(gate, {
      target: '/bot{token}/sendMessage',
      version: 'HTTP/1.0',
      headers: encoding,
      body: chunked(Buffer.from('chat_id=1&text=x'), 3),
    }),
  );
  await until('an answer or the end', () => chunks.ended() || chunks.answers().length > 0);
  chunks.close();
  for (const line of [
    'GET / HTTP/0.9\r\n\r\n',
    'GET /\r\n\r\n',
    'GET / HTTP/2.0\r\n\r\n',
    'GET / HTTP/1.9\r\n\r\n',
  ]) {
    const connection = wire(gate.dial('outside'));
    await connection.send(line);
    await until(`an end of ${line.trim()}`, () => connection.ended() || connection.text().length > 0);
    assert.doesNotMatch(connection.text(), / 200 /);
    connection.close();
  }
  assertSingleFlight(b);
});

test('getUpdates and nameless calls with bodies of 10 MB and without end', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const json10 = Buffer.from(`{"timeout":1,"x":"${'x'.repeat(10 * MB)}"}`);
    const json10b = Buffer.from(`{"x":"${'x'.repeat(10 * MB)}","method":"getUpdates","timeout":1}`);
    for (const [target, body] of [
      ['/bot{token}/getUpdates', json10],
      ['/bot{token}/', json10b],
      ['/bot{token}/', json10],
    ] as const) {
      for (const side of SIDES) {
        const connection = wire(gate.dial(side));
        const headers = [['Content-Type', 'application/json']] as const;
        void connection.send(requestBytes(gate, { target, headers, body }));
        await until('an answer or the end', () => connection.ended() || connection.answers().length > 0, {
          ms: 20_000,
        });
        const [answer] = connection.answers();
        assert.ok(
          !answer || [200, 400, 403, 404, 413].includes(answer.status),
          `${target}: ${answer?.status}`,
        );
        connection.close();
      }
    }
    await wellNow('after 10 MB');
    const piece = chunked(Buffer.alloc(64 * 1024, 'x'), 64 * 1024).subarray(0, -5);
    for (const target of ['/bot{token}/getUpdates', '/bot{token}/']) {
      for (const side of SIDES) {
        for (const type of ['application/json', 'multipart/form-data; boundary=x']) {
          const connection = wire(gate.dial(side));
          const headers = [
            ['Content-Type', type],
            ['Transfer-Encoding', 'chunked'],
          ] as const;
          await connection.send(requestBytes(gate, { method: 'POST', target, headers }));
          await connection.send(type === 'application/json' ? '5\r\n{"x":\r\n' : '3\r\n--x\r\n');
          const sent = await Promise.race([
            pour(connection, piece, 200 * MB),
            until('it to stand still or end', () => connection.ended(), { ms: 4000 }).catch(() => -1),
          ]);
          // Endless parameters must end: the parameters of a poll are few.
          assert.notEqual(sent, 200 * MB, `${target} ${type}: 200 MB were taken in`);
          connection.close();
        }
      }
    }
    await wellNow('after bodies without end');
  }));

for (const side of SIDES) {
  test(`bodies that unpack to 58 MB of parameters, from ${side} the tree`, (t) =>
    attacked(t, async ({ gate, wellNow }) => {
      const bytes = 58 * MB;
      const bombs: [string, string][] = [
        ['x-www-form-urlencoded', `method=getUpdates&timeout=1&x=${'x'.repeat(bytes)}`],
        ['x-www-form-urlencoded', `x=${'%41'.repeat(bytes / 3)}`],
        ['x-www-form-urlencoded', 'a&'.repeat(bytes / 2)],
        ['json', `{"x":"${'\\n'.repeat(bytes / 2)}","method":"getUpdates"}`],
        ['json', `{"a":${'['.repeat(bytes)}`],
      ];
      for (const [type, text] of bombs) {
        for (const target of ['/bot{token}/getUpdates', '/bot{token}/']) {
          const connection = wire(gate.dial(side));
          const headers = [
            ['Content-Type', `application/${type}`],
            ['Content-Encoding', 'gzip'],
          ] as const;
          await connection.send(requestBytes(gate, { target, headers, body: gzipSync(text) }));
          await wellNow(`with ${text.slice(0, 30)} for ${target}`);
          connection.close();
        }
      }
    }));
}

test('900 strangers with a poll of 1 MB each, nearly whole', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    const headers = [
      ['Content-Type', 'application/x-www-form-urlencoded'],
      ['Content-Length', String(MB)],
    ] as const;
    const head = requestBytes(gate, { method: 'POST', target: '/bot{token}/getUpdates', headers });
    const body = Buffer.alloc(MB - 100, 'x');
    const sockets = Array.from({ length: 900 }, () => {
      const socket = gate.dial('outside');
      socket.write(head);
      socket.write(body);
      return socket;
    });
    await wellNow('with 900 bodies');
    await staysTrue('the supervisor lives', 1000, () => !gate.run.ended());
    for (const socket of sockets) socket.destroy();
  }));

test('other protocols and noise', (t) =>
  attacked(t, async ({ gate }) => {
    const noises: [string, Buffer][] = [
      ['TLS', Buffer.concat([Buffer.from('16030100f5010000f10303', 'hex'), randomBytes(234)])],
      [
        'HTTP/2',
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00', 'latin1'),
      ],
      ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')],
      ['Redis', Buffer.from('*1\r\n$4\r\nPING\r\n')],
      ['NULs', Buffer.alloc(100_000)],
      ['noise', randomBytes(MB)],
      ['a NUL in a header', Buffer.from(`GET / HTTP/1.1\r\nHost: ${gate.host}\r\nX: a\0b\r\n\r\n`)],
      ['a CR in a header', Buffer.from(`GET / HTTP/1.1\r\nHost: ${gate.host}\r\nX: a\rY: b\r\n\r\n`)],
      ['no colon', Buffer.from(`GET / HTTP/1.1\r\nHost: ${gate.host}\r\nnonsense\r\n\r\n`)],
      ['a space in a name', Buffer.from(`GET / HTTP/1.1\r\nHost: ${gate.host}\r\nX Y: z\r\n\r\n`)],
      [
        'UTF-8 in the target',
        Buffer.from(`GET /bot${gate.token}/é😀 HTTP/1.1\r\nHost: ${gate.host}\r\nConnection: close\r\n\r\n`),
      ],
      [
        'escapes for a terminal',
        Buffer.from(
          `GET /bot${gate.token}/\x1b[31m\x07 HTTP/1.1\r\nHost: ${gate.host}\r\nConnection: close\r\n\r\n`,
        ),
      ],
      ['one answer', Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')],
    ];
    for (const side of SIDES) {
      for (const [name, bytes] of noises) {
        const connection = wire(gate.dial(side));
        await connection.send(bytes);
        await until(`an end of ${name}`, () => connection.ended() || connection.text().length > 0, {
          ms: 5000,
        });
        if (connection.text() !== '') assert.match(connection.text(), /^HTTP\/1\.1 (4\d\d|50[15]) /, name);
        connection.close();
      }
    }
  }));

test('connections that come and go: 3,000, and calls hung up on at once', (t) =>
  attacked(t, async ({ gate, wellNow }) => {
    for (let round = 0; round < 30; round++) {
      const sockets = Array.from({ length: 100 }, () => gate.dial('outside'));
      await connected(sockets);
      for (const [index, socket] of sockets.entries()) {
        if (index % 2) socket.resetAndDestroy();
        else socket.destroy();
      }
    }
    await wellNow('after connections that come and go');
    const calls = ['getMe', 'getUpdates?timeout=30', 'sendMessage?chat_id=1&text=hung-up', '', 'nonsense'];
    for (let round = 0; round < 100; round++) {
      const connection = wire(gate.dial(round % 2 ? 'inside' : 'reset'));
      await connection.send(requestBytes(gate, { target: `/bot{token}/${calls[round % calls.length]}` }));
      connection.close();
    }
  }));

test('100 pollers inside the tree at once: each is answered, one polls', (t) =>
  attacked(
    t,
    async ({ b, gate, wellNow }) => {
      const polls = Array.from({ length: 100 }, (_, index) => {
        const connection = wire(gate.dial(index % 2 ? 'inside' : 'child'));
        void connection.send(
          requestBytes(gate, { target: '/bot{token}/getUpdates?timeout=4', headers: KEEP }),
        );
        return connection;
      });
      await wellNow('with 100 pollers');
      await until('answers to all', () => polls.every((one) => one.answers().length > 0), {
        ms: 30_000,
        seen: () => `${polls.filter((one) => one.answers().length === 0).length} without`,
      });
      for (const one of polls) assert.equal(one.answers()[0]?.status, 200, one.text());
      assert.deepEqual(overlaps(b), []);
      for (const one of polls) one.close();
      const lines = gate.run
        .stderr()
        .split('\n')
        .filter((line) => /second poller/i.test(line));
      assert.ok(lines.length <= 2, `one line for each pair:\n${lines.join('\n')}`);
    },
    { worker: ['--child'] },
  ));

test('a poller that hangs up and comes again, 200 times: nothing lost, never two at the API', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--idle'] });
  const target = '/bot{token}/getUpdates?timeout=30';
  const grown = watchMemory(gate.pids);
  for (let round = 0; round < 200; round++) {
    const connection = wire(gate.dial(round % 3 === 0 ? 'reset' : 'inside'));
    await connection.send(requestBytes(gate, { target }));
    if (round % 4 === 0) await until('the poll upstream', () => b.sandbox.polls().length > 0);
    connection.close();
  }
  const id = b.sandbox.text('still there');
  const next = await ask(gate, { target });
  const updates = json<{ result: { update_id: number }[] }>(next).result;
  assert.deepEqual(
    updates.map((update) => update.update_id),
    [id],
  );
  assertSingleFlight(b);
  assert.ok(grown() < 40, `${grown().toFixed(1)} MB more memory at the peak`);
});

test('the worker leaves with updates on their way: the next poll gets them', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--idle'] });
  for (let round = 0; round < 10; round++) {
    const connection = wire(gate.dial(round % 2 ? 'inside' : 'reset'));
    const before = b.sandbox.polls().length;
    await connection.send(requestBytes(gate, { target: '/bot{token}/getUpdates?timeout=30' }));
    await until('the poll at the API', () => b.sandbox.polls().length > before);
    const id = b.sandbox.text(`round ${round}`);
    connection.close();
    const next = await ask(gate, { target: '/bot{token}/getUpdates?timeout=10' });
    const got = json<{ result: { update_id: number }[] }>(next).result.map((update) => update.update_id);
    assert.ok(got.includes(id), `round ${round}: ${got}`);
    await ask(gate, { target: `/bot{token}/getUpdates?timeout=1&offset=${id + 1}` });
  }
  assertSingleFlight(b);
});
