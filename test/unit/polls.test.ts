// Polls between the worker's open requests and the Bot API, without sockets: what an answer means to the worker and to the supervisor,
// and that a client that hangs up before its turn sends nothing.
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import type { GatewayNews } from '../../src/gateway/events.ts';
import { createArgs } from '../../src/gateway/params.ts';
import { createPolls } from '../../src/gateway/polls.ts';
import type { HttpClient } from '../../src/telegram/http-client.ts';

interface Upstream {
  readonly status: number;
  readonly body: string;
}

/** One poll; `answer` is what the Bot API says to it, null: it waits. */
async function poll(answer: Upstream | null, { hangsUp = false } = {}) {
  const sent: string[] = [];
  const news: GatewayNews[] = [];
  const given: unknown[] = [];
  let mayPoll = false;
  const client = {
    ask({ path }: { path: string }) {
      sent.push(path);
      const { status = 0, body = '' } = answer ?? {};
      return answer ? Promise.resolve({ status, body: Buffer.from(body) }) : new Promise(() => {});
    },
  };
  const polls = createPolls({
    client: client as unknown as HttpClient,
    root: new URL('http://127.0.0.1'),
    prefix: () => '/bot123:abc',
    mayPoll: () => mayPoll,
    ownWebhook: () => false,
    onNews: (it) => news.push(it),
  });
  const response = Object.assign(new EventEmitter(), {
    writeHead: (status: number) => given.push(status),
    end(body: Buffer) {
      given.push(body.toString());
      response.emit('finish');
    },
  });
  polls.ask({
    request: { headers: {}, socket: {} } as unknown as IncomingMessage,
    response: response as unknown as ServerResponse,
    args: createArgs({ timeout: '30' }),
    environment: '/test',
    poller: { kind: 'poller', pid: null, connection: 1 },
  });
  if (hangsUp) response.emit('close');
  mayPoll = true;
  polls.send({ kind: 'opened' });
  await new Promise(setImmediate);
  const told = news.filter(({ kind }) => kind !== 'asked' && kind !== 'sent');
  const result = { sent, told, given: [...given] };
  polls.close();
  return result;
}

test('a poll whose client hung up before its turn is not sent', async () => {
  assert.deepEqual((await poll(null, { hangsUp: true })).sent, []);
});

test('a poll whose client waits goes to its own environment', async () => {
  assert.deepEqual((await poll(null)).sent, ['/bot123:abc/test/getUpdates']);
});

const failed = (code: number, description: string, parameters = {}) =>
  JSON.stringify({ ok: false, error_code: code, description, parameters });
const OTHER = failed(409, 'Conflict: terminated by other getUpdates request; make …');
const WEBHOOK = failed(409, "Conflict: can't use getUpdates method while webhook is active; …");

// What the worker is given is the answer itself, where the third column says so; what else is told of it.
for (const [what, status, body, isGiven, ...told] of [
  ['updates', 200, '{"ok":true,"result":[{"update_id":7},{"update_id":9}]}', true, 'accepted', 'completed 2'],
  ['none', 200, '{"ok":true,"result":[]}', true, 'accepted', 'completed 0'],
  ['another poller', 409, OTHER, false, 'conflict'],
  ['another, as of old', 409, failed(409, 'terminated by other long poll or webhook'), false, 'conflict'],
  ['no words', 409, failed(409, 'Conflict'), false, 'conflict'],
  ['a webhook that is set', 409, failed(409, 'Conflict: terminated by setWebhook request'), false, 'webhook'],
  ['a webhook', 409, WEBHOOK, false, 'webhook'],
  ['a pause', 429, failed(429, 'Too Many Requests', { retry_after: 5 }), false, 'flood 5000'],
  ['a pause of no length', 429, '<html>', false, 'flood 1000'],
  ['a refusal', 401, failed(401, 'Unauthorized'), true, 'refused Unauthorized'],
  ['what is the worker’s affair', 400, failed(400, 'Logged out'), true],
  ['not found', 404, failed(404, 'Not Found'), true],
  ['a front end’s', 502, '<html>Bad Gateway</html>', false, 'outage HTTP 502'],
  ['nothing', 504, '', false, 'outage HTTP 504'],
  ['a restart', 500, failed(500, 'Internal: restart'), false, 'outage Internal: restart'],
  [
    'one that is cut off',
    200,
    '{"ok":true,"result":[{"upd',
    false,
    'outage HTTP 200, but no answer of a Bot API',
  ],
  ['no list', 200, '{"ok":true,"result":true}', false, 'outage an answer that is none to getUpdates'],
  ['null', 200, 'null', false, 'outage HTTP 200, but no answer of a Bot API'],
] as const)
  test(`an answer to getUpdates: ${what} (${status}): ${told.join(', ') || 'passed on'}`, async () => {
    const { told: news, given } = await poll({ status, body });
    const words = news
      .filter(({ kind }) => kind !== 'sent')
      .map((it) => {
        const { kind, livedMs: _, answered: __, ...detail } = it as Record<string, unknown> & GatewayNews;
        return [kind, ...Object.values(detail)].join(' ');
      });
    assert.deepEqual(words, told);
    assert.deepEqual(given, isGiven ? [status, body] : []);
  });
