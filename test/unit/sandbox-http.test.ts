/**
 * The sandbox over real HTTP: what the pure tests cannot see (verbs, headers, connections, faults, control, shutdown).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createArgs } from '../../src/gateway/params.ts';
import type { RequestRecord } from '../../src/sandbox/request-log.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/server.ts';

const JSON_TYPE = { 'Content-Type': 'application/json' };

interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly body: { ok: boolean; result?: unknown; description?: string; error_code?: number };
}

interface Sending {
  readonly verb?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
  readonly signal?: AbortSignal;
}

let sandbox: Sandbox;
before(async () => {
  sandbox = await startSandbox();
});
after(() => sandbox.close());

/** A fresh bot for each test: tests of one file share the port, not the state. */
const freshToken = () => sandbox.addBot();
const idOf = (token: string) => Number(token.split(':')[0]);

function send(path: string, sending: Sending = {}, root = sandbox.root): Promise<Got> {
  const { verb = sending.body === undefined ? 'GET' : 'POST', headers = {}, body, agent, signal } = sending;
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      root + path,
      { method: verb, headers, agent: agent ?? false, ...(signal && { signal }) },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('error', reject);
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          let parsed: unknown = null;
          try {
            parsed = JSON.parse(text);
          } catch {}
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            body: parsed as Got['body'],
          });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

const api = (token: string, method: string, params: object = {}, sending: Sending = {}) =>
  send(`/bot${token}/${method}`, { headers: JSON_TYPE, body: JSON.stringify(params), ...sending });

