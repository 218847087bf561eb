// getUpdates in every spelling that the Bot API understands is one: it waits for its turn like any other poll. Beside the
// worker's own poll each of them is sent from inside the tree; two at the API at once would be a dodge.
// What the API understands: src/sandbox/request-path.ts, request-body.ts, args.ts (and their sources).
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { bed } from '../support/bed.ts';
import { assertSingleFlight, overlaps } from '../support/gateway-judge.ts';
import { handled } from '../support/judge.ts';
import { type Gate, relay } from '../support/relay.ts';
import { until } from '../support/wait.ts';
import { type Ask, ask, chunked, json, requestBytes, wire } from '../support/wire.ts';

const FORM = 'application/x-www-form-urlencoded';
const MULTI = 'multipart/form-data; boundary=bb';
const type = (value: string) => [['Content-Type', value]] as const;
const part = (head: string, value: string) => `--bb\r\nContent-Disposition: ${head}\r\n\r\n${value}\r\n`;
const form = (...parts: string[]) => `${parts.join('')}--bb--\r\n`;

/** Spellings of getUpdates with a timeout of one second; `{name}` names the request in the sandbox's record. */
const POLLS: Omit<Ask, 'side'>[] = [
  { target: '/bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/GETUPDATES?timeout=1&poller={name}' },
  { target: '/bot{token}/getupdates?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdate%73?timeout=1&poller={name}' },
  { target: '/bot{token}/%67%65%74%55%70%64%61%74%65%73?timeout=1&poller={name}' },
  { target: '/bot{token}%2FgetUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}%2fgetUpdates?timeout=1&poller={name}' },
  { target: '/%62ot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates#fragment?x', headers: type(FORM), body: 'timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates??timeout=1&timeout=1&poller={name}' },
  { target: '/bot{token}/?method=getUpdates&timeout=1&poller={name}' },
  { target: '/bot{token}/?%6dethod=GetUpdates&timeout=1&poller={name}' },
  { target: '/bot{token}/?method=%67etUpdates&method=getMe&timeout=1&poller={name}' },
  { target: '/bot{token}/?timeout=1&poller={name}', headers: type(FORM), body: 'method=getUpdates' },
  { target: '/bot{token}/?timeout=1&poller={name}', headers: type(FORM), body: 'x=1&me%74hod=getUpdates' },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    method: 'GET',
    headers: type(FORM),
    body: 'method=getUpdates',
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type('APPLICATION/JSON'),
    body: '{"method":"getUpdates"}',
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type('application/json'),
    body: '{"\\u006dethod":"\\u0067etUpdates","method":"getMe"}',
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type('application/json'),
    body: '{"method":"getUpdates", broken',
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type('text/plain; application/json'),
    body: '{"method":"getUpdates"}',
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type(MULTI),
    body: form(part('form-data; name="method"', 'getUpdates')),
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type(MULTI),
    body: form(part('form-data; name=method', 'getUpdates')),
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type(MULTI),
    body: form(
      part('form-data; name="big"; filename="x"', 'x'.repeat(300_000)),
      part('form-data; name="method"', 'getUpdates'),
    ),
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: type(MULTI),
    body: form(
      '--bb\r\nContent-Disposition: form-data; name="x"\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nmethod=getUpdates\r\n',
    ),
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: [...type(FORM), ['Transfer-Encoding', 'chunked']],
    body: chunked(Buffer.from('method=getUpdates'), 1),
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: [...type(FORM), ['Content-Encoding', 'gzip']],
    body: gzipSync('method=getUpdates'),
  },
  {
    target: '/bot{token}/?timeout=1&poller={name}',
    headers: [...type(FORM), ['Content-Encoding', 'deflate']],
    body: deflateSync('method=getUpdates'),
  },
];

