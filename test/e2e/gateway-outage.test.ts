// An API that is busy, broken, gone or talks nonsense: getUpdates is repeated inside the worker's own timeout and ends empty
// at it; everything else passes unchanged.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Fault } from '../../src/sandbox/faults.ts';
import { bed, node } from '../support/bed.ts';
import { allHandled, assertOnePoll, gatewayOf, ourPolls, problemOf, troubles } from '../support/gateway.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { openNetwork } from '../support/network.ts';
import { type ApiAnswer, type Puppet, puppets } from '../support/puppet.ts';
import { staysTrue, until } from '../support/wait.ts';

const TIMEOUT_S = 4;
/** How long after its timeout a worker may wait: python-telegram-bot gives up after 2 s. */
const LATE_MS = 1_900;
const EMPTY = { ok: true, result: [] };

function assertEmptyInTime(answer: ApiAnswer, what: string): void {
  assert.deepEqual([answer.status, answer.json], [200, EMPTY], what);
  const ms = Math.round(answer.ms);
  assert.ok(ms >= TIMEOUT_S * 1000 - 500, `${what}: empty after ${ms} ms, too early`);
  assert.ok(ms <= TIMEOUT_S * 1000 + LATE_MS, `${what}: empty after ${ms} ms, too late`);
}

const poll = (puppet: Puppet, offset = 0, timeout = TIMEOUT_S) =>
  puppet.call('getUpdates', { offset, timeout });

const idsOf = (answer: ApiAnswer) =>
  (answer.json.result as { update_id: number }[]).map((update) => update.update_id);

const FAULTS: [string, Fault][] = [
  ['500', { kind: 'status', status: 500, count: 0 }],
  ['502 with an HTML page', { kind: 'html', status: 502, count: 0 }],
  ['504 with an HTML page', { kind: 'html', status: 504, count: 0 }],
  ['429, retry after 1 s', { kind: 'retry-after', retryAfter: 1, count: 0 }],
  ['429, retry after 30 s', { kind: 'retry-after', retryAfter: 30, count: 0 }],
  ['resets', { kind: 'reset', count: 0 }],
  ['lost answers', { kind: 'gone', count: 0 }],
  ['garbage with status 200', { kind: 'garbage', count: 0 }],
  ['silence', { kind: 'hang', count: 0 }],
  ['409 that never ends', { kind: 'status', status: 409, count: 0 }],
];

