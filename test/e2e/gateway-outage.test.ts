// An API that is busy, broken, gone or talks nonsense: getUpdates is repeated inside the worker's own timeout and ends empty
// at it; everything else passes unchanged.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Fault } from '../../src/sandbox/faults.ts';
import { bed, node } from '../support/bed.ts';
import { allHandled, assertOnePoll, gatewayOf, ourPolls, problemOf, troubles } from '../support/gateway.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { openNetwork } from '../support/network.ts';
import { type ApiAnswer, type Puppet, puppets } from '../support/puppet.ts';
import { staysTrue, until } from '../support/wait.ts';

const TIMEOUT_S = 4;
const EMPTY = { ok: true, result: [] };

function assertEmptyInTime(answer: ApiAnswer, what: string): void {
  assert.deepEqual([answer.status, answer.json], [200, EMPTY], what);
  const ms = Math.round(answer.ms);
  assert.ok(ms >= TIMEOUT_S * 1000 - 500, `${what}: empty after ${ms} ms, too early`);
}

const poll = (puppet: Puppet, offset = 0, timeout = TIMEOUT_S) =>
  puppet.call('getUpdates', { offset, timeout });

const idsOf = (answer: ApiAnswer) =>
  (answer.json.result as { update_id: number }[]).map((update) => update.update_id);

const FAULTS: [string, Fault][] = [
  ['502 with an HTML page', { kind: 'html', status: 502, count: 0 }],
  ['429, retry after 2 s', { kind: 'retry-after', retryAfter: 2, count: 0 }],
  ['resets', { kind: 'reset', count: 0 }],
  ['lost answers', { kind: 'gone', count: 0 }],
  ['garbage with status 200', { kind: 'garbage', count: 0 }],
  ['silence', { kind: 'hang', count: 0 }],
  ['409 that never ends', { kind: 'status', status: 409, count: 0 }],
];

test("gateway: getUpdates that fails: empty at the worker's timeout, then all is delivered", async (t) => {
  const b = await bed(t);
  const strings = await puppets(t, b);
  const { run, puppet } = await strings.start();
  let offset = 0;
  for (const [name, fault] of FAULTS) {
    assertEmptyInTime(await poll(puppet, offset), 'before');
    const healthy = ourPolls(b).length;
    b.sandbox.raw.fault({ ...fault, method: 'getUpdates' });
    assertEmptyInTime(await poll(puppet, offset), name);
    const tries = ourPolls(b).slice(healthy);
    assert.ok(tries.length >= 1 && tries.length <= 20, `${tries.length} tries in ${TIMEOUT_S} s`);
    if (fault.kind === 'retry-after') assertWaited(tries, fault.retryAfter ?? 0);
    const id = b.sandbox.text(name);
    b.sandbox.raw.clearFaults();
    const ids = await until(`the update after ${name}`, async () => idsOf(await poll(puppet, offset))[0], {
      ms: 45_000,
      seen: run.seen,
    });
    assert.equal(ids, id);
    offset = id + 1;
  }
  assertOnePoll(b);
  assert.equal((await b.status()).worker?.spawns, 1);
  assertNoToken(run.stderr(), b.token);
});

test('gateway: a short trouble is over inside one poll of the worker; timeout 0 is answered, too', async (t) => {
  const b = await bed(t);
  const strings = await puppets(t, b);
  const { puppet } = await strings.start();
  await poll(puppet, 0, 1);
  const id = b.sandbox.text('soon');
  for (const fault of [
    { kind: 'html', method: 'getUpdates', count: 1 },
    { kind: 'reset', method: 'getUpdates', count: 1 },
    { kind: 'retry-after', retryAfter: 2, method: 'getUpdates', count: 1 },
    { kind: 'garbage', method: 'getUpdates', count: 1 },
  ] as const)
    b.sandbox.raw.fault(fault);
  assert.deepEqual(idsOf(await poll(puppet, 0, 25)), [id]);
  b.sandbox.raw.fault({ kind: 'hang', method: 'getUpdates', count: 0 });
  // The API itself may hold a repeated timeout=0 for 3 s; a line that is silent need not be told from that sooner.
  const answer = await poll(puppet, id + 1, 0);
  assert.deepEqual([answer.status, answer.json], [200, EMPTY]);
  assertOnePoll(b);
});

test('gateway: an answer that comes after the worker has had its empty one is not lost', async (t) => {
  const b = await bed(t);
  const strings = await puppets(t, b);
  const { run, puppet } = await strings.start();
  await poll(puppet, 0, 1);
  const id = b.sandbox.text('late');
  b.sandbox.raw.fault({ kind: 'slow', ms: 6_000, method: 'getUpdates', count: 1 });
  const first = await poll(puppet, 0, 2);
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
  assert.equal((await run.exit(30_000)).code, 77, run.seen());
  assert.match(run.stderr(), /refuse|401|unauthorized/i);
  assertNoToken(run.stderr(), b.token);
});

test('gateway: --allow-set-webhook lets it through; logOut passes and is noted', async (t) => {
  const b = await bed(t);
  const strings = await puppets(t, b);
  const { run, puppet } = await strings.start(['--allow-set-webhook']);
  await poll(puppet, 0, 1);
  const answer = await puppet.call('setWebhook', { url: 'https://mine.example.com/a' });
  assert.deepEqual(answer.json, { ok: true, result: true, description: 'Webhook was set' });
  assert.ok(b.sandbox.methods().includes('setwebhook'));
  assert.equal(gatewayOf(await b.status()).webhookAttempts, 0);
  assert.deepEqual((await puppet.call('logOut')).json, { ok: true, result: true });
  await run.waitFor(/\[gateway\].*logOut/i);
});

/** Between a 429 and the next try: at least what it asked for. */
function assertWaited(tries: ReturnType<typeof ourPolls>, retryAfterS: number): void {
  for (let index = 1; index < tries.length; index++) {
    const gapMs = tries[index]!.startedAtMs - (tries[index - 1]!.endedAtMs ?? 0);
    assert.ok(gapMs >= retryAfterS * 1000 - 20, `tried again ${Math.round(gapMs)} ms after a 429`);
  }
}
