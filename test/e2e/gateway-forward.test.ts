// The gateway speaks the Bot API to the worker and forwards it: every shape of a request, files both ways, both
// environments, any root; only with the worker's own token.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { bed, randomToken } from '../support/bed.ts';
import { assertOnePoll } from '../support/gateway.ts';
import { assertNoToken } from '../support/judge.ts';
import { type PuppetAnswer, puppets } from '../support/puppet.ts';
import { staysTrue } from '../support/wait.ts';

const JSON_TYPE = { 'Content-Type': 'application/json' };
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const parsed = (answer: PuppetAnswer) => JSON.parse(answer.body.toString());

/** A front end that serves the stand-in below /some/path; its root, with a slash at the end. */
async function underPath(t: TestContext, port: number): Promise<string> {
  const server = http.createServer((request, response) => {
    const path = request.url?.replace(/^\/some\/path\//, '/');
    if (path === request.url) return void response.writeHead(404).end('wrong path');
    const { method, headers } = request;
    const up = http.request({ port, host: '127.0.0.1', path, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers);
      answer.pipe(response);
    });
    up.on('error', () => response.destroy());
    response.on('close', () => up.destroy());
    request.pipe(up);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/some/path/`;
}

function multipart(parts: [string, string | Buffer][]): { type: string; body: Buffer } {
  const cut = `cut${randomBytes(8).toString('hex')}`;
  const chunks = parts.flatMap(([name, value]) => [
    Buffer.from(
      `--${cut}\r\nContent-Disposition: form-data; name="${name}"${typeof value === 'string' ? '' : `; filename="f.bin"\r\nContent-Type: application/octet-stream`}\r\n\r\n`,
    ),
    Buffer.from(value),
    Buffer.from('\r\n'),
  ]);
  return {
    type: `multipart/form-data; boundary=${cut}`,
    body: Buffer.concat([...chunks, Buffer.from(`--${cut}--\r\n`)]),
  };
}

describe('gateway, forwarding', () => {
  test('gateway: GET and POST, query, form, JSON, multipart, gzip: the API reads what the worker wrote', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    const path = `/bot${b.token}/sendMessage`;
    const text = 'ünï 😀 &=+%2F "quoted"\n2nd';
    const query = new URLSearchParams({ chat_id: '1', text }).toString();
    const json = JSON.stringify({ chat_id: 1, text });
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    const parts = multipart([
      ['chat_id', '1'],
      ['text', text],
    ]);
    const gzip = { ...JSON_TYPE, 'Content-Encoding': 'gzip' };
    const answers = [
      await puppet.request({ path: `${path}?${query}` }),
      await puppet.request({ verb: 'POST', path: `${path}?${query}` }),
      await puppet.request({ verb: 'POST', path, headers: form, body: query }),
      await puppet.request({ verb: 'POST', path, headers: JSON_TYPE, body: json }),
      await puppet.request({
        verb: 'POST',
        path,
        headers: { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' },
        body: json,
      }),
      await puppet.request({ verb: 'POST', path, headers: gzip, body: gzipSync(json) }),
      await puppet.request({ verb: 'POST', path, headers: { 'Content-Type': parts.type }, body: parts.body }),
      await puppet.request({ path: `${path.replace(':', '%3A')}?${query}` }),
      await puppet.request({ path: `${path.replace(':', '%3a')}?${query}`, fresh: true }),
      await puppet.request({ path: `/bot${b.token}/SENDmessage?${query}` }),
      await puppet.request({ path: `/bot${b.token}/?method=sendMessage&${query}` }),
    ];
    for (const [index, answer] of answers.entries()) {
      assert.equal(answer.status, 200, `request ${index}: ${answer.body}`);
      assert.equal(parsed(answer).result.text, text, `request ${index}`);
      assert.equal(answer.headers['content-type'], 'application/json');
    }
    assert.deepEqual(
      b.sandbox.sentTexts(),
      answers.map(() => text),
    );
  });

  test('gateway: files of 8 MB go up and down unchanged, while a poll is open and small calls go through', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    const file = randomBytes(8 * 1024 * 1024);
    const polled = puppet.call('getUpdates', { timeout: 30 });
    const { type, body } = multipart([
      ['chat_id', '1'],
      ['document', file],
    ]);
    const uploading = puppet.request({
      verb: 'POST',
      path: `/bot${b.token}/sendDocument`,
      headers: { 'Content-Type': type },
      body,
    });
    const small = await Promise.all(
      Array.from({ length: 32 }, (_, index) => puppet.call('sendMessage', { chat_id: 1, text: `s${index}` })),
    );
    assert.ok(small.every((answer) => answer.status === 200));
    const sent = parsed(await uploading);
    assert.equal(sent.ok, true, JSON.stringify(sent));
    const [message] = b.sandbox.raw.sent.filter((one) => one.method === 'senddocument');
    assert.equal(message?.uploads[0]?.sha256, sha256(file));

    const { json } = await puppet.call('getFile', { file_id: sent.result.document.file_id });
    const { file_path } = json.result as { file_path: string };
    for (const root of [`/file/bot${b.token}`, `/file/bot${b.token.replace(':', '%3A')}`]) {
      const download = await puppet.request({ path: `${root}/${file_path}` });
      assert.equal(download.status, 200);
      assert.equal(sha256(download.body), sha256(file));
      assert.equal(Number(download.headers['content-length']), file.length);
    }
    assert.equal((await puppet.request({ path: `/file/bot${b.token}/documents/none` })).status, 404);
    b.sandbox.text('done');
    assert.equal((await polled).status, 200);
    assertOnePoll(b);
  });

  test('gateway: the test environment has its path and its bots', async (t) => {
    const b = await bed(t);
    b.sandbox.raw.addBot(b.token, true);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    for (const verb of ['GET', 'POST']) {
      const answer = await puppet.request({ verb, path: `/bot${b.token}/test/getMe` });
      assert.deepEqual([answer.status, parsed(answer).ok], [200, true]);
    }
    assert.equal((await puppet.request({ path: `/bot${b.token}/testgetMe` })).status, 404);
  });

  test('gateway: only the token of the worker is served, only GET and POST, only what the Bot API has', async (t) => {
    const b = await bed(t);
    const other = randomToken();
    b.sandbox.raw.addBot(other);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start();
    const [id] = b.token.split(':');
    for (const token of [other, `${b.token}x`, b.token.slice(0, -1), `${id}:${'A'.repeat(35)}`]) {
      const answer = await puppet.request({ path: `/bot${token}/getMe` });
      assert.equal(answer.status, 401, answer.body.toString());
      assert.deepEqual([parsed(answer).ok, parsed(answer).error_code], [false, 401]);
      assert.ok([401, 404].includes((await puppet.request({ path: `/file/bot${token}/x` })).status));
    }
    for (const path of [
      '/',
      '/getMe',
      `/${b.token}/getMe`,
      `/bots${b.token}/getMe`,
      `/bot${b.token}`,
      '/sandbox',
    ])
      assert.ok([401, 404].includes((await puppet.request({ path })).status), path);
    for (const verb of ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD']) {
      const answer = await puppet.request({ verb, path: `/bot${b.token}/getMe`, fresh: true });
      assert.equal(answer.status, 501, verb);
    }
    // The stand-in notes requests with a token that it does not know under the bot 0.
    assert.ok(!b.sandbox.requests().some((request) => request.bot === 0));
    for (const host of ['evil.example.com', `evil.example.com:${new URL(puppet.root).port}`, '169.254.1.1']) {
      const headers = { Host: host };
      const answer = await puppet.request({ path: `/bot${b.token}/getMe`, headers, fresh: true });
      assert.ok([403, 421].includes(answer.status), `${host}: ${answer.status}`);
    }
    const { port } = new URL(puppet.root);
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`]) {
      const headers = { Host: host };
      const answer = await puppet.request({ path: `/bot${b.token}/getMe`, headers, fresh: true });
      assert.equal(answer.status, 200, host);
    }
    assert.ok(!b.sandbox.requests().some((request) => request.bot === Number(other.split(':')[0])));
    assertNoToken(run.stderr(), b.token);
    assertNoToken(run.stderr(), other);
  });

  test('gateway: an API root below a path, with a slash at its end', async (t) => {
    const b = await bed(t);
    b.env.TELEGRAM_API_ROOT = await underPath(t, b.sandbox.port);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    assert.match(puppet.root, /^http:\/\/127\.0\.0\.1:\d+$/);
    assert.equal((await puppet.call('getMe')).status, 200);
    const id = b.sandbox.text('m');
    const { json } = await puppet.call('getUpdates', { timeout: 5 });
    assert.deepEqual(
      (json.result as { update_id: number }[]).map((update) => update.update_id),
      [id],
    );
    const { type, body } = multipart([
      ['chat_id', '1'],
      ['document', Buffer.from('content')],
    ]);
    const headers = { 'Content-Type': type };
    const sent = parsed(
      await puppet.request({ verb: 'POST', path: `/bot${b.token}/sendDocument`, headers, body }),
    );
    const file = await puppet.call('getFile', { file_id: sent.result.document.file_id });
    const { file_path } = file.json.result as { file_path: string };
    const download = await puppet.request({ path: `/file/bot${b.token}/${file_path}` });
    assert.equal(download.body.toString(), 'content');
  });

  test('gateway: a call that the worker gives up, or that the API breaks off, hurts nobody else', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start();
    const polled = puppet.call('getUpdates', { timeout: 30 });
    b.sandbox.raw.fault({ kind: 'hang', method: 'sendMessage', count: 20 });
    const stop = new AbortController();
    const given = Array.from({ length: 20 }, () =>
      puppet.call('sendMessage', { chat_id: 1, text: 'never' }, { signal: stop.signal }),
    );
    await staysTrue('they hang', 500, () => !run.ended());
    stop.abort();
    await Promise.allSettled(given);
    for (const kind of ['reset', 'gone'] as const) {
      b.sandbox.raw.fault({ kind, method: 'sendMessage' });
      const result = await puppet.call('sendMessage', { chat_id: 1, text: 'broken' }).then(
        (answer) => answer.status,
        () => 0,
      );
      assert.ok(result === 0 || result >= 500, `${kind}: ${result}`);
    }
    assert.equal((await puppet.call('sendMessage', { chat_id: 1, text: 'well' })).status, 200);
    b.sandbox.text('polls on');
    assert.equal((await polled).status, 200);
    assertOnePoll(b);
    assert.equal(run.ended(), null);
  });
});
