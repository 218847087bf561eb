// What can be seen of a lease from a machine where no supervisor runs, and of a worker that goes around the gateway.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { node, PYTHON, worker } from '../support/bed.ts';
import { type Engine, openEngine } from '../support/engines.ts';
import { assertNoToken } from '../support/judge.ts';
import { FAST_TTL_MS, goneAt, leaseBed, leaseOf, stateIs, workersOf } from '../support/lease-bed.ts';
import { until } from '../support/wait.ts';

interface Who {
  lease: { engine: string; holder: string | null; mine: boolean; epoch: number | null } | null;
}

describe('lease, looked at', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  test('look: without a supervisor, who and status read the record and change nothing', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another({ since: new Date(Date.now() - 65_000).toISOString() });
    const text = await b.text();
    const env = { ...b.env, SHARED_URL: b.url };
    b.file('singlepoll.toml', 'lease = "env:SHARED_URL"\n');
    const status = await b.run(['status', '--json'], { env });
    assert.equal(status.code, 3, status.stderr);
    const lease = leaseOf(JSON.parse(status.stdout));
    assert.deepEqual(
      [lease.engine, lease.holder, lease.mine, lease.epoch],
      ['redis', other.shown, false, other.rec.epoch],
    );
    const who = await b.run(['who', '--json'], { env });
    assert.equal(who.code, 0, who.stderr);
    const told = (JSON.parse(who.stdout) as Who).lease;
    assert.deepEqual(
      [told?.engine, told?.holder, told?.mine, told?.epoch],
      ['redis', other.shown, false, other.rec.epoch],
    );
    for (const command of ['status', 'who']) {
      const screen = await b.run([command], { env });
      assert.ok(screen.stdout.includes(other.shown), screen.stdout);
      assert.ok(screen.stdout.includes(String(other.rec.epoch)), screen.stdout);
      assert.match(screen.stdout, /1 ?m|65 ?s/, 'for how long');
      assertNoToken(screen.stdout + screen.stderr, b.token);
    }
    assert.equal(await b.text(), text);
  });

  test('look: where nobody holds it, and where there is no record yet', async (t) => {
    const b = await leaseBed(t, engine);
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    const nothing = leaseOf(JSON.parse((await b.run(['status', '--json'], { env })).stdout));
    assert.deepEqual([nothing.holder, nothing.mine, nothing.epoch], [null, false, null]);
    assert.equal(await b.text(), null, 'looking makes no record');
    await b.vacate(1_800_000_000);
    const free = leaseOf(JSON.parse((await b.run(['status', '--json'], { env })).stdout));
    assert.deepEqual([free.holder, free.mine, free.epoch], [null, false, 1_800_000_000]);
    assert.match((await b.run(['who'], { env })).stdout, /lease.*(nobody|free)/i);
  });

  test('look: a record that is none of ours is told of', async (t) => {
    const b = await leaseBed(t, engine);
    await engine.put(b.botId, 'scribble');
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    for (const args of [['status'], ['status', '--json'], ['who'], ['who', '--json']]) {
      const answer = await b.run(args, { env });
      assert.match(answer.stdout, /scribble/, args.join(' '));
      assert.equal(answer.code, args[0] === 'status' ? 3 : 0);
    }
  });

  test('look: a holder of control characters draws nothing on the terminal', async (t) => {
    const b = await leaseBed(t, engine);
    await b.another({
      host: 'box\u001b[2J\u0007\nfake line',
      since: '1 Jan 2026 (\u001b[2J)',
    });
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    for (const command of ['status', 'who']) {
      const { stdout } = await b.run([command], { env });
      assert.match(stdout, /4711/);
      assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f\x7f]/, JSON.stringify(stdout));
      assert.doesNotMatch(stdout, /^fake line/m);
    }
    const refused = await b.run(['start', ...b.fast, '--no-wait', '--', ...node('polite.mjs')]);
    assert.equal(refused.code, 75, refused.stderr);
    assert.doesNotMatch(refused.stderr, /[\x00-\x09\x0b-\x1f\x7f]/, JSON.stringify(refused.stderr));
    const run = await b.standby();
    assert.doesNotMatch(run.stderr(), /[\x00-\x09\x0b-\x1f\x7f]/, JSON.stringify(run.stderr()));
    assert.doesNotMatch(run.stderr(), /^fake line/m);
  });

  test('look: a supervisor that was killed leaves its name in the record', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding();
    run.signal('SIGKILL');
    await run.exit();
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    const answer = await b.run(['status', '--json'], { env });
    const lease = leaseOf(JSON.parse(answer.stdout));
    assert.match(lease.holder ?? '', new RegExp(`:${run.pid}$`));
    assert.equal(lease.mine, false);
  });

  test('look: commands that need no lease ask for none', async (t) => {
    const b = await leaseBed(t, engine);
    const env = { ...b.env, SINGLEPOLL_LEASE: 'redis://127.0.0.1:1' };
    const stop = await b.run(['stop'], { env, ms: 5_000 });
    assert.equal(stop.code, 0, stop.stderr);
    const reset = await b.run(['reset', '--no-start'], { env, ms: 15_000 });
    assert.equal(reset.code, 0, reset.stderr);
  });

  const around = [PYTHON, worker('poller.py')];

  test('look: a worker around the gateway is named, with what that means for the lease', async (t) => {
    const b = await leaseBed(t, engine);
    await b.vacate();
    const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
    const run = await b.polling([...b.fast, '--', ...around], { env });
    await run.waitFor(/\[gateway\].*past the gateway.*lease/i, 20_000);
    const status = await until(
      'the problem',
      async () => {
        const seen = await b.status();
        return seen.problems.some(({ code }) => code === 'past-gateway') ? seen : null;
      },
      { everyMs: 100, seen: run.seen },
    );
    assert.equal(status.healthy, false);
    assert.match(status.problems[0]?.message ?? '', /kill/i, 'what stops it is the kill alone');
    assert.match((await b.run(['status'])).stdout, /past the gateway/i);
    assert.equal(leaseOf(status).mine, true, 'it keeps the lease');
  });

  test('look: a worker around the gateway is dead before the ttl when the lease is lost', async (t) => {
    const own = await openEngine('redis');
    t.after(() => own.close());
    const b = await leaseBed(t, own);
    await b.vacate();
    const env = { ...b.env, LEGACY_TOKEN: b.token, LEGACY_ROOT: b.sandbox.root };
    const run = await b.polling([...b.fast, '--', ...around, '--ignore-term'], { env });
    const [first] = workersOf(b, 'poller.py');
    const before = (await b.record())?.seq;
    let renewed = performance.now();
    await until(
      'a renewal',
      async () => {
        const at = performance.now();
        const same = (await b.record())?.seq === before;
        if (same) renewed = at;
        return !same;
      },
      { everyMs: 5 },
    );
    await own.pause();
    const gone = await goneAt(first?.pid ?? -1, 'the worker', run);
    assert.ok(gone - renewed < FAST_TTL_MS, `gone ${Math.round(gone - renewed)} ms after the last renewal`);
    await stateIs(b, 'standby', run);
    own.resume();
  });

  test('look: a worker through the gateway is not said to go around it', async (t) => {
    const b = await leaseBed(t, engine);
    const run = await b.holding([], node('poll-every.mjs', '1', '0'));
    const status = await stateIs(b, 'polling', run);
    assert.deepEqual([status.healthy, status.polling?.via], [true, 'gateway']);
    assert.doesNotMatch(run.stderr(), /past the gateway/i);
  });
});
