// 409 as the server does it: old pollers of every kind fight; after `start` every getUpdates is the worker's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, botFixture, node, PYTHON, worker } from '../support/bed.ts';
import { handled } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { orphanedGunicorn, polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

test('conflict: old and new pollers together; after start one process polls, all updates are delivered', async (t) => {
  const b = await bed(t);
  const env = { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root };
  const old = [
    b.spawn(process.execPath, [worker('retries-on-409.mjs')], { env }),
    b.spawn(process.execPath, [worker('polite.mjs')], { env }),
    b.spawn(PYTHON, [worker('poller.py')], { env }),
  ];
  const ids: number[] = [];
  await until('the fight', () => b.sandbox.polls().filter((poll) => poll.status === 409).length >= 3, {
    ms: 30_000,
  });
  for (let index = 0; index < 20; index++) ids.push(b.sandbox.text(`m${index}`));
  const run = await b.polling(['--', ...node('ends-on-409.mjs')], { ms: 40_000 });
  await until('the worker', () => polledBy(b, 'ends-on-409.mjs').length > 0, { seen: run.seen });
  for (const stray of old) assert.equal(alive(stray.pid), false, stray.seen());
  const [pid] = polledBy(b, 'ends-on-409.mjs');
  const first = b.sandbox.polls().findIndex((poll) => poll.pid === pid);
  for (let index = 0; index < 5; index++) ids.push(b.sandbox.text(`n${index}`));
  await until('every update', () => ids.every((id) => handled(b.journal()).has(id)), { seen: run.seen });
  // Longer than the 3 s for which the server holds a conflict.
  await staysTrue('every getUpdates comes from the one worker', 4000, () =>
    b.sandbox
      .polls()
      .slice(first)
      .every((poll) => poll.pid === pid && poll.status !== 409),
  );
  assert.equal(polledBy(b, 'ends-on-409.mjs').length, 1, 'it never met a conflict');
});

test('conflict: real libraries as strays: grammY, NTBA and python-telegram-bot give way to the worker', async (t) => {
  const b = await bed(t);
  const env = { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root };
  const ntba = b.spawn(process.execPath, [botFixture('ntba.mjs')], { env });
  const ptb = b.spawn(PYTHON, [botFixture('ptb.py')], { env });
  await until('both to poll', () => new Set(b.sandbox.polls().map((poll) => poll.userAgent)).size >= 2, {
    ms: 30_000,
  });
  const run = await b.polling(['--', ...node('polite.mjs')], { ms: 60_000 });
  await until('the worker', () => polledBy(b, 'polite.mjs').length > 0, { ms: 60_000, seen: run.seen });
  for (const stray of [ntba, ptb]) assert.equal(alive(stray.pid), false, stray.seen());
  const [pid] = polledBy(b, 'polite.mjs');
  const first = b.sandbox.polls().findIndex((poll) => poll.pid === pid);
  await staysTrue('only the worker polls', 3500, () =>
    b.sandbox
      .polls()
      .slice(first)
      .every((poll) => poll.pid === pid),
  );
});

test('conflict: a gunicorn with two polling workers gives way to one with one', async (t) => {
  const b = await bed(t);
  const pids = await orphanedGunicorn(b, b.project, b.token, 2);
  await until('both of its workers to poll', () => polledBy(b, 'app.py').length === 2, { ms: 30_000 });
  const old = polledBy(b, 'app.py');
  const run = b.cli(['start', '--', 'gunicorn', 'app:app', '--workers=1', '--bind', '127.0.0.1:0']);
  await until('the new one to poll', () => polledBy(b, 'app.py').length === 3, {
    ms: 40_000,
    seen: run.seen,
  });
  for (const pid of pids) assert.equal(alive(pid), false);
  const pid = polledBy(b, 'app.py').find((other) => !old.includes(other));
  const first = b.sandbox.polls().findIndex((poll) => poll.pid === pid);
  await staysTrue('only the new worker polls', 3500, () =>
    b.sandbox
      .polls()
      .slice(first)
      .every((poll) => poll.pid === pid && poll.status !== 409),
  );
});
