// Who is let in at the gateway: the worker's token, a loopback Host, GET and POST, and for getUpdates a process of the
// worker's tree. Everything else is turned down here and never reaches the API.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, PYTHON, randomToken, worker } from '../support/bed.ts';
import { onUpstream } from '../support/gateway-bed.ts';
import { assertSingleFlight } from '../support/gateway-judge.ts';
import { listenersAt } from '../support/gateway-process.ts';
import { assertNoToken } from '../support/judge.ts';
import { type Gate, relay, type Side } from '../support/relay.ts';
import { staysTrue, until } from '../support/wait.ts';
import { type Answer, type Ask, ask, header, json, requestBytes, wire } from '../support/wire.ts';

/** The answer, or null where the connection was closed without one. */
async function answerOrEnd(gate: Gate, what: Ask): Promise<Answer | null> {
  const connection = wire(gate.dial(what.side ?? 'inside'));
  await connection.send(requestBytes(gate, what));
  await until('an answer or the end', () => connection.ended() || connection.answers().length > 0, {
    seen: () => `${what.target}: ${connection.text()}`,
  });
  const [answer] = connection.answers();
  connection.close();
  return answer ?? null;
}

function assertApiError(answer: Answer, status: number, name: string): void {
  assert.equal(answer.status, status, `${name}: ${answer.body}`);
  assert.match(header(answer, 'content-type') ?? '', /application\/json/, name);
  const body = json(answer);
  assert.equal(body.ok, false, name);
  assert.equal(body.error_code, status, name);
  assert.ok(body.description, name);
}