/** Resolves with the first record that fits, also one that is there already. */
function recorded(type: 'start' | 'end', fits: (record: RequestRecord) => boolean): Promise<RequestRecord> {
  const known = sandbox.log.find((record) => fits(record) && (type === 'start' || record.endedAtMs !== null));
  if (known) return Promise.resolve(known);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no request of that kind (${type}) in 5 s`)), 5000);
    const off = sandbox.onRequest((event) => {
      if (event.type !== type || !fits(event.request)) return;
      clearTimeout(timer);
      off();
      resolve(event.request);
    });
  });
}

const pollOf =
  (token: string, skip = 0) =>
  (record: RequestRecord) =>
    record.bot === idOf(token) &&
    record.method === 'getUpdates' &&
    sandbox.log.filter((other) => other.bot === record.bot && other.id < record.id).length >= skip;

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 5000;
  while (!holds()) {
    assert.ok(performance.now() < deadlineMs, `never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('requests', () => {
  it('getMe tells the id, by GET and by POST, in any case, with the colon encoded', async () => {
    const token = freshToken();
    for (const path of [
      `/bot${token}/getMe`,
      `/bot${token.replace(':', '%3A')}/GETME`,
      `/bot${token}/?method=getMe`,
    ])
      for (const verb of ['GET', 'POST']) {
        const { status, body, headers } = await send(path, { verb });
        assert.equal(status, 200);
        assert.equal((body.result as { id: number }).id, idOf(token));
        assert.equal(headers['content-type'], 'application/json');
        assert.ok(headers['content-length']);
      }
  });

  it('other verbs get 501, an empty body and a closed connection', async () => {
    const token = freshToken();
    for (const verb of ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD']) {
      const { status, text, headers } = await send(`/bot${token}/getMe`, { verb });
      assert.deepEqual([status, text, headers.connection], [501, '', 'close'], verb);
    }
    const socket = connect(sandbox.port, '127.0.0.1');
    socket.end('FETCH / HTTP/1.1\r\n\r\n');
    let raw = '';
    socket.on('data', (data) => {
      raw += data;
    });
    await once(socket, 'close');
    assert.match(raw, /^HTTP\/1\.1 501 /);
  });

  it('refuses in the order path, token, session, method', async () => {
    const token = freshToken();
    const cases: [string, number, string][] = [
      ['/', 404, 'Not Found'],
      [`/bot${token}`, 404, 'Not Found'],
      [`/nope/bot${token}/getMe`, 404, 'Not Found'],
      ['/bot0:x/getMe', 401, 'Unauthorized: invalid token specified'],
      ['/botabc:x/getMe', 421, 'Misdirected Request: unallowed token specified'],
      ['/bot123:x/nonsense', 401, 'Unauthorized'],
      [`/bot${token}x/nonsense`, 401, 'Unauthorized'],
      [`/bot${token}/test/getMe`, 401, 'Unauthorized'],
      [`/bot${token}/nonsense`, 404, 'Not Found: method not found'],
      [`/bot${token}/`, 404, 'Not Found: method not found'],
      [`/bot${token}/getMe/x`, 404, 'Not Found: method not found'],
    ];
    for (const [path, status, description] of cases) {
      const got = await send(path);
      assert.equal(got.status, status, path);
      assert.deepEqual(got.body, { ok: false, error_code: status, description }, path);
    }
  });

  it('keeps bots of the test environment apart', async () => {
    const token = freshToken();
    sandbox.addBot(token, true);
    sandbox.inject(token, { message: {} });
    assert.deepEqual((await send(`/bot${token}/test/getUpdates`)).body.result, []);
    assert.equal(((await send(`/bot${token}/getUpdates`)).body.result as unknown[]).length, 1);
  });

  it('reads the query before the body, and 30 like "30"', async () => {
    const token = freshToken();
    await send(`/bot${token}/getUpdates?limit=7`, { headers: JSON_TYPE, body: '{"limit":9,"offset":30}' });
    await send(`/bot${token}/getUpdates`, { headers: JSON_TYPE, body: '{"offset":"31"}' });
    const [first, second] = sandbox.log.filter(({ bot }) => bot === idOf(token));
    assert.deepEqual(first?.params, { limit: '7', offset: '30' });
    assert.equal(first?.offset, 30);
    assert.equal(second?.offset, 31);
  });

  it('ignores a text/plain body without a word, as fetch sends it', async () => {
    const token = freshToken();
    const response = await fetch(`${sandbox.root}/bot${token}/setWebhook`, {
      method: 'POST',
      body: JSON.stringify({ url: 'https://a.example/' }),
    });
    assert.equal(((await response.json()) as Got['body']).description, 'Webhook is already deleted');
  });

  it('reads chunked, compressed and multipart bodies; a GET body too', async () => {
    const token = freshToken();
    const text = (await api(token, 'sendMessage', { chat_id: 5, text: 'plain' })).body.result;
    assert.equal((text as { text: string }).text, 'plain');
    const packed = await send(`/bot${token}/sendMessage`, {
      headers: { ...JSON_TYPE, 'Content-Encoding': 'gzip', 'Transfer-Encoding': 'chunked' },
      body: gzipSync('{"chat_id":5,"text":"packed"}'),
    });
    assert.equal((packed.body.result as { text: string }).text, 'packed');
    const withGet = await send(`/bot${token}/sendMessage`, {
      verb: 'GET',
      headers: { ...JSON_TYPE, 'Content-Length': '26' },
      body: '{"chat_id":5,"text":"get"}',
    });
    assert.equal((withGet.body.result as { text: string }).text, 'get');
    const unknown = await send(`/bot${token}/getMe`, { headers: { 'Content-Encoding': 'br' }, body: 'x' });
    assert.deepEqual([unknown.status, unknown.text, unknown.headers.connection], [415, '', 'close']);
  });

  it('keeps the connection, and closes it when asked', async () => {
    const token = freshToken();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const first = await api(token, 'getMe', {}, { agent });
    await api(token, 'getMe', {}, { agent });
    const ports = sandbox.log.filter(({ bot }) => bot === idOf(token)).map(({ remotePort }) => remotePort);
    assert.equal(new Set(ports).size, 1);
    assert.equal(first.headers.connection, 'keep-alive');
    agent.destroy();
    assert.equal(
      (await api(token, 'getMe', {}, { headers: { ...JSON_TYPE, Connection: 'close' } })).headers.connection,
      'close',
    );
  });

  it('answers every method that it knows', async () => {
    const token = freshToken();
    for (const method of ['sendChatAction', 'setMessageReaction', 'getMyName', 'banChatMember', 'getChat']) {
      const got = await api(token, method, { chat_id: 7, action: 'typing' });
      assert.equal(got.status, 200, method);
    }
  });

  it('refuses a revoked token and a logged-out session', async () => {
    const token = freshToken();
    const poll = api(token, 'getUpdates', { timeout: 30 });
    await recorded('start', pollOf(token));
    sandbox.revoke(token);
    assert.deepEqual((await poll).body, { ok: true, result: [] });
    assert.equal((await api(token, 'getMe')).status, 401);
    const other = freshToken();
    assert.equal((await api(other, 'close')).status, 429);
    assert.equal((await api(other, 'logOut')).body.result, true);
    assert.deepEqual((await api(other, 'getMe')).body, {
      ok: false,
      error_code: 400,
      description: 'Logged out',
    });
  });
});

describe('polls', () => {
  it('the older gets the 409, the newer the update', async () => {
    const token = freshToken();
    const older = api(token, 'getUpdates', { timeout: 30 });
    await recorded('start', pollOf(token));
    const newer = api(token, 'getUpdates', { timeout: 30 });
    assert.equal((await older).status, 409);
    const id = sandbox.injectText(token, 'hi');
    assert.deepEqual(
      ((await newer).body.result as { update_id: number }[]).map((u) => u.update_id),
      [id],
    );
    assert.equal(sandbox.overlap(token), 2);
    const [first, second] = sandbox.log.filter(pollOf(token));
    assert.match(first?.error ?? '', /terminated by other getUpdates/);
    assert.deepEqual(second?.delivered, [id]);
    assert.ok(second?.waited);
    assert.equal(sandbox.overlap(token, [first?.remotePort ?? 0]), 1);
  });

  it('one client that polls again and again never overlaps itself', async () => {
    const token = freshToken();
    const agent = new Agent({ keepAlive: true });
    for (let i = 0; i < 30; i++) {
      const id = sandbox.injectText(token, String(i));
      await api(token, 'getUpdates', { offset: id, timeout: 10 }, { agent });
    }
    agent.destroy();
    assert.equal(sandbox.overlap(token), 1);
  });

  it('does not notice that a client went away: its poll stays, swallows an answer, keeps the update', async () => {
    const token = freshToken();
    const leaving = new AbortController();
    const gone = api(token, 'getUpdates', { timeout: 30 }, { signal: leaving.signal });
    const record = await recorded('start', pollOf(token));
    leaving.abort();
    await assert.rejects(gone);
    await until('the hang-up is in the record', () => record.clientGoneAtMs !== null);
    assert.equal(record.endedAtMs, null, 'still open for the server');
    const id = sandbox.injectText(token, 'for nobody');
    await until('the dead poll is answered', () => record.endedAtMs !== null);
    assert.deepEqual(record.delivered, [id]);
    const next = await api(token, 'getUpdates', { timeout: 30 });
    assert.deepEqual(
      (next.body.result as { update_id: number }[]).map((u) => u.update_id),
      [id],
    );
    assert.equal(sandbox.overlap(token), 1);
  });

  it('a dead poll is superseded without a conflict for the living', async () => {
    const token = freshToken();
    const leaving = new AbortController();
    const gone = api(token, 'getUpdates', { timeout: 30 }, { signal: leaving.signal });
    const dead = await recorded('start', pollOf(token));
    leaving.abort();
    await assert.rejects(gone);
    const next = api(token, 'getUpdates', { timeout: 30 });
    await recorded('start', pollOf(token, 1));
    assert.equal(dead.status, 409, 'sent to nobody');
    const id = sandbox.injectText(token, 'x');
    assert.deepEqual(
      ((await next).body.result as { update_id: number }[]).map((u) => u.update_id),
      [id],
    );
  });
});

describe('messages and files', () => {
  it('keeps what is sent', async () => {
    const token = freshToken();
    const { body } = await api(token, 'sendMessage', { chat_id: -100123, text: 'hello', parse_mode: 'HTML' });
    const message = body.result as { message_id: number; chat: { id: number; type: string } };
    assert.deepEqual([message.chat.id, message.chat.type], [-100123, 'supergroup']);
    const [sent] = sandbox.sent.filter(({ bot }) => bot === idOf(token));
    assert.equal(sent?.text, 'hello');
    assert.equal(sent?.messageId, message.message_id);
    assert.equal(sent?.params.parse_mode, 'HTML');
    const edited = await api(token, 'editMessageText', {
      chat_id: -100123,
      message_id: message.message_id,
      text: 'bye',
    });
    assert.equal((edited.body.result as { message_id: number }).message_id, message.message_id);
  });

  it('refuses what the server refuses most', async () => {
    const token = freshToken();
    const say = async (method: string, params: object) => (await api(token, method, params)).body.description;
    assert.equal(await say('sendMessage', { text: 'x' }), 'Bad Request: chat_id is empty');
    assert.equal(await say('sendMessage', { chat_id: 1 }), 'Bad Request: message text is empty');
    assert.equal(await say('sendPhoto', { chat_id: 1 }), 'Bad Request: there is no photo in the request');
    assert.equal(
      await say('editMessageText', { chat_id: 1, text: 'x' }),
      'Bad Request: message identifier is not specified',
    );
    assert.equal(await say('getFile', { file_id: 'x' }), 'Bad Request: invalid file_id');
  });

  it('gives back the bytes of a file: upload, getFile, download', async () => {
    const token = freshToken();
    const bytes = Buffer.from([0, 13, 10, 45, 45, 255, 0]);
    const form = new FormData();
    form.set('chat_id', '5');
    form.set('document', new Blob([bytes], { type: 'application/x-thing' }), 'thing.bin');
    const sent = await fetch(`${sandbox.root}/bot${token}/sendDocument`, { method: 'POST', body: form });
    const { result } = (await sent.json()) as {
      result: { document: { file_id: string; file_size: number } };
    };
    assert.equal(result.document.file_size, bytes.length);
    const file = await api(token, 'getFile', { file_id: result.document.file_id });
    const { file_path: path } = file.body.result as { file_path: string };
    const download = await fetch(`${sandbox.root}/file/bot${token}/${path}`);
    assert.deepEqual(Buffer.from(await download.arrayBuffer()), bytes);
    assert.equal((await send(`/file/bot${token}/documents/none`)).status, 404);
    assert.equal((await send(`/file/bot1${token}/${path}`)).status, 404);
    const again = await api(token, 'sendDocument', { chat_id: 5, document: result.document.file_id });
    assert.equal(again.status, 200);
  });

  it('remembers commands', async () => {
    const token = freshToken();
    const commands = [{ command: 'ping', description: 'Ping' }];
    await api(token, 'setMyCommands', { commands });
    assert.deepEqual((await api(token, 'getMyCommands')).body.result, commands);
    await api(token, 'deleteMyCommands');
    assert.deepEqual((await api(token, 'getMyCommands')).body.result, []);
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
    assert.deepEqual([page.status, page.headers['content-type'], page.body], [504, 'text/html', null]);
    const garbage = await api(token, 'getMe');
    assert.deepEqual([garbage.status, garbage.body], [200, null]);
    const limited = await api(token, 'getMe');
    assert.equal(limited.headers['retry-after'], '7');
    assert.deepEqual(limited.body, {
      ok: false,
      error_code: 429,
      description: 'Too Many Requests: retry after 7',
      parameters: { retry_after: 7 },
    });
    assert.equal((await api(token, 'getMe')).status, 200);
  });

  it('reset before the call is carried out; gone after it', async () => {
    const token = freshToken();
    const bot = idOf(token);
    sandbox.fault({ kind: 'reset', bot, method: 'sendMessage' });
    await assert.rejects(api(token, 'sendMessage', { chat_id: 1, text: 'never' }), { code: 'ECONNRESET' });
    sandbox.fault({ kind: 'gone', bot, method: 'sendMessage' });
    await assert.rejects(api(token, 'sendMessage', { chat_id: 1, text: 'done' }), { code: 'ECONNRESET' });
    assert.deepEqual(
      sandbox.sent.filter((sent) => sent.bot === bot).map(({ text }) => text),
      ['done'],
    );
  });

  it('hang never answers; slow answers late', async () => {
    const token = freshToken();
    const bot = idOf(token);
    sandbox.fault({ kind: 'hang', bot, method: 'getMe' });
    await assert.rejects(api(token, 'getMe', {}, { signal: AbortSignal.timeout(200) }), {
      name: 'AbortError',
    });
    sandbox.fault({ kind: 'slow', ms: 150, bot });
    const startedMs = performance.now();
    assert.equal((await api(token, 'getMe')).status, 200);
    assert.ok(performance.now() - startedMs >= 145);
  });
});

describe('control', () => {
  const control = (verb: string, path: string, body?: object) =>
    send(`/sandbox${path}`, { verb, ...(body && { body: JSON.stringify(body) }) });

  it('shows bots without tokens, adds bots, injects, logs', async () => {
    const made = await control('POST', '/bots', {});
    assert.equal(made.status, 201);
    const { id, token } = made.body as unknown as { id: number; token: string };
    const queued = await control('POST', '/updates', { bot: id, text: 'hi' });
    assert.equal(queued.status, 201);
    const update = await control('POST', '/updates', { bot: id, update: { poll: { id: '1' } } });
    assert.equal(
      (update.body as unknown as { update_id: number }).update_id,
      (queued.body as unknown as { update_id: number }).update_id + 1,
    );
    const overview = await control('GET', '');
    const shown = (overview.body as unknown as { bots: { id: number; pendingUpdates: number }[] }).bots;
    assert.equal(shown.find((bot) => bot.id === id)?.pendingUpdates, 2);
    assert.ok(!overview.text.includes(token.split(':')[1] ?? ''));
    await api(token, 'getUpdates');
    await api(token, 'sendMessage', { chat_id: 1, text: token });
    const log = (await control('GET', `/log?bot=${id}`)).body as unknown as RequestRecord[];
    assert.deepEqual(
      log.map(({ method }) => method),
      ['getUpdates', 'sendMessage'],
    );
    assert.ok(!JSON.stringify(log).includes(token.split(':')[1] ?? ''), 'no token in the log');
    const since = (await control('GET', `/log?bot=${id}&since=${log[0]?.id}`)).body as unknown as unknown[];
    assert.equal(since.length, 1);
    assert.equal(((await control('GET', `/sent?bot=${id}`)).body as unknown as unknown[]).length, 1);
  });

  it('sets and clears faults', async () => {
    const token = freshToken();
    const set = await control('POST', '/faults', { kind: 'status', status: 500, bot: idOf(token), count: 0 });
    assert.equal(set.status, 201);
    assert.equal((await api(token, 'getMe')).status, 500);
    assert.equal((await control('DELETE', '/faults')).status, 200);
    assert.equal((await api(token, 'getMe')).status, 200);
  });

  it('says what is wrong', async () => {
    assert.equal((await control('POST', '/faults', { kind: 'x' })).status, 400);
    assert.equal((await control('POST', '/updates', { bot: 1, text: 'x' })).status, 404);
    assert.equal((await control('POST', '/updates', {})).status, 400);
    assert.equal((await control('POST', '/bots', { token: 'x' })).status, 400);
    assert.equal((await control('GET', '/nope')).status, 404);
    assert.equal((await send('/sandbox/faults', { body: '{' })).status, 400);
  });
});

describe('the server', () => {
  it('ends open polls at once when it closes, and whatever hangs', async () => {
    const own = await startSandbox({ bots: 2 });
    const [first, second] = own.bots().map(({ token }) => token) as [string, string];
    own.fault({ kind: 'hang', bot: idOf(second) });
    const started = new Promise<void>((resolve) => {
      let count = 0;
      own.onRequest(({ type }) => type === 'start' && ++count === 2 && resolve());
    });
    const poll = send(`/bot${first}/getUpdates?timeout=50`, {}, own.root);
    const hung = send(`/bot${second}/getMe`, {}, own.root).then(
      () => 'answered',
      () => 'cut',
    );
    await started;
    const startedMs = performance.now();
    await own.close();
    assert.deepEqual((await poll).body, { ok: true, result: [] });
    assert.equal(await hung, 'cut');
    assert.ok(performance.now() - startedMs < 500);
  });

  it('starts on a given port with given tokens, refuses a taken port and a bad token', async () => {
    const token = freshToken();
    const own = await startSandbox({ tokens: [token] });
    try {
      assert.equal(own.token, token);
      assert.equal(own.bots().length, 1);
      await assert.rejects(startSandbox({ port: own.port }), { code: 'EADDRINUSE' });
      await assert.rejects(startSandbox({ tokens: ['nonsense'] }));
    } finally {
      await own.close();
    }
    const again = await startSandbox({ port: own.port, tokens: [token] });
    assert.equal(again.root, own.root);
    await again.close();
  });

  it('takes calls from inside, without a record', async () => {
    const token = freshToken();
    const answer = await sandbox.call(token, 'setWebhook', createArgs({ url: 'https://a.example/' }));
    assert.equal((answer.body as { description: string }).description, 'Webhook was set');
    assert.equal(sandbox.log.filter(({ bot }) => bot === idOf(token)).length, 0);
  });

  it('forgets old requests', async () => {
    const own = await startSandbox({ logLimit: 10 });
    for (let i = 0; i < 30; i++) await send(`/bot${own.token}/getMe`, {}, own.root);
    assert.ok(own.log.length <= 11);
    assert.equal(own.log.at(-1)?.id, 30);
    await own.close();
  });
});