/** What the Bot API does not take for getUpdates, but would after a repair on the way. */
const NEAR: Omit<Ask, 'side'>[] = [
  { target: '/bot{token}/sendMessage/../getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/./getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/x/%2e%2e/getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/%2e/getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/x\\..\\getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}//getUpdates?timeout=1&poller={name}' },
  { target: '//bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/x/../bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/file/../bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/file/bot{token}/../../bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/file/bot{token}/%2e%2e/%2E%2E/bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/file/bot{token}/..%2f..%2fbot{token}%2fgetUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/test/../getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/TEST/getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates/?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates%00?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates%20?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates;x?timeout=1&poller={name}' },
  { target: '/bot{token}/getUpdates%3Ftimeout=1&poller={name}' },
  { target: '/bot{token}/get\tUpdates?timeout=1&poller={name}' },
  { target: 'http://127.0.0.1/bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '@127.0.0.1/bot{token}/getUpdates?timeout=1&poller={name}' },
  { target: '/bot{token}/?method=&method=getUpdates&timeout=1&poller={name}' },
  { target: '/bot{token}/?method=getMe&method=getUpdates&timeout=1&poller={name}' },
  {
    target: '/bot{token}/?method=getMe&timeout=1&poller={name}',
    headers: type(FORM),
    body: 'method=getUpdates',
  },
  { target: '/bot{token}/?timeout=1&poller={name}', headers: type('text/plain'), body: 'method=getUpdates' },
  { target: '/bot{token}/?timeout=1&poller={name}', headers: [['X-HTTP-Method-Override', 'getUpdates']] },
];

const named = (what: Omit<Ask, 'side'>, name: string): Ask => ({
  ...what,
  target: what.target.replace('{name}', name),
  ...(typeof what.body === 'string' && { body: what.body.replace('{name}', name) }),
});

/** Sends each beside the worker's open poll, some at a time; gives the status of each answer, 0 for a closed connection. */
async function sendAll(gate: Gate, list: Omit<Ask, 'side'>[]): Promise<[Ask, number, string][]> {
  const results: [Ask, number, string][] = [];
  for (let at = 0; at < list.length; at += 8) {
    const batch = list.slice(at, at + 8).map(async (what, index): Promise<[Ask, number, string]> => {
      const sent = named(what, `dodge${at + index}.1`);
      const connection = wire(gate.dial('inside'));
      await connection.send(requestBytes(gate, sent));
      await until(
        `an answer to ${what.target} ${what.body ?? ''}`.slice(0, 300),
        () => connection.ended() || connection.answers().length > 0,
        { ms: 20_000 },
      );
      const answer = connection.answers()[0];
      connection.close();
      return [sent, answer?.status ?? 0, answer?.body.toString('utf8') ?? ''];
    });
    results.push(...(await Promise.all(batch)));
  }
  return results;
}

test('getUpdates in every spelling takes its turn', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  for (const [sent, status, body] of await sendAll(gate, POLLS)) {
    const shown = `${sent.target.replace(gate.token, 'TOKEN')} ${sent.body ?? ''}`.slice(0, 300);
    assert.equal(status, 200, `${shown}: ${status} ${body}`);
    assert.ok(Array.isArray((JSON.parse(body) as { result: unknown }).result), `${shown}: ${body}`);
  }
  assertSingleFlight(b);
  const id = b.sandbox.text('after');
  await until('the worker to poll on', () => handled(b.journal()).has(id), { seen: gate.run.seen });
});

test('paths and parameters that only a repair would make a getUpdates', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  for (const [sent, status, body] of await sendAll(gate, NEAR)) {
    const shown = `${sent.target.replace(gate.token, 'TOKEN')} ${sent.body ?? ''}`.slice(0, 300);
    // getMe is what some of them mean; a poll is none of them.
    const polled = status === 200 && Array.isArray((JSON.parse(body) as { result: unknown }).result);
    assert.ok(!polled, `${shown}: ${status} ${body}`);
    assert.ok(status < 500, `${shown}: ${status} ${body}`);
  }
  assertSingleFlight(b);
  for (const poll of b.sandbox.polls()) assert.doesNotMatch(poll.name, /^dodge/);
  assert.deepEqual(
    b.sandbox.requests().filter((record) => record.bot === 0).length,
    0,
    'another bot was asked',
  );
});

