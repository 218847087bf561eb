// An API that is busy, broken, gone or talks nonsense: getUpdates is repeated inside the worker's own timeout and ends empty at it,
// everything else passes unchanged. And deafness: a worker that lives and does not poll is replaced, with the reason; where it is not its
// fault, it is left alone.
import assert from 'node:assert/strict';
import type { Fault } from '../../src/sandbox/core.ts';
import { type Bed, node, PYTHON, worker } from '../support/bed.ts';
import { assertOnePoll, gatewayOf, linesOf, ourPolls, problemOf, troubles } from '../support/gateway.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { openNetwork } from '../support/proxy.ts';
import { type Gate, nextGate, relay } from '../support/relay.ts';
import { staysTrue, until } from '../support/wait.ts';
import { call, idsIn } from '../support/wire.ts';

const EMPTY = { ok: true, result: [] };
const IDLE = { worker: ['--idle'] };
const poll = (gate: Gate, offset: number, timeout: number) => call(gate, 'getUpdates', { offset, timeout });

const FAULTS: [string, Fault][] = [
  ['429, retry after 1 s', { kind: 'retry-after', retryAfter: 1, count: 0 }],
  ['lost answers', { kind: 'gone', count: 0 }],
];

for (const [name, fault] of FAULTS)
  it(`getUpdates that fails (${name}): empty at the worker's timeout, then all is delivered`, async (b) => {
    const gate = await relay(b, IDLE);
    b.sandbox.raw.fault({ ...fault, method: 'getUpdates' });
    const answer = await poll(gate, 0, 3);
    assert.deepEqual([answer.status, answer.json], [200, EMPTY]);
    assert.ok(answer.ms >= 2_500, `empty after ${answer.ms} ms, too early`);
    const tries = ourPolls(b);
    assert.ok(tries.length >= 1 && tries.length <= 15, `${tries.length} tries`);
    for (const [index, { startedAtMs }] of tries.entries())
      if (fault.kind === 'retry-after' && index > 0)
        assert.ok(
          startedAtMs - (tries[index - 1]!.endedAtMs ?? 0) >= 980,
          'tried again too soon after a 429',
        );
    // The API itself may hold a repeated timeout=0 for 3 s.
    const short = await poll(gate, 0, 0);
    assert.deepEqual([short.status, short.json], [200, EMPTY]);
    const id = b.sandbox.text(name);
    b.sandbox.raw.clearFaults();
    const delivered = async () => idsIn(await poll(gate, 0, 20))[0];
    assert.equal(await until('the update', delivered, gate.run), id);
    assertOnePoll(b);
    assert.equal((await b.status()).worker?.spawns, 1);
    assertNoToken(gate.run.stderr(), b.token);
  });

it('a short trouble is over inside one poll of the worker; an answer that comes after an empty one is not lost', async (b) => {
  const gate = await relay(b, IDLE);
  const id = b.sandbox.text('soon');
  for (const kind of ['html', 'reset', 'garbage'] as const)
    b.sandbox.raw.fault({ kind, method: 'getUpdates', count: 1 });
  assert.deepEqual(idsIn(await poll(gate, 0, 25)), [id]);
  const late = b.sandbox.text('late');
  b.sandbox.raw.fault({ kind: 'slow', ms: 3_000, method: 'getUpdates', count: 1 });
  const found = idsIn(await poll(gate, id + 1, 1));
  const isFound = async () => {
    if (!found.includes(late)) found.push(...idsIn(await poll(gate, id + 1, 2)));
    return found.includes(late);
  };
  await until('the update', isFound, gate.run);
  assert.deepEqual(found, [late]);
  assertOnePoll(b);
});

xit('an API out of order from the start: state starting, polling once it answers; 401 passes, and the run ends with 77', async (b) => {
  b.sandbox.raw.fault({ kind: 'html', method: 'getUpdates', count: 0 });
  const run = b.start();
  await until('the first tries', () => ourPolls(b).length >= 2, run);
  assert.equal((await b.status()).state, 'starting');
  b.sandbox.raw.clearFaults();
  const isPolling = async () => (await b.status()).state === 'polling';
  await until('polling', isPolling, run);
  assert.deepEqual(troubles(b), []);
  await b.exits(0, 'stop');

  const gate = await relay(b, IDLE);
  await poll(gate, 0, 1);
  b.sandbox.raw.revoke(b.token);
  const { status, json } = await poll(gate, 0, 20);
  assert.deepEqual([status, json.ok, json.error_code], [401, false, 401]);
  await gate.run.ends(77);
  assert.match(gate.run.stderr(), /refuse|401|unauthorized/i);
});