describe('gateway, outages', () => {
  for (const [name, fault] of FAULTS) {
    test(`gateway: getUpdates, ${name}: empty at the worker's timeout, then all is delivered`, async (t) => {
      const b = await bed(t);
      const strings = await puppets(t, b);
      const { run, puppet } = await strings.start();
      assertEmptyInTime(await poll(puppet), 'before');
      const healthy = ourPolls(b).length;
      b.sandbox.raw.fault({ ...fault, method: 'getUpdates' });
      for (const round of [1, 2]) assertEmptyInTime(await poll(puppet), `${name}, round ${round}`);
      const tries = ourPolls(b).slice(healthy);
      assert.ok(tries.length >= 1 && tries.length <= 30, `${tries.length} tries in ${2 * TIMEOUT_S} s`);
      if (fault.kind === 'retry-after' && fault.retryAfter) assertWaited(tries, fault.retryAfter);
      const id = b.sandbox.text('waits');
      b.sandbox.raw.clearFaults();
      let ids: number[] = [];
      await until(
        'the update',
        async () => {
          ids = idsOf(await poll(puppet));
          return ids.length > 0;
        },
        { ms: 45_000, seen: run.seen },
      );
      assert.deepEqual(ids, [id]);
      assertOnePoll(b);
      assert.equal((await b.status()).worker?.spawns, 1);
      assert.equal(run.ended(), null);
      assertNoToken(run.stderr(), b.token);
    });
  }

  test('gateway: a short trouble is over inside one poll of the worker', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    await poll(puppet, 0, 1);
    const id = b.sandbox.text('soon');
    b.sandbox.raw.fault({ kind: 'html', method: 'getUpdates', count: 1 });
    b.sandbox.raw.fault({ kind: 'reset', method: 'getUpdates', count: 1 });
    b.sandbox.raw.fault({ kind: 'retry-after', retryAfter: 2, method: 'getUpdates', count: 1 });
    b.sandbox.raw.fault({ kind: 'garbage', method: 'getUpdates', count: 1 });
    const answer = await poll(puppet, 0, 25);
    assert.deepEqual(idsOf(answer), [id]);
    assert.ok(answer.ms < 15_000, `${Math.round(answer.ms)} ms`);
    assertOnePoll(b);
  });

  for (const [name, timeout] of [
    ['0', 0],
    ['1 s', 1],
  ] as const) {
    test(`gateway: a worker that polls with timeout ${name} is answered in time while the API is silent`, async (t) => {
      const b = await bed(t);
      const strings = await puppets(t, b);
      const { puppet } = await strings.start();
      await poll(puppet, 0, 1);
      b.sandbox.raw.fault({ kind: 'hang', method: 'getUpdates', count: 0 });
      // The API itself may hold a repeated timeout=0 for 3 s; a line that is silent need not be told from that sooner.
      const answer = await poll(puppet, 0, timeout);
      assert.deepEqual([answer.status, answer.json], [200, EMPTY]);
      assert.ok(answer.ms <= Math.max(timeout, 3) * 1000 + LATE_MS, `${Math.round(answer.ms)} ms`);
      b.sandbox.raw.clearFaults();
      const id = b.sandbox.text('later');
      await until('the update', async () => idsOf(await poll(puppet, 0, timeout))[0] === id, { ms: 20_000 });
      assertOnePoll(b);
    });
  }

  test('gateway: an answer that comes after the worker has had its empty one is not lost', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start();
    await poll(puppet, 0, 1);
    const id = b.sandbox.text('late');
    b.sandbox.raw.fault({ kind: 'slow', ms: 6_000, method: 'getUpdates', count: 1 });
    const first = await poll(puppet, 0, 2);
    assert.ok(first.ms <= 3_000 + LATE_MS, `${Math.round(first.ms)} ms`);
    const found = idsOf(first);
    await until(
      'the update',
      async () => {
        if (!found.includes(id)) found.push(...idsOf(await poll(puppet, 0, 2)));
        return found.includes(id);
      },
      { ms: 20_000, seen: run.seen },
    );
    assert.deepEqual(found, [id]);
    assertOnePoll(b);
  });

  for (const outage of ['down', 'blackHole'] as const) {
    test(`gateway: the network is away (${outage}): the worker sees nothing of it, status does`, async (t) => {
      const b = await bed(t);
      const network = await openNetwork(t, b.sandbox.port);
      b.env.TELEGRAM_API_ROOT = network.root;
      const run = await b.polling(['--', ...node('poll-every.mjs', '2', '0')]);
      await network[outage]();
      await until('status to tell', async () => problemOf(await b.status(), 'api-unreachable'), {
        ms: 40_000,
        everyMs: 300,
        seen: run.seen,
      });
      const id = b.sandbox.text('m');
      await staysTrue('it goes on', 5_000, () => run.ended() === null, run.seen);
      await network.up();
      await allHandled(b, [id], run, 45_000);
      await until('status to be well again', async () => (await b.status()).problems.length === 0, {
        ms: 20_000,
        everyMs: 300,
        seen: run.seen,
      });
      assert.deepEqual(troubles(b), []);
      assert.equal(starts(b.journal()).length, 1);
      assertOnePoll(b);
    });
  }

  test('gateway: an API that is out of order from the start: state starting, polling once it answers', async (t) => {
    const b = await bed(t);
    b.sandbox.raw.fault({ kind: 'html', method: 'getUpdates', count: 0 });
    const run = b.cli(['start', '--', ...node('polite.mjs')]);
    await until('the first tries', () => ourPolls(b).length >= 2, { ms: 20_000, seen: run.seen });
    assert.equal((await b.status()).state, 'starting');
    b.sandbox.raw.clearFaults();
    await until('polling', async () => (await b.status()).state === 'polling', {
      ms: 40_000,
      everyMs: 200,
      seen: run.seen,
    });
    assert.deepEqual(troubles(b), []);
  });

  test('gateway: 401 is passed on, and the supervisor ends with 77', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start();
    await poll(puppet, 0, 1);
    b.sandbox.raw.revoke(b.token);
    const answer = await poll(puppet, 0, 20);
    assert.deepEqual([answer.status, answer.json.ok, answer.json.error_code], [401, false, 401]);
    assert.ok(answer.ms < 3_000, `${Math.round(answer.ms)} ms`);
    assert.equal((await run.exit(30_000)).code, 77, run.seen());
    assert.match(run.stderr(), /refuse|401|unauthorized/i);
    assertNoToken(run.stderr(), b.token);
  });

  test('gateway: answers of all other methods pass unchanged: errors, 429 with its header, HTML', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    const bad = await puppet.call('sendMessage', { text: 'to nobody' });
    assert.deepEqual(
      [bad.status, bad.json],
      [400, { ok: false, error_code: 400, description: 'Bad Request: chat_id is empty' }],
    );
    const asked = () => b.sandbox.methods().filter((method) => method === 'sendmessage').length;
    for (const [fault, status] of [
      [{ kind: 'retry-after', retryAfter: 7 }, 429],
      [{ kind: 'html', status: 502 }, 502],
      [{ kind: 'status', status: 403 }, 403],
      [{ kind: 'status', status: 409 }, 409],
      [{ kind: 'garbage' }, 200],
    ] as [Fault, number][]) {
      const before = asked();
      b.sandbox.raw.fault({ ...fault, method: 'sendMessage' });
      const direct = await fetch(`${b.sandbox.root}/bot${b.token}/sendMessage?chat_id=1&text=m`);
      b.sandbox.raw.fault({ ...fault, method: 'sendMessage' });
      const through = await puppet.call('sendMessage', { chat_id: 1, text: 'm' });
      assert.equal(through.status, status);
      assert.equal(through.body.toString(), await direct.text());
      for (const header of ['content-type', 'retry-after'])
        assert.equal(through.headers[header] ?? null, direct.headers.get(header), header);
      assert.equal(asked() - before, 2, 'never repeated on its own');
    }
    assert.equal((await puppet.call('noSuchMethod')).status, 404);
    assert.deepEqual((await puppet.call('close')).json.error_code, 429);
  });
});