test('only the paths of the Bot API with the token of the worker', async (t) => {
  const { b, up, gate } = await onUpstream(t);
  const [id, secret = ''] = b.token.split(':');
  const other = randomToken();
  const swapped = secret.toLowerCase() === secret ? secret.toUpperCase() : secret.toLowerCase();
  const tokens: [string, number[]][] = [
    [other, [401]],
    [randomToken(b.botId), [401]],
    [`${id}:${secret.slice(0, -1)}`, [401]],
    [`${id}:${secret}x`, [401]],
    [`${id}:${swapped}`, [401]],
    [`0${id}:${secret}`, [401]],
    [`${id}`, [401, 404]],
    [`${id}:`, [401, 404]],
    [`:${secret}`, [401, 404, 421]],
    ['', [401, 404]],
    [`${id}:${secret}%00`, [401, 404]],
    [`${id}:${secret}%20`, [401, 404]],
    [`+${id}:${secret}`, [401, 404, 421]],
  ];
  for (const side of ['inside', 'outside'] as const) {
    for (const [token, statuses] of tokens) {
      for (const target of [`/bot${token}/sneak?x`, `/file/bot${token}/sneak`, `/bot${token}/test/sneak`]) {
        const answer = await ask(gate, { target, side });
        assert.ok(statuses.includes(answer.status), `${side} ${target}: ${answer.status}`);
        assertApiError(answer, answer.status, target);
        if (token === other) assert.match(json(answer).description ?? '', /unauthorized/i);
      }
    }
    for (const target of [
      '/',
      '/sneak',
      '/favicon.ico',
      '/sandbox',
      '/sandbox/log?sneak',
      '/bot/sneak',
      '/bot{token}',
      '/bot{token}sneak',
      '/Bot{token}/sneak',
      '/BOT{token}/sneak',
      '/x/bot{token}/sneak',
      '//bot{token}/sneak',
      '/file/sneak',
      '/file/bot{token}',
      '/files/bot{token}/sneak',
      '/file/file/bot{token}/sneak',
      '/bot{token}/../../sandbox/log?sneak',
      '/file/bot{token}/../../sandbox/sneak',
      '/file/bot{token}/%2e%2e/%2e%2e/sandbox/sneak',
      '/..%2f..%2fetc%2fpasswd?sneak',
      '/?/bot{token}/sneak',
      '/#/bot{token}/sneak',
      '*',
    ]) {
      const answer = await answerOrEnd(gate, { target, side });
      // Below a good token the API itself may be asked: it knows what it means. But only with the path as it was.
      if (/\/bot\{token\}\/\.\.|\/file\/bot\{token\}\//.test(target)) continue;
      assert.ok(answer === null || [400, 401, 404].includes(answer.status), `${target}: ${answer?.status}`);
      if (answer?.status === 404) assertApiError(answer, 404, target);
    }
  }
  const strays = up.seen.filter(
    (seen) =>
      /sneak|sandbox|passwd/.test(seen.target) &&
      !/^\/(file\/)?bot\d+:[\w-]{35}\/.*\.\./.test(decodeURIComponent(seen.target)),
  );
  assert.deepEqual(
    strays.map((seen) => seen.target),
    [],
  );
  assert.equal(up.mostPolls(), 1);
  assertNoToken(gate.run.stderr() + gate.run.stdout(), b.token);
});

test('Host: a loopback name with the port, and nothing a web page could bring', async (t) => {
  const { up, gate } = await onUpstream(t);
  const target = '/bot{token}/sneak';
  const good = [`127.0.0.1:${gate.port}`, `localhost:${gate.port}`, `LOCALHOST:${gate.port}`];
  for (const host of good) {
    const answer = await ask(gate, { target: '/bot{token}/fine', host });
    assert.equal(answer.status, 200, host);
  }
  const old = await ask(gate, { target: '/bot{token}/fine', host: null, version: 'HTTP/1.0' });
  assert.equal(old.status, 200, 'HTTP/1.0 has no Host');
  const bad = [
    'evil.example',
    `evil.example:${gate.port}`,
    `127.0.0.1.evil.example:${gate.port}`,
    `localhost.evil.example:${gate.port}`,
    `evil.example#127.0.0.1:${gate.port}`,
    `evil.example@127.0.0.1:${gate.port}`,
    `127.0.0.1:${gate.port}@evil.example`,
    `127.0.0.1:${gate.port}.evil.example`,
    `127.0.0.1:${gate.port}, evil.example`,
    `127.0.0.1:${gate.port} evil.example`,
    `127.0.0.1:${gate.port === 80 ? 81 : 80}`,
    `10.0.0.1:${gate.port}`,
    `api.telegram.org`,
    '',
  ];
  for (const side of ['inside', 'outside'] as const) {
    for (const host of bad) {
      const answer = await answerOrEnd(gate, { target, host, side });
      assert.ok(answer === null || [400, 403, 421].includes(answer.status), `${host}: ${answer?.status}`);
    }
    const none = await answerOrEnd(gate, { target, host: null, side });
    assert.ok(none === null || [400, 403, 421].includes(none.status), 'HTTP/1.1 without Host');
    for (const hosts of [
      [`127.0.0.1:${gate.port}`, 'evil.example'],
      ['evil.example', `127.0.0.1:${gate.port}`],
    ]) {
      const headers = hosts.map((host) => ['Host', host] as const);
      const two = await answerOrEnd(gate, { target, host: null, headers, side });
      assert.ok(two === null || [400, 403, 421].includes(two.status), `two hosts: ${two?.status}`);
    }
    const absolute = await answerOrEnd(gate, { target: `http://evil.example${target}`, side });
    assert.ok(absolute === null || [400, 403, 404, 421].includes(absolute.status), `${absolute?.status}`);
  }
  assert.deepEqual(up.of('sneak'), []);
});

test('a page of a browser: no permission, nothing forwarded', async (t) => {
  const { up, gate } = await onUpstream(t);
  const page = [
    ['Origin', 'https://evil.example'],
    ['Referer', 'https://evil.example/page'],
    ['Sec-Fetch-Site', 'cross-site'],
    ['Sec-Fetch-Mode', 'cors'],
  ] as const;
  for (const [method, target] of [
    ['GET', `/bot${randomToken()}/sneak`],
    ['POST', `/bot${randomToken()}/sneak`],
    ['GET', '/'],
    ['OPTIONS', '/bot{token}/sneak'],
  ] as const) {
    const headers = [...page, ['Access-Control-Request-Method', 'POST']] as const;
    const answer = await answerOrEnd(gate, { method, target, headers, side: 'outside' });
    assert.ok(answer === null || answer.status >= 400, `${method} ${target}: ${answer?.status}`);
    const allowed = answer?.headers.filter(([name]) => /^access-control/i.test(name));
    assert.deepEqual(allowed ?? [], [], target);
  }
  assert.deepEqual(up.of('sneak'), []);
});

test('verbs other than GET and POST: 501, as the Bot API has it', async (t) => {
  const { up, gate } = await onUpstream(t);
  for (const side of ['inside', 'outside'] as Side[]) {
    for (const method of ['HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND', 'get', 'FOO']) {
      const answer = await answerOrEnd(gate, { method, target: '/bot{token}/sneak', side });
      assert.ok(answer !== null && [400, 501].includes(answer.status), `${method}: ${answer?.status}`);
      if (['HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH'].includes(method)) assert.equal(answer?.status, 501);
    }
    for (const target of [`127.0.0.1:${up.port}`, 'example.com:443', '/bot{token}/sneak']) {
      const tunnel = await answerOrEnd(gate, { method: 'CONNECT', target, side });
      assert.ok(tunnel === null || tunnel.status >= 400, `CONNECT ${target}: ${tunnel?.status}`);
    }
    const upgrade = [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
      ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
      ['Sec-WebSocket-Version', '13'],
    ] as const;
    const socket = await answerOrEnd(gate, { target: '/bot{token}/getChat', headers: upgrade, side });
    assert.ok(socket === null || socket.status !== 101);
  }
  assert.deepEqual(up.of('sneak'), []);
  for (const seen of up.of('getChat'))
    assert.ok(!seen.headers.some(([name]) => /^upgrade$/i.test(name)), 'the upgrade went up');
});

test('getUpdates of a process outside the worker tree is refused, with its pid in the log, once', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  const variants: Ask[] = [
    { target: '/bot{token}/getUpdates?timeout=5&poller=stranger.1' },
    { target: '/bot{token}/GETUPDATES?timeout=5&poller=stranger.1' },
    { target: '/bot{token}/?method=getUpdates&poller=stranger.1' },
    { target: '/bot{token}/getUpdates?offset=999999999&poller=stranger.1', body: 'x' },
  ];
  for (let round = 0; round < 10; round++) {
    for (const variant of variants) {
      const answer = await ask(gate, { ...variant, side: 'outside' });
      assertApiError(answer, 403, variant.target);
    }
  }
  await gate.run.waitFor(/refused/i);
  const lines = () =>
    gate.run
      .stderr()
      .split('\n')
      .filter((line) => /refused/i.test(line));
  assert.equal(lines().length, 1, lines().join('\n'));
  assert.match(lines()[0]!, new RegExp(`\\b${process.pid}\\b`));
  const status = (await b.status()) as unknown as { polling: { refused: number }; strays: unknown };
  assert.ok(status.polling.refused >= 40, JSON.stringify(status.polling));

  // A stray bot that copied the worker's settings.
  const stray = b.spawn(PYTHON, [worker('poller.py')], {
    env: { LEGACY_TOKEN: gate.token, LEGACY_ROOT: gate.told.root },
  });
  await until(
    'the stray to be named',
    () => lines().some((line) => new RegExp(`\\b${stray.pid}\\b`).test(line)),
    {
      seen: gate.run.seen,
    },
  );
  await staysTrue('it does not poll', 1000, () =>
    b.sandbox.polls().every((poll) => poll.name === 'relay.mjs'),
  );
  assert.equal(lines().length, 2, lines().join('\n'));
  assertSingleFlight(b);
  assertNoToken(gate.run.stderr(), b.token);
});

