// The only door to getUpdates: pollers that share a worker, one poll upstream at any time; nothing lost, nothing invented: what was not
// confirmed comes again, parameters pass untouched, a planned stop confirms; and what status and the heartbeat say of it.
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, node, worker } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import {
  allHandled,
  assertOnePoll,
  gatewayOf,
  handledCounts,
  linesOf,
  messages,
  ourPolls,
  problemOf,
  troubles,
} from '../support/gateway.ts';
import { it, xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { relay } from '../support/relay.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';
import { ask, call, idsIn } from '../support/wire.ts';

const pollersOf = (b: Bed, count: number, run: Running) =>
  until(
    `${count} pollers in status`,
    async () => {
      const { pollers } = gatewayOf(await b.status());
      return pollers.length === count ? pollers : null;
    },
    { ms: 30_000, everyMs: 100, seen: run.seen },
  );

it('gunicorn with 3 polling workers: each update once; the owner is killed: the next takes over, nothing is lost', async (b) => {
  copyFileSync(worker('gunicorn/app.py'), join(b.project, 'app.py'));
  const gunicorn = ['--', 'gunicorn', 'app:app', '--workers=3', '--bind', '127.0.0.1:0'];
  const run = await b.polling(gunicorn);
  const pollers = await pollersOf(b, 3, run);
  const [owner, ...more] = pollers.filter(({ role }) => role === 'owner');
  const held = pollers.filter(({ role }) => role === 'held');
  assert.deepEqual([more.length, held.length], [0, 2]);
  const ids = await messages(b, run, 'm', 15, 50);
  await allHandled(b, ids, run);
  assert.deepEqual(new Set(handledCounts(b, ids)), new Set([1]));
  assert.deepEqual(polledBy(b, 'app.py'), [owner?.pid], 'only the owner asks Telegram');

  const message = problemOf(await b.status(), 'second-poller') ?? '';
  assert.match(message, new RegExp(`\\b${owner?.pid}\\b`));
  assert.ok(held.some(({ pid }) => new RegExp(`\\b${pid}\\b`).test(message)));
  const lines = linesOf(run.stderr(), /\[gateway\].*second poller/i);
  assert.equal(lines.length, 2, `once per pair:\n${lines.join('\n')}`);
  for (const { pid } of held)
    assert.equal(lines.filter((line) => new RegExp(`\\b${pid}\\b`).test(line)).length, 1);

  for (let round = 0; round < 2; round++) {
    const now = await pollersOf(b, 3, run);
    const pid = now.find(({ role }) => role === 'owner')?.pid ?? -1;
    assert.ok(alive(pid));
    process.kill(pid, 'SIGKILL');
    await b.serves(run);
  }
  assert.equal((await b.status()).worker?.spawns, 1, 'the master is still the same');
  assertOnePoll(b);
});

it('two loops in one process: each update exactly once', async (b) => {
  const run = await b.polling(['--', ...node('two-loops.mjs', '20')]);
  await run.waitFor(/second poller/i);
  const ids = await messages(b, run, 'm', 25, 60);
  await allHandled(b, ids, run);
  assert.deepEqual(new Set(handledCounts(b, ids)), new Set([1]));
  assertOnePoll(b);
  const status = await b.status();
  assert.match(problemOf(status, 'second-poller') ?? '', new RegExp(`\\b${status.worker?.pid}\\b`));
  assert.deepEqual(troubles(b), []);
});

it('the owner takes updates and dies: the held one gets the same', async (b) => {
  const gate = await relay(b, { worker: ['--idle', '--child'] });
  const owner = { timeout: 20, poller: 'owner.1' };
  const id = b.sandbox.text('taken');
  assert.deepEqual(idsIn(await call(gate, 'getUpdates', owner, { side: 'child' })), [id]);
  // The same again: nobody has confirmed it.
  await call(gate, 'getUpdates', { ...owner, offset: id }, { side: 'child' });
  const held = call(gate, 'getUpdates', { timeout: 30, poller: 'other.1' });
  await gate.run.waitFor(/second poller/i);
  process.kill(gate.childPid(), 'SIGKILL');
  assert.deepEqual(idsIn(await held), [id]);
  assert.equal((await b.status()).worker?.pid, gate.told.pid);
  assertOnePoll(b);
});

const RESTART = ['--backoff', '10ms,50ms', '--stop-timeout', '1s', '--max-restarts', '1000/1m'];
const pending = async (b: Bed) => (await b.sandbox.webhookInfo()).pending_update_count;

xit('a worker killed before it has read its answer, or while its poll is open: the next one gets them', async (b) => {
  const run = await b.polling(RESTART);
  const unread: number[] = [];
  for (let round = 0; round < 6; round++) {
    const pid = polledBy(b, 'polite.mjs').at(-1) ?? -1;
    await until('its poll to be open', () => ourPolls(b).at(-1)?.endedAtMs === null, run);
    const isRead = round % 2 === 0;
    if (!isRead) process.kill(pid, 'SIGSTOP');
    const ids = [b.sandbox.text(`just before ${round}`)];
    if (!isRead) {
      await until('the API to answer', () => ourPolls(b).some((it) => it.delivered.includes(ids[0]!)), run);
      unread.push(ids[0]!);
    }
    process.kill(pid, 'SIGKILL');
    ids.push(b.sandbox.text(`just after ${round}`));
    await allHandled(b, ids, run);
    await until('the next worker', () => polledBy(b, 'polite.mjs').at(-1) !== pid, run);
  }
  assert.deepEqual(handledCounts(b, unread), [1, 1, 1]);
  assertOnePoll(b);
});

xit('workers that die as soon as they have asked leave no owner behind', async (b) => {
  const run = b.start([...RESTART, '--', ...node('dies-polling.mjs', '15')]);
  await until('the worker that stays', () => polledBy(b, 'dies-polling.mjs').length > 0, run);
  await b.serves(run);
  assert.doesNotMatch(run.stderr(), /second poller/i);
  assertOnePoll(b);
});

xit('parameters reach the API as written; a repeat confirms no more than was asked; big answers come whole; status tells', async (b) => {
  const gate = await relay(b, { worker: ['--idle'] });
  const before = gatewayOf(await b.status());
  assert.deepEqual([before.polls, before.lastPollAt, before.offset, before.updates], [0, null, null, 0]);
  assert.deepEqual(
    [before.refused, before.webhookAttempts, before.conflicts],
    [0, 0, { poller: 0, webhook: 0 }],
  );
  const first = b.sandbox.text('one');
  for (const index of [2, 3, 4]) b.sandbox.text(`${index}`);
  const asked = [
    { timeout: '1', offset: '0', limit: '2' },
    { timeout: '1', offset: '-4' },
    { timeout: '1', offset: String(first), limit: '100', allowed_updates: '["message","callback_query"]' },
    { timeout: '1', offset: String(first + 3), limit: '', allowed_updates: '[]' },
    { timeout: '1', offset: `${first + 4}abc` },
    { timeout: '1', offset: '', poller: 'x', unknown: 'ü &=+%' },
  ];
  for (const params of asked) {
    const polls = ourPolls(b).length;
    const target = `/bot{token}/getUpdates?${new URLSearchParams(params)}`;
    assert.equal((await ask(gate, { target })).status, 200);
    const { timeout: _, ...wanted } = params;
    for (const poll of ourPolls(b).slice(polls)) {
      const { timeout: __, ...seen } = poll.params;
      assert.deepEqual(seen, wanted, JSON.stringify(params));
    }
  }
  await call(gate, 'getMe');
  const after = gatewayOf(await b.status());
  assert.deepEqual([after.offset, after.polls], [first + 4, asked.length]);
  assert.ok(Math.abs(Date.parse(after.lastPollAt ?? '') - Date.now()) < 60_000, String(after.lastPollAt));
  assert.ok(after.latencyMs !== null && after.latencyMs >= 0);
  assert.deepEqual(after.pollers, [{ pid: gate.told.pid, role: 'owner' }]);

  // The answer with both is lost on its way to the gateway, twice.
  const ids = [b.sandbox.text('one'), b.sandbox.text('two')];
  const polls = ourPolls(b).length;
  b.sandbox.raw.fault({ kind: 'gone', method: 'getUpdates', count: 2 });
  const got = idsIn(await call(gate, 'getUpdates', { offset: ids[0], timeout: 20 }));
  assert.deepEqual(
    [
      ...new Set(
        ourPolls(b)
          .slice(polls)
          .map(({ offset }) => offset),
      ),
    ],
    [ids[0]],
  );
  got.push(...idsIn(await call(gate, 'getUpdates', { offset: got.at(-1)! + 1, timeout: 1 })));
  assert.deepEqual(got, ids);

  const texts = Array.from({ length: 100 }, (_, index) => `${index} ${'ä€😀'.repeat(3_400)}`);
  for (const text of texts) b.sandbox.text(text);
  const { json } = await call(gate, 'getUpdates', { offset: ids[1]! + 1, timeout: 5 });
  const big = (json.result as { message: { text: string } }[]).map((update) => update.message.text);
  assert.deepEqual(big, texts, '3 MB in one answer');
  assertOnePoll(b);
});

for (const [name, args] of [
  ['1 s after the signal', ['1000']],
  ['beside a long poll that it left open', ['0', 'open']],
] as const)
  it(`a planned stop: the last getUpdates, ${name}, passes and confirms`, async (b) => {
    const id = b.sandbox.text('the last one');
    const run = await b.polling(['--', ...node('confirms.mjs', ...args)]);
    await allHandled(b, [id], run);
    if (args.length === 1) assert.equal(await pending(b), 1);
    await b.exits(0, 'stop');
    await run.ends(0);
    const end = b.journal().find((entry) => entry.ev === 'end')?.text ?? '';
    assert.match(end, /^200 after \d+ ms$/);
    assert.equal(await pending(b), 0, `${end}\n${run.seen()}`);
    assert.ok(b.journal().some((entry) => entry.ev === 'signal'));
    assertOnePoll(b);
  });
