// The only door to getUpdates: pollers that share a worker, pollers that are none of it. One upstream poll at any time.
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type Bed, bed, node, worker } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import {
  allHandled,
  assertAnsweredOnce,
  assertOnePoll,
  type GatewayPolling,
  handledCounts,
  linesOf,
  messages,
  ourPolls,
  problemOf,
  troubles,
} from '../support/gateway.ts';
import { alive } from '../support/proc.ts';
import { puppets } from '../support/puppet.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

async function pollersOf(b: Bed, count: number, run: Running): Promise<GatewayPolling> {
  return until(
    `${count} pollers in status`,
    async () => {
      const { polling } = await b.status();
      const view = polling as unknown as GatewayPolling | null;
      return view?.pollers?.length === count ? view : null;
    },
    { ms: 30_000, everyMs: 200, seen: run.seen },
  );
}

function gunicorn(b: Bed, workers: number): string[] {
  copyFileSync(worker('gunicorn/app.py'), join(b.project, 'app.py'));
  return ['gunicorn', 'app:app', `--workers=${workers}`, '--bind', '127.0.0.1:0'];
}

describe('gateway, single flight', () => {
  test('gateway: gunicorn with 4 polling workers: one poll at any time, each update exactly once', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...gunicorn(b, 4)]);
    const view = await pollersOf(b, 4, run);
    const owners = view.pollers.filter((poller) => poller.role === 'owner');
    const held = view.pollers.filter((poller) => poller.role === 'held');
    assert.deepEqual([owners.length, held.length], [1, 3]);

    const ids = await messages(b, run, 'm', 25, 150);
    b.sandbox.text('/ping');
    await allHandled(b, ids, run);
    await until('the answer', () => b.sandbox.sentTexts().includes('pong'), { seen: run.seen });
    // Longer than the 3 s for which the API holds a conflict.
    await staysTrue('nobody else polls, no conflict', 4_000, () =>
      ourPolls(b).every((poll) => poll.status !== 409),
    );
    assert.deepEqual(new Set(handledCounts(b, ids)), new Set([1]));
    assertAnsweredOnce(b, ['pong']);
    assertOnePoll(b);
    assert.deepEqual(polledBy(b, 'app.py'), [owners[0]?.pid], 'only the owner asks Telegram');

    const message = problemOf(await b.status(), 'second-poller');
    assert.ok(message, 'status has the problem second-poller');
    assert.match(message, new RegExp(`\\b${owners[0]?.pid}\\b`));
    assert.ok(
      held.some(({ pid }) => new RegExp(`\\b${pid}\\b`).test(message)),
      `a held one is named: ${message}`,
    );
    const lines = linesOf(run.stderr(), /\[gateway\].*second poller/i);
    assert.equal(lines.length, 3, `once per pair:\n${lines.join('\n')}`);
    for (const { pid } of held)
      assert.equal(lines.filter((line) => new RegExp(`\\b${pid}\\b`).test(line)).length, 1);
  });

  test('gateway: the polling gunicorn worker is killed: the next one takes over at once, nothing is lost', async (t) => {
    const b = await bed(t);
    const run = await b.polling(['--', ...gunicorn(b, 3)]);
    const killed: number[] = [];
    const ids: number[] = [];
    for (let round = 0; round < 3; round++) {
      const view = await pollersOf(b, 3, run);
      const owner = view.pollers.find((poller) => poller.role === 'owner')?.pid ?? -1;
      assert.ok(alive(owner), `owner ${owner}`);
      assert.ok(!killed.includes(owner));
      const before = await messages(b, run, `before ${round}`, 2, 30);
      await allHandled(b, before, run);
      process.kill(owner, 'SIGKILL');
      killed.push(owner);
      const begin = performance.now();
      const after = await messages(b, run, `after ${round}`, 2, 30);
      await allHandled(b, after, run);
      const ms = performance.now() - begin;
      assert.ok(ms < 5_000, `the next one answered after ${Math.round(ms)} ms`);
      ids.push(...before, ...after);
    }
    assert.equal((await b.status()).worker?.spawns, 1, 'the master is still the same');
    assert.equal(handledCounts(b, ids).filter((count) => count === 0).length, 0);
    assertOnePoll(b);
  });

  for (const seconds of [20, 1]) {
    test(`gateway: two loops in one process, polls of ${seconds} s: each update exactly once`, async (t) => {
      const b = await bed(t);
      const run = await b.polling(['--', ...node('two-loops.mjs', String(seconds))]);
      await run.waitFor(/second poller/i);
      const ids = await messages(b, run, 'm', 25, 120);
      await allHandled(b, ids, run);
      await staysTrue('no conflict', 2_000, () => ourPolls(b).every((poll) => poll.status !== 409));
      assert.deepEqual(
        handledCounts(b, ids),
        ids.map(() => 1),
      );
      assertOnePoll(b);
      const status = await b.status();
      assert.match(problemOf(status, 'second-poller') ?? '', new RegExp(`\\b${status.worker?.pid}\\b`));
      assert.deepEqual(troubles(b), []);
    });
  }

  test('gateway: the owner takes updates and dies: the held one gets the same, for nobody has confirmed them', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet: parent } = await strings.start();
    const owner = await parent.fork();
    const other = await parent.fork();
    const id = b.sandbox.text('taken');
    const taken = await owner.call('getUpdates', { timeout: 20, poller: 'owner.1' });
    assert.deepEqual(
      (taken.json.result as { update_id: number }[]).map((update) => update.update_id),
      [id],
    );
    const again = owner.call('getUpdates', { timeout: 20, poller: 'owner.1', offset: id });
    await again;
    const held = other.call('getUpdates', { timeout: 30, poller: 'other.1' });
    await run.waitFor(/second poller/i);
    process.kill(owner.pid, 'SIGKILL');
    const { json, ms } = await held;
    assert.deepEqual(
      (json.result as { update_id: number }[]).map((update) => update.update_id),
      [id],
    );
    assert.ok(ms < 10_000, `${Math.round(ms)} ms`);
    assertOnePoll(b);
    assert.equal((await b.status()).worker?.pid, parent.pid);
  });

  test('gateway: the owner stops polling but lives: the next takes over, nothing is lost', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet: owner } = await strings.start();
    const other = await owner.fork(true);
    await owner.call('getUpdates', { timeout: 1, poller: 'owner.1' });
    const id = b.sandbox.text('who takes it?');
    let found: number[] = [];
    await until(
      'the other one to get it',
      async () => {
        const { json } = await other.call('getUpdates', { timeout: 2, poller: 'other.1' });
        found = (json.result as { update_id: number }[]).map((update) => update.update_id);
        return found.length > 0;
      },
      { ms: 45_000, seen: run.seen },
    );
    assert.deepEqual(found, [id]);
    assertOnePoll(b);
  });
});
