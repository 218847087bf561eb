// A machine whose only way out is a proxy (HTTPS_PROXY, HTTP_PROXY): the bot's polls and calls, our own, and the alerts go through it.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { bed, node, PYTHON, worker } from '../support/bed.ts';
import { openConnectProxy } from '../support/connect-proxy.ts';
import { openHook } from '../support/hook.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { until } from '../support/wait.ts';

const API = 'bot-api.test:8081';
const HOOK = 'hook.test:8090';

/** Only a proxy that tunnels (CONNECT) leads to names that exist nowhere; without the credentials it gives 407. */
async function behind(t: TestContext) {
  const b = await bed(t);
  const hook = await openHook(t);
  const places = { [API]: b.sandbox.port, [HOOK]: Number(new URL(hook.url).port) };
  const proxy = await openConnectProxy(t, places);
  Object.assign(b.env, { TELEGRAM_API_ROOT: `http://${API}`, HTTP_PROXY: proxy.url });
  return { b, hook, proxy };
}

for (const [what, command] of [
  ['a Node worker', node('polite.mjs')],
  ['a Python worker, whose library reads HTTP_PROXY, too', [PYTHON, worker('poller.py')]],
] as const)
  test(`${what} polls through it by way of the gateway`, async (t) => {
    const { b, proxy } = await behind(t);
    const run = b.start(['--', ...command]);
    await b.serves(run);
    const status = await b.status();
    assert.deepEqual([status.healthy, status.polling?.via], [true, 'gateway']);
    assert.deepEqual([...new Set(proxy.asked)], [API]);
    assert.doesNotMatch(run.stderr() + JSON.stringify(status), /pr0xy-s3cret/);
    assertNoToken(run.stderr(), b.token);
  });

test('an alert reaches its URL through it; an outage of the proxy is one of the API, and ends with it', async (t) => {
  const { b, proxy, hook } = await behind(t);
  const run = await b.polling(`--alert-url http://${HOOK}/alerts`);
  await b.sandbox.setWebhook('https://thief.example.com/a');
  await until('the alert', () => hook.posts.some(({ body }) => body.includes('thief.example.com')), run);
  proxy.down();
  const isTold = async () => (await b.status()).problems.some(({ code }) => code === 'api-unreachable');
  await until('status to tell', isTold, run);
  proxy.up();
  await b.serves(run);
  assert.equal(starts(b.journal()).length, 1, 'the worker saw nothing of it');
  assert.doesNotMatch(run.stderr(), /pr0xy-s3cret/);
});

test('one that does not know us is named as what is wrong', async (t) => {
  const { b } = await behind(t);
  b.env.HTTP_PROXY = b.env.HTTP_PROXY?.replace('pr0xy-s3cret', 'wr0ng-s3cret') ?? '';
  const run = b.start('--dry-run');
  await run.waitFor(/the proxy 127\.0\.0\.1:\d+ wants other credentials, or some \(407\)/);
  assert.doesNotMatch(run.stderr(), /wr0ng-s3cret/);
  run.signal('SIGTERM');
  await run.exit();
  b.env.HTTP_PROXY = b.env.HTTP_PROXY.replace('http:', 'socks5h:');
  const socks = b.start('--dry-run');
  await socks.waitFor(/the proxy 127\.0\.0\.1:\d+ speaks SOCKS, and only an HTTP proxy is used/);
  socks.signal('SIGTERM');
  await socks.exit();
});
