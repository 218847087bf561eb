// Deafness: a worker that lives and does not poll is replaced, with the reason; where it is not its fault, it is left alone.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bed, node, PYTHON, worker } from '../support/bed.ts';
import { linesOf, ourPolls, troubles } from '../support/gateway.ts';
import { starts } from '../support/judge.ts';
import { openNetwork } from '../support/network.ts';
import { alive } from '../support/proc.ts';
import { puppets } from '../support/puppet.ts';
import { startRival } from '../support/rival.ts';
import { staysTrue, until } from '../support/wait.ts';

const DEAF = ['--deaf-after', '3s', '--stop-timeout', '1s', '--backoff', '10ms,50ms'];
const LINE = /\[deaf\].*not completed a poll/i;

describe('gateway, deafness', () => {
  test('deaf: a worker that stops polling is replaced after --deaf-after, with the reason', async (t) => {
    const b = await bed(t);
    const strings = await puppets(t, b);
    const { run, puppet } = await strings.start(DEAF);
    // As long as it polls, however short, it is not deaf.
    const begin = performance.now();
    while (performance.now() - begin < 5_000)
      assert.equal((await puppet.call('getUpdates', { timeout: 1 })).status, 200);
    assert.ok(!puppet.gone());
    const quiet = performance.now();
    const next = await strings.next(run);
    const ms = performance.now() - quiet;
    assert.ok(ms > 2_500 && ms < 8_000, `replaced after ${Math.round(ms)} ms`);
    assert.ok(!alive(puppet.pid));
    const lines = linesOf(run.stderr(), LINE);
    assert.equal(lines.length, 1, run.stderr());
    assert.match(lines[0] ?? '', /\b3s\b|3 s/);
    const status = await b.status();
    assert.deepEqual([status.worker?.pid, status.worker?.spawns], [next.pid, 2]);
    // The next one has its own clock, which begins with its first poll.
    await staysTrue('the next one lives', 1_500, () => !next.gone());
    assert.equal((await next.call('getUpdates', { timeout: 1 })).status, 200);
  });

  test('deaf: a long poll that is open is no deafness, nor is one of a rival that keeps kicking', async (t) => {
    const b = await bed(t);
    // Its polls take 20 s.
    const run = await b.polling([...DEAF, '--', ...node('polite.mjs')]);
    await staysTrue('its long poll is waited for', 6_000, () => starts(b.journal()).length === 1);
    const rival = startRival(t, b, { pauseMs: 200 });
    await staysTrue('the rival is not its fault', 6_000, () => starts(b.journal()).length === 1);
    await rival.leave();
    assert.doesNotMatch(run.stderr(), LINE);
    assert.deepEqual(troubles(b), []);
  });

  for (const how of ['502', 'silent', 'down'] as const) {
    test(`deaf: not while the API is out of reach (${how})`, async (t) => {
      const b = await bed(t);
      const network = await openNetwork(t, b.sandbox.port);
      b.env.TELEGRAM_API_ROOT = network.root;
      const run = await b.polling([...DEAF, '--', ...node('poll-every.mjs', '2', '0')]);
      await until('two polls', () => ourPolls(b).length >= 2, { seen: run.seen });
      if (how === '502') b.sandbox.raw.fault({ kind: 'html', count: 0 });
      else if (how === 'down') await network.down();
      else network.blackHole();
      await staysTrue('the worker lives', 10_000, () => starts(b.journal()).length === 1);
      b.sandbox.raw.clearFaults();
      await network.up();
      const before = ourPolls(b).length;
      await until('it polls on', () => ourPolls(b).length > before + 1, { ms: 30_000, seen: run.seen });
      await staysTrue('and is left alone', 4_000, () => starts(b.journal()).length === 1);
      assert.doesNotMatch(run.stderr(), LINE);
      assert.deepEqual(troubles(b), []);
    });
  }

  test('deaf: a worker that polls past the gateway is left alone, and with --require-gateway replaced', async (t) => {
    const b = await bed(t);
    const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
    const command = [PYTHON, worker('poller.py')];
    const run = await b.polling([...DEAF, '--', ...command], { env });
    await staysTrue('it is left alone', 7_000, () => starts(b.journal()).length === 1);
    const { polling } = await b.status();
    assert.ok(!polling?.polls, `it has not come through: ${polling?.polls}`);
    assert.doesNotMatch(run.stderr(), LINE);
    assert.equal((await b.run(['stop'])).code, 0);

    const strict = await b.polling([...DEAF, '--require-gateway', '--', ...command], { env });
    await until('it is replaced', () => starts(b.journal()).length >= 3, { ms: 20_000, seen: strict.seen });
    assert.match(strict.stderr(), /\[deaf\]/);
    assert.match(strict.stderr(), /TELEGRAM_API_ROOT|gateway/);
  });

  test('deaf: a supervisor that was stopped for a while (SIGSTOP) does not blame its worker', async (t) => {
    const b = await bed(t);
    const run = await b.polling([...DEAF, '--', ...node('poll-every.mjs', '1', '0')]);
    await until('two polls', () => ourPolls(b).length >= 2, { seen: run.seen });
    run.signal('SIGSTOP');
    await staysTrue('time goes by', 5_000, () => true);
    run.signal('SIGCONT');
    const before = ourPolls(b).length;
    await until('it polls on', () => ourPolls(b).length > before + 2, { ms: 15_000, seen: run.seen });
    assert.equal(starts(b.journal()).length, 1, run.seen());
    assert.doesNotMatch(run.stderr(), LINE);
  });
});