test('a stranger that sends a poll and is gone before anybody looks: its offset confirms nothing', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--idle'] });
  const id = b.sandbox.text('not to be lost');
  const target = `/bot{token}/getUpdates?offset=${id + 1}&poller=stranger.1`;
  for (let round = 0; round < 100; round++) {
    const socket = gate.dial('outside');
    await new Promise((resolve) => socket.end(requestBytes(gate, { target }), () => resolve(null)));
    if (round % 2) socket.destroy();
    else socket.resetAndDestroy();
    // A call of the worker in between: when it is answered, what came before it has been looked at.
    if (round % 5 === 0) await ask(gate, { target: '/bot{token}/getMe' });
  }
  await staysTrue('no poll of a stranger at the API', 500, () => b.sandbox.polls().length === 0);
  assert.equal((await b.sandbox.webhookInfo()).pending_update_count, 1);
});

test('the gateway listens on 127.0.0.1 only', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  assert.equal(gate.told.root, `http://127.0.0.1:${gate.port}`);
  assert.notEqual(gate.port, b.sandbox.port);
  const addresses = listenersAt(gate.port).map(({ address }) => address);
  assert.deepEqual(addresses, ['0100007F']);
  assert.match(gate.run.stderr(), new RegExp(`open at http://127\\.0\\.0\\.1:${gate.port}`, 'i'));
});
