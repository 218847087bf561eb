// A supervisor whose package is replaced while it runs (npm install -g, a new image layer): it goes on as it was started.
import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { copyProgram } from '../support/program-copy.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { until } from '../support/wait.ts';

for (const [what, replace] of [
  ['gone', (dist: string) => rmSync(dist, { recursive: true })],
  [
    'of a version that does not fit',
    (dist: string) => {
      for (const name of readdirSync(dist))
        if (name.endsWith('.js')) writeFileSync(join(dist, name), 'throw new Error("of another version");\n');
    },
  ],
] as const) {
  test(`upgrade under a running supervisor, its files ${what}: crash, rival, alerts, watchers and stop`, async (t) => {
    const b = await bed(t);
    const program = copyProgram(join(b.dir, 'package'));
    const words = ['start', '--log-file', join(b.dir, 'log'), '--', ...node('polite.mjs')];
    const run = b.spawn(process.execPath, ['--', program, ...words], {
      env: { ...b.env, ASSISTANT_ADMIN_TELEGRAM_ID: '42' },
    });
    await until('the worker', () => polledBy(b, 'polite.mjs').length === 1, { seen: run.seen });
    replace(join(b.dir, 'package/dist'));

    process.kill(polledBy(b, 'polite.mjs')[0]!, 'SIGKILL');
    await until('the next worker', () => polledBy(b, 'polite.mjs').length === 2, { seen: run.seen });
    const stray = legacyPoller(b, 'rival_bot.py');
    await until('the rival to be stopped', () => stray.ended(), { ms: 60_000, seen: run.seen });
    const told = () => b.sandbox.raw.sent.filter(({ chatId }) => chatId === '42').map(({ text }) => text);
    await until('an alert', () => told().some((text) => /^stray stopped/.test(text)), { seen: run.seen });
    const watch = b.cli(['status', '--watch', '--json']);
    await watch.waitFor('"state":"polling"');
    watch.signal('SIGINT');
    const stop = await b.run(['stop']);
    assert.equal(stop.code, 0, stop.stderr);
    assert.equal((await run.exit()).code, 0, run.seen());
    assert.doesNotMatch(run.stderr(), /bug|another version|ERR_MODULE_NOT_FOUND|Cannot find/i);
    assert.match(run.stderr(), /rival_bot\.py/);
  });
}
