// Local callers of the gateway that are not the bot it was made for: what may not pass is turned down, strangers do not poll, and
// whatever way a worker asks, the API sees one poll at a time. How single requests are read: unit/gateway-request.test.ts.
import assert from 'node:assert/strict';
import { PYTHON, worker } from '../support/bed.ts';
import { assertOnePoll } from '../support/gateway.ts';
import { it } from '../support/kinds.ts';
import { listenersAt } from '../support/proc.ts';
import { relay } from '../support/relay.ts';
import { until } from '../support/wait.ts';
import { type Answer, type Ask, ask, chunked, json, requestBytes } from '../support/wire.ts';

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';
const MULTIPART = 'multipart/form-data; boundary=bb';
const typed = (type: string, ...more: [string, string][]) => [['Content-Type', type] as const, ...more];
const multipart = (name: string, value: string) =>
  `--bb\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n--bb--\r\n`;

it('getUpdates in every way that bots ask it takes its turn; one that can not be read is refused', async (b) => {
  const gate = await relay(b);
  const target = '/bot{token}/getUpdates';
  const timeout = 'timeout=1';
  const polls: Ask[] = [
    { target: `/bot{token}/GETUPDATES?${timeout}` },
    { target, headers: typed(FORM), body: timeout },
    { target, method: 'GET', headers: typed(FORM), body: timeout },
    { target, headers: typed(JSON_TYPE), body: '{"timeout":1}' },
    { target, headers: typed(MULTIPART), body: multipart('timeout', '1') },
    {
      target,
      headers: typed(FORM, ['Transfer-Encoding', 'chunked']),
      body: chunked(Buffer.from(timeout), 1),
    },
  ];
  const answers = await Promise.all(polls.map((it) => ask(gate, it)));
  for (const [i, answer] of answers.entries())
    assert.ok(Array.isArray(json(answer).result), `${polls[i]!.target}: ${answer.body}`);
  for (const [status, unread] of [
    [400, { target, headers: typed('multipart/form-data'), body: 'x' }],
    [413, { target, headers: typed(FORM), body: 'x'.repeat((1 << 20) + 1) }],
    [415, { target, headers: typed(FORM, ['Content-Encoding', 'gzip']), body: 'x' }],
    [404, { target: `/bot{token}/?method=getUpdates&${timeout}` }],
  ] as const) {
    const answer: Answer = await ask(gate, unread);
    assert.equal(answer.status, status, answer.body.toString());
    assert.ok(json(answer).description);
  }
  assertOnePoll(b);
});

it('setWebhook with a URL is turned down however it is asked; without one it deletes, as ever', async (b) => {
  const gate = await relay(b);
  const url = 'https://hooks.example.com/a';
  const sets: Ask[] = [
    { target: `/bot{token}/setWebhook?url=${url}` },
    { target: '/bot{token}/setWebhook', headers: typed(JSON_TYPE), body: JSON.stringify({ url }) },
    { target: '/bot{token}/setWebhook', headers: typed(MULTIPART), body: multipart('url', url) },
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

it('getUpdates of a process outside the worker tree is refused, with its pid in the log, once', async (b) => {
  const gate = await relay(b, { worker: ['--idle'] });
  assert.deepEqual(
    listenersAt(gate.port).map(({ address }) => address),
    ['0100007F'],
    '127.0.0.1 only',
  );
  const target = '/bot{token}/getUpdates?offset=999999999';
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
  await until(
    'the stray to be named',
    () => refused().some((line) => line.includes(`pid ${stray.pid} `)),
    gate.run,
  );
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