test('the sandbox agrees on what a getUpdates is', async (t) => {
  const b = await bed(t);
  b.sandbox.text('waits, so that each poll is answered at once');
  const root = new URL(b.sandbox.root);
  const direct = {
    token: b.token,
    host: root.host,
    dial: () => connect({ host: '127.0.0.1', port: Number(root.port), allowHalfOpen: true }),
  } as unknown as Gate;
  for (const [list, expected] of [
    [POLLS, true],
    [NEAR, false],
  ] as const) {
    for (const [index, what] of list.entries()) {
      const before = b.sandbox.polls().length;
      const connection = wire(direct.dial('outside'));
      await connection.send(requestBytes(direct, named(what, `direct${index}.1`)));
      await until('its end', () => connection.ended() || connection.answers().length > 0, { ms: 10_000 });
      connection.close();
      assert.equal(b.sandbox.polls().length > before, expected, what.target + (what.body ?? ''));
    }
  }
});

test('calls without a method in the path work, and the first of two equal parameters counts', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--child'] });
  const cases: [Ask, string][] = [
    [{ target: '/bot{token}/?method=getMe' }, 'is_bot'],
    [{ target: '/bot{token}/?method=getMe&method=getUpdates' }, 'is_bot'],
    [{ target: '/bot{token}/', headers: type('application/json'), body: '{"method":"getMe"}' }, 'is_bot'],
    [
      {
        target: '/bot{token}/?chat_id=5',
        headers: type(FORM),
        body: 'method=sendMessage&chat_id=6&text=hello',
      },
      '"id":5',
    ],
    [
      { target: '/bot{token}/', headers: type(MULTI), body: form(part('form-data; name="method"', 'getMe')) },
      'is_bot',
    ],
  ];
  for (const [what, expected] of cases) {
    const answer = await ask(gate, what);
    assert.equal(answer.status, 200, what.target);
    assert.ok(answer.body.includes(expected), answer.body.toString());
  }
  // A second poller is answered empty at its own timeout: one second, not fifty.
  const timeouts: Ask[] = [
    { target: '/bot{token}/getUpdates?timeout=1&timeout=50' },
    { target: '/bot{token}/getUpdates?timeout=1', headers: type(FORM), body: 'timeout=50' },
    { target: '/bot{token}/getUpdates', headers: type(FORM), body: 'timeout=1&timeout=50' },
    {
      target: '/bot{token}/getUpdates',
      headers: type('application/json'),
      body: '{"timeout":1,"timeout":50}',
    },
    {
      target: '/bot{token}/getUpdates',
      headers: type('application/json'),
      body: '{"timeout":"1s","limit":5}',
    },
    {
      target: '/bot{token}/getUpdates',
      headers: type(MULTI),
      body: form(part('form-data; name="timeout"', '1')),
    },
    { target: '/bot{token}/getUpdates?timeout=-5' },
    { target: '/bot{token}/getUpdates?timeout=abc' },
    { target: '/bot{token}/getUpdates' },
  ];
  for (const side of ['inside', 'child'] as const) {
    for (const what of timeouts) {
      const begin = performance.now();
      const answer = await ask(gate, { ...what, side });
      const took = performance.now() - begin;
      assert.equal(answer.status, 200);
      assert.deepEqual(json(answer), { ok: true, result: [] });
      assert.ok(
        took > 700 && took < 4500,
        `${side} ${what.target} ${what.body ?? ''}: ${took.toFixed(0)} ms`,
      );
    }
  }
  assert.deepEqual(overlaps(b), []);
});