/** Between a 429 and the next try: at least what it asked for. */
function assertWaited(tries: ReturnType<typeof ourPolls>, retryAfterS: number): void {
  for (let index = 1; index < tries.length; index++) {
    const gapMs = tries[index]!.startedAtMs - (tries[index - 1]!.endedAtMs ?? 0);
    assert.ok(gapMs >= retryAfterS * 1000 - 20, `tried again ${Math.round(gapMs)} ms after a 429`);
  }
}

const FORMS: [string, (token: string, url: string) => Parameters<Puppet['request']>[0]][] = [
  [
    'JSON',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/setWebhook`,
      headers: { 'Content-Type': 'application/json; charset=utf-8' },
      body: JSON.stringify({ max_connections: 3, url }),
    }),
  ],
  ['a query', (token, url) => ({ path: `/bot${token}/setWebhook?url=${encodeURIComponent(url)}` })],
  [
    'a form',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/setWebhook`,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: `max_connections=3&url=${encodeURIComponent(url)}`,
    }),
  ],
  [
    'multipart',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/setWebhook`,
      headers: { 'Content-Type': 'multipart/form-data; boundary=cut' },
      body: `--cut\r\nContent-Disposition: form-data; name="url"\r\n\r\n${url}\r\n--cut--\r\n`,
    }),
  ],
  [
    'multipart with a certificate of 300 kB before the url',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/setWebhook`,
      headers: { 'Content-Type': 'multipart/form-data; boundary=cut' },
      body: `--cut\r\nContent-Disposition: form-data; name="certificate"; filename="c.pem"\r\n\r\n${'x'.repeat(300_000)}\r\n--cut\r\nContent-Disposition: form-data; name="url"\r\n\r\n${url}\r\n--cut--\r\n`,
    }),
  ],
  ['other letters', (token, url) => ({ path: `/bot${token}/SETWEBHOOK?url=${encodeURIComponent(url)}` })],
  ['an escaped name', (token, url) => ({ path: `/bot${token}/set%57ebhook?url=${encodeURIComponent(url)}` })],
  [
    'the name as a parameter',
    (token, url) => ({ path: `/bot${token}/?method=setWebhook&url=${encodeURIComponent(url)}` }),
  ],
  [
    'the name and the url as JSON parameters',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/`,
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ method: 'setWebhook', url }),
    }),
  ],
  [
    'a chunked body',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/setWebhook`,
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        'Transfer-Encoding': 'chunked',
      },
      body: `url=${encodeURIComponent(url)}`,
    }),
  ],
  [
    'a query with an empty body parameter',
    (token, url) => ({
      verb: 'POST',
      path: `/bot${token}/setWebhook?url=${encodeURIComponent(url)}`,
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ url: '' }),
    }),
  ],
];

