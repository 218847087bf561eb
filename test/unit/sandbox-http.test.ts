/**
 * The sandbox over real HTTP: what the tests on a virtual clock cannot see (connections, faults, control, shutdown).
 */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { after, before, describe, it, type TestContext } from 'node:test';
import { CONSOLE_HELP, parseLine, serveConsole } from '../../src/sandbox/actions.ts';
import { randomToken } from '../../src/sandbox/core.ts';
import type { RequestRecord } from '../../src/sandbox/log.ts';
import { startSandbox } from '../../src/sandbox/server.ts';
import { maxOpenPolls } from '../support/sandbox.ts';
import { until } from '../support/wait.ts';

let sandbox: Awaited<ReturnType<typeof startSandbox>>;
before(async () => {
  sandbox = await startSandbox();
});
after(() => sandbox.close());

/** A fresh bot for each test: tests of one file share the port, not the state. */
const freshToken = () => sandbox.addBot();
const idOf = (token: string) => Number(token.split(':')[0]);
const recordsOf = (token: string) => sandbox.log.filter(({ bot }) => bot === idOf(token));

async function send(verb: string, path: string, params?: object, signal?: AbortSignal, root = sandbox.root) {
  const response = await fetch(root + path, {
    method: verb,
    ...(params && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(params) }),
    ...(signal && { signal }),
  });
  const text = await response.text();
  const isJson = text.startsWith('{') || text.startsWith('[');
  // biome-ignore lint/suspicious/noExplicitAny: the shape differs from call to call.
  const body: any = isJson && !text.includes('\0') ? JSON.parse(text) : null;
  return { status: response.status, headers: response.headers, text, body };
}
const api = (token: string, method: string, params: object = {}, signal?: AbortSignal) =>
  send('POST', `/bot${token}/${method}`, params, signal);
const idsIn = (answer: { body: { result: { update_id: number }[] } }) =>
  answer.body.result.map((update) => update.update_id);

describe('polls', () => {
  it('does not notice that a client went away: its poll stays, swallows an answer, keeps the update', async () => {
    const token = freshToken();
    const leaving = new AbortController();
    const gone = api(token, 'getUpdates', { timeout: 30 }, leaving.signal);
    const record = await until('the poll', () => recordsOf(token)[0]);
    leaving.abort();
    await assert.rejects(gone);
    await until('the hang-up is in the record', () => record.clientGoneAtMs !== null);
    assert.equal(record.endedAtMs, null, 'still open for the server');
    const id = sandbox.injectText(token, 'for nobody');
    await until('the dead poll is answered', () => record.endedAtMs !== null);
    assert.deepEqual(record.delivered, [id]);
    assert.deepEqual(idsIn(await api(token, 'getUpdates', { timeout: 30 })), [id]);
    assert.equal(maxOpenPolls(sandbox.log, idOf(token)), 1, 'its client had left');
  });
});

describe('faults', () => {
  it('answer a status, a page, garbage, a 429 with its header, then nothing wrong', async () => {
    const token = freshToken();
    const bot = idOf(token);
    sandbox.fault({ kind: 'status', status: 503, bot });
    sandbox.fault({ kind: 'html', status: 504, bot });
    sandbox.fault({ kind: 'garbage', bot });
    sandbox.fault({ kind: 'retry-after', retryAfter: 7, bot });
    const status = await api(token, 'getMe');
    assert.deepEqual([status.status, status.body.error_code], [503, 503]);
    const page = await api(token, 'getMe');
    assert.deepEqual([page.status, page.headers.get('content-type'), page.body], [504, 'text/html', null]);
    const garbage = await api(token, 'getMe');
    assert.deepEqual([garbage.status, garbage.body], [200, null]);
    assert.equal((await api(freshToken(), 'getMe')).status, 200, 'another bot');
    const limited = await api(token, 'getMe');
    assert.equal(limited.headers.get('retry-after'), '7');
    assert.deepEqual(limited.body.parameters, { retry_after: 7 });
    assert.equal((await api(token, 'getMe')).status, 200);
  });

  it('reset before the call is carried out; gone after it; slow answers late', async () => {
    const token = freshToken();
    const bot = idOf(token);
    sandbox.fault({ kind: 'reset', bot, method: 'sendMessage' });
    await assert.rejects(api(token, 'sendMessage', { chat_id: 1, text: 'never' }));
    sandbox.fault({ kind: 'gone', bot, method: 'sendMessage' });
    await assert.rejects(api(token, 'sendMessage', { chat_id: 1, text: 'done' }));
    const texts = sandbox.sent.filter((sent) => sent.bot === bot).map(({ text }) => text);
    assert.deepEqual(texts, ['done']);
    sandbox.fault({ kind: 'slow', ms: 150, bot });
    const startedMs = performance.now();
    assert.equal((await api(token, 'getMe')).status, 200);
    assert.ok(performance.now() - startedMs >= 145);
  });
});

