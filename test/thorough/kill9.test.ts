// kill -9 of the supervisor at random moments, then start again: never two workers, never locked out, nothing lost.
// SP_TEST_KILL_ROUNDS sets the number of rounds (default 60).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allGone, bed, node } from '../support/bed.ts';
import { assertNeverTwo, handled } from '../support/judge.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { randomMoment, until } from '../support/wait.ts';

const ROUNDS = Number(process.env.SP_TEST_KILL_ROUNDS ?? 60);

for (const name of ['polite.mjs', 'ignores-term.mjs', 'ends-on-409.mjs']) {
  const rounds = name === 'polite.mjs' ? ROUNDS : Math.ceil(ROUNDS / 4);
  test(`kill -9: ${rounds} random moments with ${name}`, async (t) => {
    const b = await bed(t);
    const ids: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const run = b.cli(['start', '--stop-timeout', '1s', '--', ...node(name)]);
      ids.push(b.sandbox.text(`before ${round}`));
      // Every third round lets it come up first; the others strike anywhere in the start.
      if (round % 3 === 0) {
        await until('an update to arrive', () => handled(b.journal()).has(ids.at(-1) ?? -1), {
          seen: run.seen,
        });
      }
      await randomMoment(600);
      assert.equal(run.ended(), null, `round ${round}: ${run.seen()}`);
      run.signal('SIGKILL');
      await until('its death', () => !alive(run.pid), { everyMs: 1 });
      ids.push(b.sandbox.text(`after ${round}`));
    }
    const last = await b.polling(['--stop-timeout', '1s', '--', ...node(name)]);
    await until('every update', () => ids.every((id) => handled(b.journal()).has(id)), { seen: last.seen });
    assertNeverTwo(b);
    const survivors = polledBy(b, name).filter(alive);
    assert.equal(survivors.length, 1, 'one worker in the end');
  });
}

test('kill -9: the worker does not go on polling without its supervisor', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('setsid-child.mjs')]);
  const workers = polledBy(b, 'setsid-child.mjs');
  run.signal('SIGKILL');
  await allGone(workers, 2000);
  // What is left of its tree goes at the next start, by the cookie.
  const left = findByEnv('SINGLEPOLL_BOT', String(b.botId));
  const next = await b.polling(['--', ...node('polite.mjs')]);
  await allGone(left, 5000);
  assert.equal(next.ended(), null);
});

test('kill -9 of the worker: another at once, and the updates go on', async (t) => {
  const b = await bed(t);
  const run = await b.polling([
    '--max-restarts',
    '50/1m',
    '--backoff',
    '10ms,100ms',
    '--',
    ...node('polite.mjs'),
  ]);
  for (let round = 0; round < 8; round++) {
    const pid = polledBy(b, 'polite.mjs').at(-1) ?? -1;
    process.kill(pid, 'SIGKILL');
    const id = b.sandbox.text(`round ${round}`);
    await until(
      'the update at a new worker',
      () => handled(b.journal()).has(id) && polledBy(b, 'polite.mjs').at(-1) !== pid,
      {
        seen: run.seen,
      },
    );
  }
  assert.equal(run.ended(), null);
  assertNeverTwo(b);
});

test('kill -9: status and stop after it tell the truth', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  run.signal('SIGKILL');
  await until('its death', () => !alive(run.pid), { everyMs: 1 });
  const status = await b.run(['status', '--json']);
  assert.equal(status.code, 3, status.stdout);
  assert.equal(JSON.parse(status.stdout).state, 'stopped');
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 0, stop.stderr);
});
