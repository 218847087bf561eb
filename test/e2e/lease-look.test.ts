// What can be seen of a lease from a machine where no supervisor runs, and of a worker that goes around the gateway; and what a start is
// refused for by its engine's client alone. What may be wrong with the option itself: test/unit/config-load.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { POLITE, PYTHON, worker } from '../support/bed.ts';
import { openEngine } from '../support/engines.ts';
import { assertNoToken, starts } from '../support/judge.ts';
import {
  clockOf,
  FAST_TTL_MS,
  leaseBed,
  leaseCases,
  leaseOf,
  stateIs,
  workerGone,
  workersOf,
} from '../support/lease-bed.ts';
import { until } from '../support/wait.ts';

describe('lease, looked at', () => {
  const it = leaseCases('redis');

  it('look: without a supervisor, who and status read the record and change nothing', async (b) => {
    const env = { ...b.env, SHARED_URL: b.url };
    b.file('singlepoll.toml', 'lease = "env:SHARED_URL"\n');
    const look = async () => {
      const seen: (string | number | boolean | null)[][] = [];
      for (const command of ['status', 'who']) {
        const answer = await b.run([command, '--json'], { env });
        assert.equal(answer.code, command === 'status' ? 3 : 0, answer.stderr);
        const { engine: kind, holder, mine, epoch } = leaseOf(JSON.parse(answer.stdout));
        seen.push([kind, holder, mine, epoch]);
      }
      assert.deepEqual(seen[0], seen[1]);
      return seen[0];
    };
    assert.deepEqual(await look(), ['redis', null, false, null]);
    assert.equal(await b.text(), null, 'looking makes no record');
    await b.vacate(1_800_000_000);
    assert.deepEqual(await look(), ['redis', null, false, 1_800_000_000]);
    assert.match((await b.run(['who'], { env })).stdout, /lease.*(nobody|free)/i);
    const other = await b.another({ since: new Date(Date.now() - 65_000).toISOString() });
    const text = await b.text();
    assert.deepEqual(await look(), ['redis', other.shown, false, other.rec.epoch]);
    for (const command of ['status', 'who']) {
      const screen = await b.run([command], { env });
      for (const part of [other.shown, String(other.rec.epoch)])
        assert.ok(screen.stdout.includes(part), screen.stdout);
      assert.match(screen.stdout, /1 ?m|6\d ?s/, 'for how long');
      assertNoToken(screen.stdout + screen.stderr, b.token);
    }
    assert.equal(await b.text(), text);
  });

  it('look: a record that is none of ours is told of', async (b) => {
    await b.engine.put(b.botId, 'scribble');
    for (const args of [['status'], ['status', '--json'], ['who'], ['who', '--json']]) {
      const answer = await b.run(args, { env: { ...b.env, SINGLEPOLL_LEASE: b.url } });
      assert.match(answer.stdout, /scribble/, args.join(' '));
      assert.equal(answer.code, args[0] === 'status' ? 3 : 0);
    }
  });

  it('look: --dry-run writes no record, also with --takeover, and says who holds it', async (b) => {
    await b.exits(0, ['start', '--dry-run', ...b.fast, ...POLITE]);
    assert.equal(await b.text(), null);
    const other = await b.another();
    const before = await b.text();
    const again = await b.exits(0, ['start', '--dry-run', '--takeover', ...b.fast, ...POLITE]);
    assert.equal(await b.text(), before);
    assert.match(again.text, new RegExp(`lease|${other.name}`, 'i'));
    assert.equal(starts(b.journal()).length, 0);
  });

  it('what only the client of an engine can tell is 78 as well, before a worker is started', async (b) => {
    for (const [url, pattern] of [
      ['etcds://127.0.0.1?ca-file=/nowhere/ca.pem', /\/nowhere\/ca\.pem/],
      ['k8s:', /pod|cluster|server/i],
    ] as const) {
      const { stderr } = await b.exits(78, ['start', '--lease', url, ...POLITE]);
      assert.match(stderr, pattern);
      assert.doesNotMatch(stderr, /\n\s+at .*\.[cm]?js:/, 'no stack');
    }
    assert.equal(starts(b.journal()).length, 0);
  });

  test('look: a worker around the gateway is named, and dead before the ttl when the lease is lost', async (t) => {
    const own = await openEngine('redis');
    t.after(() => own.close());
    const b = await leaseBed(t, own);
    await b.vacate();
    const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
    const around = [PYTHON, worker('poller.py'), '--ignore-term'];
    const run = await b.polling([...b.fast, '--', ...around], { env });
    await run.waitFor(/\[gateway\].*past the gateway.*lease/i);
    const problem = await until(
      'the problem',
      async () => (await b.status()).problems.find(({ code }) => code === 'past-gateway'),
      run,
    );
    assert.match(problem.message, /kill/i, 'what stops it is the kill alone');
    assert.match((await b.run(['status'])).stdout, /past the gateway/i);
    const status = await b.status();
    assert.deepEqual([status.healthy, leaseOf(status).mine], [false, true], 'it keeps the lease');
    const [first] = workersOf(b, 'poller.py');
    await own.pause();
    const pausedAt = clockOf(run);
    const gone = await workerGone(first?.pid, run);
    assert.ok(gone < pausedAt + FAST_TTL_MS, `gone ${Math.round(gone - pausedAt)} ms after the last renewal`);
    await stateIs(b, 'standby', run);
    own.resume();
  });
});