describe('control', () => {
  const control = (verb: string, path: string, body?: object) => send(verb, `/sandbox${path}`, body);

  it('shows bots without tokens, adds bots, injects, logs', async () => {
    const made = await control('POST', '/bots', {});
    assert.equal(made.status, 200);
    const { id, token } = made.body;
    const queued = await control('POST', '/updates', { bot: id, text: 'hi' });
    const update = await control('POST', '/updates', { bot: id, update: { poll: { id: '1' } } });
    assert.equal(update.body.update_id, queued.body.update_id + 1);
    const overview = await control('GET', '');
    const shown = overview.body.bots.find((bot: { id: number }) => bot.id === id);
    assert.deepEqual([shown.pendingUpdates, shown.polling, shown.webhook], [2, false, '']);
    assert.ok(!overview.text.includes(token.split(':')[1]));
    await api(token, 'getUpdates');
    await api(token, 'sendMessage', { chat_id: 1, text: token });
    const log = await control('GET', `/log?bot=${id}`);
    const methods = log.body.map(({ method }: RequestRecord) => method);
    assert.deepEqual(methods, ['getUpdates', 'sendMessage']);
    assert.ok(!log.text.includes(token.split(':')[1]), 'no token in the log');
    assert.equal((await control('GET', `/log?bot=${id}&since=${log.body[0].id}`)).body.length, 1);
    assert.equal((await control('GET', `/sent?bot=${id}`)).body.length, 1);
  });
});

describe('typed lines', () => {
  async function typing(t: TestContext) {
    const sandbox = await startSandbox();
    t.after(() => sandbox.close());
    const input = new PassThrough();
    const said: string[] = [];
    const done = serveConsole(sandbox, input, (line) => said.push(line));
    const type = async (line: string, answer: RegExp) => {
      const before = said.length;
      input.write(`${line}\n`);
      await until(`an answer to ${line}`, () => said.slice(before).some((text) => answer.test(text)), {
        seen: () => said.slice(before).join('\n'),
      });
    };
    return { sandbox, input, done, type };
  }

  it('do what they say', async (t) => {
    const { sandbox, input, done, type } = await typing(t);
    const call = (method: string) => fetch(`${sandbox.root}/bot${sandbox.token}/${method}`);
    await type('hello', /"update_id":\d+/);
    await type('{"chat_member":{}}', /kept out by allowed_updates/);
    await type('!502 getMe 2', /"status":502/);
    for (const status of [502, 502, 200]) assert.equal((await call('getMe')).status, status);
    await type('!hang *', /"count":0/);
    await type('!clear', /^\[\]$/);
    await type('!webhook https://a.example/x', /Webhook was set/);
    assert.equal((await call('getUpdates')).status, 409);
    await type('!webhook', /Webhook was deleted/);
    await type('!log 2', /getUpdates → 409 Conflict: can't use/);
    await type('!bots', /"username":"sandbox_/);
    await type('@1 hello', /no bot 1 here/);
    await type('!what', /no such command/);
    await type('!help', /!rival/);
    await type('!revoke', /"revoked":true/);
    assert.equal((await call('getMe')).status, 401);
    input.end();
    await done;
  });

  it('end quietly when the terminal goes away', async (t) => {
    const { sandbox, input, done, type } = await typing(t);
    await type('!bots', /sandbox_/);
    input.destroy(new Error('read EIO'));
    await done;
    assert.equal((await fetch(`${sandbox.root}/bot${sandbox.token}/getMe`)).status, 200);
  });

  it('explain what is not understood, and every command that the help names is known', () => {
    for (const line of ['!nonsense', '!200', '!700', '!', '{broken', '!502 get-Updates'])
      assert.ok('text' in (parseLine(line) ?? {}), line);
    for (const [, name] of CONSOLE_HELP.matchAll(/!([a-z0-9]+)/g))
      if (name !== 'help') assert.ok('action' in (parseLine(`!${name}`) ?? {}), name);
  });
});

describe('the server', () => {
  it('starts on a given port with given tokens, refuses a taken port and a bad token', async () => {
    const token = randomToken();
    const own = await startSandbox({ tokens: [token] });
    assert.equal(own.token, token);
    await assert.rejects(startSandbox({ port: own.port }), { code: 'EADDRINUSE' });
    await assert.rejects(startSandbox({ tokens: ['nonsense'] }), /not the shape/);
    await own.close();
    const again = await startSandbox({ port: own.port, tokens: [token] });
    assert.equal(again.root, own.root);
    await again.close();
  });
});