it('--allow-set-webhook lets it through, shows it, and nobody is said to poll; logOut passes and is noted', async (b) => {
  const gate = await relay(b, { ...IDLE, options: ['--allow-set-webhook'] });
  await poll(gate, 0, 1);
  // Libraries do this at each start.
  await call(gate, 'deleteWebhook');
  assert.doesNotMatch(gate.run.stderr(), /deleted/);
  const set = await call(gate, 'setWebhook', { url: 'https://mine.example.com/a' });
  assert.deepEqual(set.json, { ok: true, result: true, description: 'Webhook was set' });
  const isShown = async () => problemOf(await b.status(), 'webhook-set');
  await until('status to show it', isShown, gate.run);
  const status = await b.status();
  assert.match(status.webhook?.url ?? '', /mine\.example\.com/);
  assert.deepEqual([status.healthy, gatewayOf(status).webhookAttempts], [false, 0]);
  assert.equal((await poll(gate, 0, 1)).status, 409, 'its own affair');
  assert.deepEqual((await call(gate, 'logOut')).json, { ok: true, result: true });
  await gate.run.waitFor(/\[gateway\].*logOut/i);
});

const AFTER_MS = 2_000;
const DEAF = ['--deaf-after', `${AFTER_MS}ms`, '--stop-timeout', '1s', '--backoff', '10ms,50ms'];
const LINE = /\[deaf\].*not completed a poll/i;
/** The worker lives on for much longer than deafness takes. */
const isLeftAlone = (b: Bed, run: { seen: () => string }) =>
  staysTrue('the worker is left alone', 3 * AFTER_MS, () => starts(b.journal()).length === 1, run.seen);

it('deaf: a worker that stops polling is replaced after --deaf-after, with the reason', async (b) => {
  // Long enough for what is asked of the next one below, also on a busy machine.
  const gate = await relay(b, { ...IDLE, options: ['--stop-timeout', '1s', '--deaf-after', '6s'] });
  // As long as it polls, however short, it is not deaf.
  for (let round = 0; round < 3; round++) assert.equal((await poll(gate, 0, 1)).status, 200);
  const next = await nextGate(b, gate);
  // The next one has its own clock.
  assert.equal((await poll(next, 0, 1)).status, 200);
  assert.ok(!alive(gate.told.pid));
  const lines = linesOf(gate.run.stderr(), LINE);
  assert.equal(lines.length, 1, gate.run.stderr());
  assert.match(lines[0] ?? '', /\b6s\b|6 s/);
  const { worker: shown } = await b.status();
  assert.deepEqual([shown?.pid, shown?.spawns], [next.told.pid, 2]);
});

it('the API is out of reach: the worker sees nothing of it and is not called deaf, status tells', async (b) => {
  const network = await openNetwork(b.t, b.sandbox.port);
  b.env.TELEGRAM_API_ROOT = network.root;
  const run = await b.polling([...DEAF, '--', ...node('poll-every.mjs', '2', '0')]);
  await until('two polls', () => ourPolls(b).length >= 2, run);
  await network.blackHole();
  const isTold = async () => problemOf(await b.status(), 'api-unreachable');
  await until('status to tell', isTold, run);
  await isLeftAlone(b, run);
  await network.up();
  await b.serves(run);
  const isWell = async () => (await b.status()).problems.length === 0;
  await until('status to be well again', isWell, run);
  await isLeftAlone(b, run);
  assert.doesNotMatch(run.stderr(), LINE);
  assert.deepEqual(troubles(b), []);
  assertOnePoll(b);
});

it('deaf: a worker that polls past the gateway is left alone, and with --require-gateway replaced', async (b) => {
  const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
  const command = ['--', PYTHON, worker('poller.py')];
  const run = await b.polling([...DEAF, ...command], { env });
  await isLeftAlone(b, run);
  assert.ok(!(await b.status()).polling?.polls, 'it has not come through');
  assert.doesNotMatch(run.stderr(), LINE);
  await b.exits(0, 'stop');
  const strict = await b.polling([...DEAF, '--require-gateway', ...command], { env });
  await until('it is replaced', () => starts(b.journal()).length >= 3, strict);
  assert.match(strict.stderr(), /\[deaf\]/);
  assert.match(strict.stderr(), /TELEGRAM_API_ROOT|gateway/);
});