describe('gateway, webhooks of the worker', () => {
  test('gateway: setWebhook of the worker is turned down in every form it may have, and counted', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start();
    await poll(puppet, 0, 1);
    for (const [name, form] of FORMS) {
      const answer = await puppet.request(form(b.token, 'https://mine.example.com/s3cret-path'));
      const json = JSON.parse(answer.body.toString()) as ApiAnswer['json'];
      assert.deepEqual([answer.status, json.ok, json.error_code], [409, false, 409], name);
      assert.match(json.description ?? '', /^Conflict: .*singlepoll.*(polling|getUpdates)/i, name);
      assert.equal((await b.sandbox.webhookInfo()).url, '', name);
    }
    assert.ok(!b.sandbox.methods().includes('setwebhook'), 'none of them reached the API');
    const status = await b.status();
    assert.equal(gatewayOf(status).webhookAttempts, FORMS.length);
    assert.ok(problemOf(status, 'worker-sets-webhook'), JSON.stringify(status.problems));
    assert.match(run.stderr(), /\[gateway\] setWebhook/i);
    assert.doesNotMatch(run.stderr(), /s3cret-path/);
    const id = b.sandbox.text('polls on');
    assert.deepEqual(idsOf(await poll(puppet)), [id]);
    assert.equal((await b.status()).worker?.spawns, 1);
  });

  test('gateway: setWebhook with an empty url and deleteWebhook pass, with what they say', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start();
    await poll(puppet, 0, 1);
    const done = { ok: true, result: true, description: 'Webhook is already deleted' };
    const path = `/bot${b.token}/setWebhook`;
    assert.deepEqual((await puppet.call('setWebhook', { url: '' })).json, done);
    assert.deepEqual((await puppet.call('setWebhook')).json, done);
    assert.deepEqual((await puppet.call('deleteWebhook')).json, done);
    // The first occurrence of a parameter wins.
    const first = await puppet.request({ path: `${path}?url=&url=https%3A%2F%2Fmine.example.com` });
    assert.deepEqual(JSON.parse(first.body.toString()), done);
    // A body whose type says nothing is not read by the API: no url at all.
    const ignored = await puppet.request({
      verb: 'POST',
      path,
      headers: { 'Content-Type': 'text/plain' },
      body: '{"url":"https://mine.example.com"}',
    });
    assert.deepEqual(JSON.parse(ignored.body.toString()), done);
    const status = await b.status();
    assert.equal(gatewayOf(status).webhookAttempts, 0);
    assert.equal(problemOf(status, 'worker-sets-webhook'), null);
    assert.equal(b.sandbox.methods().filter((method) => method === 'setwebhook').length, 4);
    assert.equal((await puppet.call('getWebhookInfo')).status, 200);
  });

  test('gateway: --allow-set-webhook lets it through', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { puppet } = await strings.start(['--allow-set-webhook']);
    await poll(puppet, 0, 1);
    const answer = await puppet.call('setWebhook', { url: 'https://mine.example.com/a' });
    assert.deepEqual(answer.json, { ok: true, result: true, description: 'Webhook was set' });
    assert.ok(b.sandbox.methods().includes('setwebhook'));
    assert.equal(gatewayOf(await b.status()).webhookAttempts, 0);
  });

  test('gateway: logOut passes and is noted', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start();
    await poll(puppet, 0, 1);
    assert.deepEqual((await puppet.call('logOut')).json, { ok: true, result: true });
    await run.waitFor(/\[gateway\].*logOut/i);
  });
});
