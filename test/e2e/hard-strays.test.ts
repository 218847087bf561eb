// Strays that do not go quietly: stopped ones, ones that come back, short pollers; machines without `ps`.
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allGone, bed, node, PYTHON, worker } from '../support/bed.ts';
import { assertNeverTwo, handled, starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

const respawner = fileURLToPath(new URL('../fixtures/respawner.py', import.meta.url));

test('stray: one that is stopped (SIGSTOP) goes too', async (t) => {
  const b = await bed(t);
  const stray = legacyPoller(b, 'frozen_bot.py');
  await until('it to poll', () => polledBy(b, 'frozen_bot.py').length > 0);
  stray.signal('SIGSTOP');
  const run = b.cli(['start', '--stop-timeout', '2s', '--', ...node('polite.mjs')]);
  await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, { ms: 30_000, seen: run.seen });
  assert.equal(alive(stray.pid), false, run.seen());
});

test('stray: one that starts itself anew at SIGTERM: gone for good, or 75; never two pollers in the end', async (t) => {
  const b = await bed(t);
  b.spawn(process.execPath, [worker('phoenix.mjs')], {
    env: { TELEGRAM_BOT_TOKEN: b.token, TELEGRAM_API_ROOT: b.sandbox.root },
  });
  await until('it to poll', () => polledBy(b, 'phoenix.mjs').length > 0);
  const run = b.cli(['start', '--stop-timeout', '1s', '--', ...node('polite.mjs')]);
  await until('an end, or the worker', () => run.ended() || polledBy(b, 'polite.mjs').length > 0, {
    ms: 60_000,
    seen: run.seen,
  });
  const ended = run.ended();
  if (ended) {
    assert.equal(ended.code, 75, run.seen());
    assert.equal(polledBy(b, 'polite.mjs').filter(alive).length, 0);
    return;
  }
  // Between two lives it is gone for a moment: quiet means gone for three seconds on end.
  let goneSince: number | null = null;
  const settled = () => {
    if (run.ended()?.code === 75) return true;
    const gone = polledBy(b, 'phoenix.mjs').every((pid) => !alive(pid));
    goneSince = gone ? (goneSince ?? performance.now()) : null;
    return goneSince !== null && performance.now() - goneSince > 3000;
  };
  await until('no phoenix beside the worker, or 75', settled, { ms: 60_000, seen: run.seen });
});

test('stray: brought back by something that is not its parent: 75, no worker left, said so', async (t) => {
  const b = await bed(t);
  const secret = b.file('secret', b.token, 0o600);
  const manager = b.spawn(PYTHON, [respawner, secret, b.sandbox.root, worker('poller.py')]);
  await until('it to poll', () => polledBy(b, 'poller.py').length > 0, { seen: manager.seen });
  const run = b.cli(['start', '--stop-timeout', '2s', '--', ...node('polite.mjs')]);
  const exit = await run.exit(90_000);
  assert.equal(exit.code, 75, run.seen());
  assert.equal(polledBy(b, 'polite.mjs').filter(alive).length, 0, 'no worker is left');
  assert.match(run.stderr(), /again|back|respawn/i);
  assert.ok(alive(manager.pid), 'what holds no token is not touched');
});

test('stray: one that asks without waiting is never stopped, and `who` shows it', async (t) => {
  const b = await bed(t);
  const short = b.file(
    'short.py',
    `import os, time, urllib.request
while True:
    try:
        urllib.request.urlopen(os.environ["LEGACY_ROOT"] + "/bot" + os.environ["LEGACY_TOKEN"] + "/getUpdates?poller=short.%d" % os.getpid()).read()
    except Exception as error:
        print(error, flush=True)
    time.sleep(4)
`,
  );
  const stray = b.spawn(PYTHON, [short], { env: { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root } });
  await until('it to poll', () => polledBy(b, 'short').length > 0, { seen: stray.seen });
  const who = await b.run(['who', '--json']);
  assert.match(who.stdout, new RegExp(`\\b${stray.pid}\\b`));
  const run = b.cli(['start', '--', ...node('polite.mjs')]);
  await until('the worker', () => polledBy(b, 'polite.mjs').length > 0, { ms: 30_000, seen: run.seen });
  assert.equal(alive(stray.pid), true, run.seen());
});

test('without `ps` and `setpriv` (only node in PATH): strays are found, the dead one leaves no second worker', async (t) => {
  const b = await bed(t);
  const bin = join(b.dir, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  const env = { ...b.env, PATH: bin };
  const stray = legacyPoller(b, 'production_polling_bot.py');
  await until('it to poll', () => polledBy(b, 'production_polling_bot.py').length > 0);
  const run = b.cli(['start', '--', ...node('polite.mjs')], { env });
  await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, { seen: run.seen });
  assert.equal(alive(stray.pid), false, run.seen());
  run.signal('SIGKILL');
  const next = b.cli(['start', '--', ...node('polite.mjs')], { env });
  await until('the next worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: next.seen });
  for (const start of starts(b.journal()).filter((entry) => entry.name === 'polite.mjs')) {
    assert.deepEqual(start.others, []);
  }
});

test('stray: forty lives of one program share the verdict of the one that holds the poll', async (t) => {
  const b = await bed(t);
  const first = legacyPoller(b, 'old_bot.py');
  const env = { LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
  const again = () => b.spawn(PYTHON, ['old_bot.py'], { cwd: b.project, env });
  const strays = [first, ...Array.from({ length: 39 }, again)];
  await until('all to poll', () => polledBy(b, 'old_bot.py').length === strays.length, { ms: 60_000 });
  const run = b.cli(['start', '--', ...node('polite.mjs')]);
  await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, { ms: 60_000, seen: run.seen });
  await allGone(
    strays.map((stray) => stray.pid),
    20_000,
  );
  const id = b.sandbox.text('after');
  await until('the update', () => handled(b.journal()).has(id), { seen: run.seen });
});

test('stray: one started while the sweep is going on never polls beside the worker for long', async (t) => {
  const b = await bed(t);
  const run = b.cli(['start', '--', ...node('polite.mjs')]);
  const strays = [];
  for (let index = 0; index < 6; index++) {
    strays.push(legacyPoller(b, `late_${index}.py`));
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  await until('the worker', () => polledBy(b, 'polite.mjs').length >= 1, { ms: 30_000, seen: run.seen });
  await allGone(
    strays.map((stray) => stray.pid),
    45_000,
  );
  assert.equal(run.ended(), null, run.seen());
  assertNeverTwo(b, 'polite.mjs');
});
