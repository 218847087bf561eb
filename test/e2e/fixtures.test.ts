// The fixtures themselves, without singlepoll: each does what its tests count on, so that a red test elsewhere
// speaks of the program.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, PYTHON, worker } from '../support/bed.ts';
import { handled } from '../support/judge.ts';
import { alive, readProc } from '../support/proc.ts';
import { legacyPoller, orphanedGunicorn, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

test('fixtures: two pollers fight, one that ends on 409 dies of it', async (t) => {
  const b = await bed(t);
  const env = { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root };
  const ends = b.spawn(process.execPath, [worker('ends-on-409.mjs')], { env });
  await until('it to poll', () => polledBy(b, 'ends-on-409.mjs').length === 1, { seen: ends.seen });
  const other = b.spawn(process.execPath, [worker('polite.mjs')], { env });
  assert.equal((await ends.exit()).code, 1, ends.seen());
  const id = b.sandbox.text('/ping');
  await until('the answer', () => b.sandbox.sentTexts().includes('pong'), { seen: other.seen });
  assert.ok(handled(b.journal()).has(id));
  const start = b.journal().find((entry) => entry.ev === 'start' && entry.pid === other.pid);
  assert.deepEqual(start?.others, [ends.pid], 'the journal sees two at once');
});

test('fixtures: gunicorn is orphaned, a daemon leaves its session, a stubborn one survives SIGTERM', async (t) => {
  const b = await bed(t);
  const pids = await orphanedGunicorn(b, b.project, b.token, 2);
  await until('gunicorn to poll', () => polledBy(b, 'app.py').length > 0);
  assert.notEqual(readProc(pids[0] ?? -1)?.ppid, process.pid);
  const daemon = legacyPoller(b, 'daemon_bot.py', { args: ['--daemonise'] });
  assert.equal((await daemon.exit()).code, 0);
  await until('the daemon to poll', () => polledBy(b, 'daemon_bot.py').length === 1, { seen: daemon.seen });
  const stubborn = b.spawn(PYTHON, [worker('poller.py'), '--ignore-term'], {
    env: { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root },
  });
  await until('the stubborn one to poll', () => polledBy(b, 'poller.py').length === 1, {
    seen: stubborn.seen,
  });
  stubborn.signal('SIGTERM');
  const polls = b.sandbox.polls().length;
  await until('more polls', () => b.sandbox.polls().length > polls + 2);
  assert.ok(alive(stubborn.pid));
});

test('fixtures: a hostile command line still polls', async (t) => {
  const b = await bed(t);
  const hostile = b.spawn(PYTHON, [worker('../hostile-exec.py'), worker('poller.py'), '1500000'], {
    env: { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root },
  });
  await until('it to poll', () => polledBy(b, 'poller.py').length === 1, { seen: hostile.seen });
});
