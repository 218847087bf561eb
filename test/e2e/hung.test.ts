// A supervisor that hangs (SIGSTOP): everybody who talks to it says so in good time, nobody hangs with it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { assertStatusShape } from '../support/status.ts';
import { polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

test('hung: start yields with 75 and names it; --takeover ends with 75 as well, and helps', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  holder.signal('SIGSTOP');
  const plain = await b.run(['start', '--', ...node('polite.mjs')], { ms: 15_000 });
  assert.equal(plain.code, 75, plain.stderr);
  assert.match(plain.stderr, new RegExp(`\\b${holder.pid}\\b`));
  const takeover = await b.run(['start', '--takeover', '--', ...node('polite.mjs')], { ms: 60_000 });
  assert.equal(takeover.code, 75, takeover.stderr);
  assert.match(takeover.stderr, /reset/);
  assert.equal(starts(b.journal()).length, 1, 'no second worker');
});

test('hung: status tells within seconds, exit 1, with the way out', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  holder.signal('SIGSTOP');
  const result = await b.run(['status', '--json'], { ms: 10_000 });
  assert.equal(result.code, 1, result.stdout);
  const status = JSON.parse(result.stdout);
  assertStatusShape(status);
  assert.equal(status.healthy, false);
  assert.ok(status.problems.length > 0);
  const plain = await b.run(['status'], { ms: 10_000 });
  assert.match(plain.stdout, /reset/);
  const who = await b.run(['who'], { ms: 10_000 });
  assert.ok(who.code === 0 || who.code === 1);
});

test('hung: stop and restart do not hang; stop leaves nothing or says that it could not', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--stop-timeout', '2s', '--', ...node('polite.mjs')]);
  holder.signal('SIGSTOP');
  const restart = await b.run(['restart'], { ms: 40_000 });
  assert.notEqual(restart.code, 0, restart.stdout + restart.stderr);
  const stop = await b.run(['stop'], { ms: 60_000 });
  if (stop.code === 0) assert.ok(!alive(holder.pid), 'stopped, as it says');
  else assert.match(stop.stderr, /reset/);
});

test('hung: a waiter takes over when the hung one is killed', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  holder.signal('SIGSTOP');
  const waiter = b.cli(['start', '--wait', '--', ...node('polite.mjs')]);
  await waiter.waitFor(String(holder.pid));
  holder.signal('SIGKILL');
  await until('its worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: waiter.seen });
});

test('hung: a frozen worker is stopped with the rest', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--stop-timeout', '1s', '--', ...node('polite.mjs')]);
  const pid = polledBy(b, 'polite.mjs')[0] ?? -1;
  process.kill(pid, 'SIGSTOP');
  run.signal('SIGTERM');
  assert.equal((await run.exit(10_000)).code, 0, run.seen());
  assert.equal(alive(pid), false);
});
