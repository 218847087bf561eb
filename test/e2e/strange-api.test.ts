// What answers in place of the Bot API: a server that echoes the path (and so the token), answers of the wrong shape.
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { bed, node } from '../support/bed.ts';

/** A server of its own for one test; its root. */
async function serve(t: TestContext, answer: http.RequestListener): Promise<string> {
  const server = http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

for (const [status, code] of [
  [404, 77],
  [401, 77],
  [400, 69],
] as const) {
  test(`an API that echoes the path with ${status}: ${code}, and no token anywhere`, async (t) => {
    const b = await bed(t);
    const root = await serve(t, (request, response) => {
      response.writeHead(status);
      const description = `no \x1b[31m such path: ${request.url}\nfake line`;
      response.end(JSON.stringify({ ok: false, error_code: status, description }));
    });
    const env = { ...b.env, TELEGRAM_API_ROOT: root, ASSISTANT_ADMIN_TELEGRAM_ID: '1' };
    const start = await b.run(['start', '--', ...node('polite.mjs')], { env });
    assert.equal(start.code, code, start.stderr);
    const answers = [start, ...(await Promise.all(['status', 'ping'].map((name) => b.run([name], { env }))))];
    answers.push(await b.run(['status', '--json'], { env }));
    for (const { stdout, stderr } of answers) {
      assert.doesNotMatch(stdout + stderr, new RegExp(b.token.split(':')[1]!));
      assert.doesNotMatch(stdout + stderr, /\x1b|^fake line/m);
    }
  });
}

for (const [name, result] of [
  ['nothing', undefined],
  ['another shape', { id: 1, username: 'red\x1b[31m\nline' }],
  ['a word', 'yes'],
] as const) {
  test(`an API that says ok to everything with ${name}: out of reach, not a bug of ours`, async (t) => {
    const b = await bed(t);
    const root = await serve(t, (_request, response) => response.end(JSON.stringify({ ok: true, result })));
    const env = { ...b.env, TELEGRAM_API_ROOT: root };
    const run = b.cli(['start', '--', ...node('polite.mjs')], { env });
    await run.waitFor(/an answer that is none to getMe; trying again/);
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
    const status = await b.run(['status'], { env });
    assert.equal(status.code, 3, status.stderr);
  });
}
