/**
 * The sandbox over real HTTP: what the tests on a virtual clock cannot see (connections, faults, control, shutdown).
 */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { after, before, describe, it, type TestContext } from 'node:test';
import { CONSOLE_HELP, parseLine, serveConsole } from '../../src/sandbox/actions.ts';
import type { RequestRecord } from '../../src/sandbox/core.ts';
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

describe('requests', () => {
  it('getMe tells the id, by GET and by POST, in any case, with the colon encoded', async () => {
    const token = freshToken();
    const encoded = token.replace(':', '%3A');
    for (const path of [`/bot${token}/getMe`, `/bot${encoded}/GETME`, `/bot${token}/?method=getMe`])
      for (const verb of ['GET', 'POST']) {
        const { status, body, headers } = await send(verb, path);
        assert.deepEqual([status, body.result.id], [200, idOf(token)]);
        // The real server has none, and a 409 is known from outside by its length.
        assert.equal(headers.get('keep-alive'), null);
      }
    assert.equal((await send('PUT', `/bot${token}/getMe`)).status, 501);
  });

  it('refuses in the order path, token, method', async () => {
    const token = freshToken();
    for (const [path, status, description] of [
      ['/', 404, 'Not Found'],
      [`/bot${token}`, 404, 'Not Found'],
      [`/bot${token}x/nonsense`, 401, 'Unauthorized'],
      [`/bot${token}/test/getMe`, 401, 'Unauthorized'],
      [`/bot${token}/nonsense`, 404, 'Not Found: method not found'],
      [`/bot${token}/getMe/x`, 404, 'Not Found: method not found'],
    ] as const) {
      const got = await send('GET', path);
      assert.equal(got.status, status, path);
      assert.deepEqual(got.body, { ok: false, error_code: status, description }, path);
    }
  });
});

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

describe('messages and files', () => {
  it('keeps what is sent, and refuses what the server refuses most', async () => {
    const token = freshToken();
    const message = { chat_id: -100123, text: 'hello', parse_mode: 'HTML' };
    const { result } = (await api(token, 'sendMessage', message)).body;
    assert.deepEqual([result.chat.id, result.chat.type], [-100123, 'supergroup']);
    const [sent] = sandbox.sent.filter(({ bot }) => bot === idOf(token));
    assert.deepEqual([sent?.text, sent?.messageId], ['hello', result.message_id]);
    assert.equal(sent?.params.parse_mode, 'HTML');
    for (const [method, params, description] of [
      ['sendMessage', { text: 'x' }, 'Bad Request: chat_id is empty'],
      ['sendMessage', { chat_id: 1 }, 'Bad Request: message text is empty'],
      ['sendPhoto', { chat_id: 1 }, 'Bad Request: there is no photo in the request'],
      ['getFile', { file_id: 'x' }, 'Bad Request: invalid file_id'],
    ] as const)
      assert.equal((await api(token, method, params)).body.description, description);
    assert.equal((await api(token, 'sendChatAction', { chat_id: 7, action: 'typing' })).status, 200);
  });

  it('gives back the bytes of a file: upload, getFile, download', async () => {
    const token = freshToken();
    const bytes = Buffer.from([0, 13, 10, 45, 45, 255, 0]);
    const form = new FormData();
    form.set('chat_id', '5');
    form.set('document', new Blob([bytes], { type: 'application/x-thing' }), 'thing.bin');
    const sent = await fetch(`${sandbox.root}/bot${token}/sendDocument`, { method: 'POST', body: form });
    const { result } = (await sent.json()) as { result: { document: { file_id: string } } };
    const file = await api(token, 'getFile', { file_id: result.document.file_id });
    const download = await fetch(`${sandbox.root}/file/bot${token}/${file.body.result.file_path}`);
    assert.deepEqual(Buffer.from(await download.arrayBuffer()), bytes);
    assert.equal((await send('GET', `/file/bot${token}/documents/none`)).status, 404);
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

  it('reset before the call is carried out; gone after it', async () => {
    const token = freshToken();
    const bot = idOf(token);
    sandbox.fault({ kind: 'reset', bot, method: 'sendMessage' });
    await assert.rejects(api(token, 'sendMessage', { chat_id: 1, text: 'never' }));
    sandbox.fault({ kind: 'gone', bot, method: 'sendMessage' });
    await assert.rejects(api(token, 'sendMessage', { chat_id: 1, text: 'done' }));
    const texts = sandbox.sent.filter((sent) => sent.bot === bot).map(({ text }) => text);
    assert.deepEqual(texts, ['done']);
  });

  it('hang never answers; slow answers late', async () => {
    const token = freshToken();
    const bot = idOf(token);
    sandbox.fault({ kind: 'hang', bot, method: 'getMe' });
    await assert.rejects(api(token, 'getMe', {}, AbortSignal.timeout(200)), { name: 'TimeoutError' });
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

  it('sets and clears faults, sets webhooks, revokes', async () => {
    const token = freshToken();
    const bot = idOf(token);
    const set = await control('POST', '/faults', { kind: 'status', status: 500, bot, count: 0 });
    assert.deepEqual([set.status, set.body.length], [200, 1]);
    assert.equal((await api(token, 'getMe')).status, 500);
    assert.deepEqual((await control('DELETE', '/faults')).body, []);
    assert.equal((await api(token, 'getMe')).status, 200);
    await control('POST', '/webhook', { bot, url: 'https://a.example/' });
    assert.equal((await api(token, 'getUpdates')).status, 409);
    await control('POST', '/revoke', { bot });
    assert.equal((await api(token, 'getMe')).status, 401);
  });

  it('says what is wrong', async () => {
    for (const [verb, path, body, status] of [
      ['POST', '/faults', { kind: 'x' }, 400],
      ['POST', '/faults', { kind: 'hang', count: -1 }, 400],
      ['POST', '/faults', { kind: 'hang', method: 5 }, 400],
      ['POST', '/faults', { kind: 'status', status: 999 }, 400],
      ['POST', '/faults', { kind: 'slow', ms: '5' }, 400],
      ['POST', '/updates', { bot: 1, text: 'x' }, 400],
      ['POST', '/updates', {}, 400],
      ['POST', '/bots', { token: 'x' }, 400],
      ['GET', '/nope', undefined, 404],
    ] as const) {
      const answer = await control(verb, path, body);
      assert.equal(answer.status, status, `${verb} ${path}`);
      assert.equal(typeof answer.body.error, 'string');
    }
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
      assert.equal(typeof parseLine(line), 'string', line);
    for (const [, name] of CONSOLE_HELP.matchAll(/!([a-z0-9]+)/g))
      if (name !== 'help') assert.ok(Array.isArray(parseLine(`!${name}`)), name);
  });
});