test('the only poller, in odd spellings: its offset counts, its polls are seen', async (t) => {
  const b = await bed(t);
  const gate = await relay(b, { worker: ['--idle'] });
  const ids = [1, 2, 3].map((n) => b.sandbox.text(`text ${n}`));
  const got = await ask(gate, {
    target: '/bot{token}/?method=GETUPDATES&limit=2',
    headers: type(FORM),
    body: 'timeout=0',
  });
  assert.deepEqual(
    json<{ result: { update_id: number }[] }>(got).result.map((update) => update.update_id),
    ids.slice(0, 2),
  );
  const offset = String((ids[1] ?? 0) + 1);
  const next = await ask(gate, {
    target: '/bot{token}/getUpdate%73',
    headers: type('application/json'),
    body: `{"offset":${offset},"offset":1,"timeout":1}`,
  });
  assert.deepEqual(
    json<{ result: { update_id: number }[] }>(next).result.map((update) => update.update_id),
    ids.slice(2),
  );
  const { polling } = await b.status();
  assert.equal(polling?.offset, Number(offset));
  assert.equal(polling?.polls, 2);
  assert.equal(polling?.updates, 3);
});

test('setWebhook with a URL is turned down in every spelling; without one it deletes, as ever', async (t) => {
  const b = await bed(t);
  const gate = await relay(b);
  const url = 'https://hooks.example.com/a';
  const multipart = form(
    part('form-data; name="certificate"; filename="c.pem"', 'x'.repeat(5000)),
    part('form-data; name="url"', url),
  );
  const sets: Ask[] = [
    { target: `/bot{token}/setWebhook?url=${url}` },
    { target: `/bot{token}/SETWEBHOOK?url=${encodeURIComponent(url)}` },
    { target: `/bot{token}/set%57ebhook?u%72l=${url}` },
    { target: `/bot{token}%2FsetWebhook?url=${url}` },
    { target: `/bot{token}/?method=setWebhook&url=${url}` },
    { target: '/bot{token}/setWebhook', headers: type(FORM), body: `url=${encodeURIComponent(url)}` },
    { target: '/bot{token}/setwebhook', headers: type('application/json'), body: JSON.stringify({ url }) },
    {
      target: '/bot{token}/',
      headers: type('application/json'),
      body: JSON.stringify({ url, method: 'setWebhook' }),
    },
    { target: '/bot{token}/setWebhook', headers: type(MULTI), body: multipart },
    {
      target: '/bot{token}/setWebhook',
      headers: [...type(MULTI), ['Transfer-Encoding', 'chunked']],
      body: chunked(Buffer.from(multipart), 11),
    },
    {
      target: '/bot{token}/setWebhook',
      headers: [...type(FORM), ['Content-Encoding', 'gzip']],
      body: gzipSync(`url=${url}`),
    },
    { target: `/bot{token}/setWebhook?url=${url}`, headers: type(FORM), body: 'url=' },
  ];
  for (const what of sets) {
    const answer = await ask(gate, what);
    const shown = `${what.target} ${what.body ?? ''}: ${answer.status} ${answer.body}`;
    assert.equal(answer.status, 409, shown);
    assert.equal(json(answer).error_code, 409, shown);
    assert.match(json(answer).description ?? '', /singlepoll/i, shown);
  }
  for (const what of [
    { target: '/bot{token}/setWebhook' },
    { target: '/bot{token}/setWebhook?url=' },
    { target: `/bot{token}/setWebhook?url=&url=${url}` },
    { target: '/bot{token}/setWebhook', headers: type('application/json'), body: '{"url":""}' },
    { target: `/bot{token}/deleteWebhook?url=${url}` },
  ]) {
    const answer = await ask(gate, what);
    assert.equal(answer.status, 200, `${what.target}: ${answer.body}`);
    assert.equal(json(answer).result, true);
  }
  assert.equal((await b.sandbox.webhookInfo()).url, '');
  const { polling } = (await b.status()) as unknown as { polling: { webhookAttempts: number } };
  assert.equal(polling.webhookAttempts, sets.length);
  await gate.run.waitFor(/setWebhook.*turned down/i);
  assertSingleFlight(b);
});
