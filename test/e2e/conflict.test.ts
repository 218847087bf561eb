// 409 as the server does it: old pollers of every kind fight; after `start` every getUpdates is the worker's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bed, bed, botFixture, node, PYTHON, worker } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { handled } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { orphanedGunicorn, polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

/** Until now a 409 of theirs may be on its way. */
async function goneAt(b: Bed, strays: readonly { readonly pid: number }[], run: Running): Promise<void> {
  await until('the old ones to be gone', () => strays.every(({ pid }) => !alive(pid)), {
    ms: 40_000,
    seen: () => `${run.seen()}\n${strays.map(({ pid }) => `${pid} ${alive(pid)}`).join(', ')}`,
  });
  const polls = b.sandbox.polls().length;
  await until('a poll after that', () => b.sandbox.polls().length > polls, { ms: 60_000, seen: run.seen });
}

/** Longer than the 3 s for which the server holds a conflict. */
async function pollsAlone(b: Bed, pid: number | undefined, first: number, run: Running): Promise<void> {
  await staysTrue(
    'every getUpdates comes from the one worker',
    4_000,
    () =>
      b.sandbox
        .polls()
        .slice(first)
        .every((poll) => poll.pid === pid && poll.status !== 409),
    run.seen,
  );
}

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
  const run = b.cli(['start', '--', ...node('ends-on-409.mjs')]);
  await until('the worker', () => polledBy(b, 'ends-on-409.mjs').length > 0, { ms: 40_000, seen: run.seen });
  // One of them holds the poll, the others wait: each goes at its own next poll, while the worker runs.
  await goneAt(b, old, run);
  const first = b.sandbox.polls().length;
  const [pid] = polledBy(b, 'ends-on-409.mjs');
  for (let index = 0; index < 5; index++) ids.push(b.sandbox.text(`n${index}`));
  await until('every update', () => ids.every((id) => handled(b.journal()).has(id)), { seen: run.seen });
  await pollsAlone(b, pid, first, run);
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
  const run = b.cli(['start', '--', ...node('polite.mjs')]);
  await until('the worker', () => polledBy(b, 'polite.mjs').length > 0, { ms: 60_000, seen: run.seen });
  await goneAt(b, [ntba, ptb], run);
  const first = b.sandbox.polls().length;
  const [pid] = polledBy(b, 'polite.mjs');
  await pollsAlone(b, pid, first, run);
  assert.equal(polledBy(b, 'polite.mjs').length, 1, 'it never met a conflict');
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
  await goneAt(
    b,
    pids.map((pid) => ({ pid })),
    run,
  );
  const first = b.sandbox.polls().length;
  const pid = polledBy(b, 'app.py').find((other) => !old.includes(other));
  await pollsAlone(b, pid, first, run);
});
