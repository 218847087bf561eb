// Standing by: while another machine holds the lease nothing is touched, and the place is taken when it is due, never before.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { node } from '../support/bed.ts';
import { detach } from '../support/detach-bed.ts';
import { ENGINES, type Engine, type EngineName, openEngine } from '../support/engines.ts';
import { assertInOrder, assertNeverTwo } from '../support/judge.ts';
import {
  FAST_TTL_MS,
  type LeaseBed,
  leaseBed,
  leaseEngine,
  leaseOf,
  stateIs,
  unixSeconds,
  workerNumber,
  workersOf,
} from '../support/lease-bed.ts';
import { alive, environOf } from '../support/proc.ts';
import { legacyPoller, polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

/** A take-over waits for a whole ttl and the clocks' allowance; a busy machine adds to that. */
const LATEST_MS = 9_000;

describe('lease, standing by', () => {
  let engine: Engine;
  before(async () => {
    engine = await openEngine('redis');
  });
  after(() => engine?.close());

  test('standby: start -d returns once it polls, or once another is known to hold the lease, and names it', async (t) => {
    const b = await leaseBed(t, engine);
    const words = [...b.fast, '--', ...node('polite.mjs')];
    await b.vacate();
    const free = await detach(b, words);
    assert.match(free.finished.stdout, /polls: supervisor \d+, worker \d+/);
    assert.ok(b.sandbox.polls().length > 0, 'it has polled before the return');
    assert.equal((await b.run(['stop'])).code, 0);
    const other = await b.another({ epoch: unixSeconds() + 5 });
    other.live();
    const held = await detach(b, words);
    assert.match(held.finished.stdout, /stands by \(.* may poll.*\): supervisor \d+/);
    assert.ok(held.finished.stdout.includes(other.shown), held.finished.stdout);
    assert.equal((await b.run(['stop'])).code, 0);
  });

  test('standby: healthy, without a worker, and status names the holder', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another({ epoch: unixSeconds() + 5 });
    other.live();
    const run = await b.standby();
    assert.ok(run.stderr().includes(other.shown), `the holder is named:\n${run.stderr()}`);
    const status = await stateIs(b, 'standby', run);
    assert.deepEqual([status.healthy, status.problems], [true, []]);
    assert.equal(status.worker?.pid ?? null, null);
    const lease = leaseOf(status);
    assert.deepEqual(
      [lease.engine, lease.holder, lease.mine, lease.epoch],
      ['redis', other.shown, false, other.rec.epoch],
    );
    const inMs = Date.parse(lease.expiresAt ?? '') - Date.now();
    assert.ok(inMs > FAST_TTL_MS - 3_000 && inMs < FAST_TTL_MS + 500, `expires in ${inMs} ms`);
    const screen = await b.run(['status']);
    assert.equal(screen.code, 0, screen.stdout);
    assert.ok(screen.stdout.includes(other.shown), screen.stdout);
    assert.match(screen.stdout, /stand(s|ing)? ?by/i);
    const who = await b.run(['who', '--json']);
    const told = JSON.parse(who.stdout) as { lease: { holder: string } };
    assert.equal(told.lease.holder, other.shown);
    assert.ok((await b.run(['who'])).stdout.includes(other.shown));
    assert.equal(workersOf(b).length, 0);
    assert.equal(b.sandbox.polls().length, 0);
  });

  test('reset: where another machine holds the lease, it stands by again', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live();
    const first = await b.standby();
    const next = b.cli(['reset']);
    await until('the first supervisor to end', () => first.ended() !== null);
    await next.waitFor(/standing by/i);
    await stateIs(b, 'standby', next);
    assert.equal(workersOf(b).length, 0);
  });

  test('start -d: returns when it stands by, and takes over from there', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live();
    const { code, stdout, stderr } = await b.run(['start', '-d', ...b.fast, '--', ...node('polite.mjs')]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /stands by/);
    try {
      const { supervisor, state } = await b.status();
      assert.equal(state, 'standby');
      await other.free();
      await until('the detached worker to poll', async () => (await b.status()).state === 'polling');
      assert.equal((await b.status()).supervisor?.pid, supervisor?.pid);
    } finally {
      await b.run(['stop']);
    }
  });

  test('standby: neither stray nor webhook is touched before the lease was won', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live();
    const stray = legacyPoller(b, 'production_polling_bot.py');
    await until('the stray to poll', () => polledBy(b, 'production_polling_bot.py').length > 0);
    await b.sandbox.setWebhook('https://hooks.example.com/hook');
    const run = await b.standby(['--stray', 'production_polling_bot\\.py']);
    await staysTrue('the stray lives and the webhook is set', 2_500, async () => {
      const { url } = await b.sandbox.webhookInfo();
      return alive(stray.pid) && url === 'https://hooks.example.com/hook';
    });
    assert.ok(!b.sandbox.methods().includes('deletewebhook'));
    await other.free();
    await workerNumber(b, 1, run);
    assert.equal(alive(stray.pid), false, 'stopped before the worker began');
    await until('the webhook to be cleared', async () => (await b.sandbox.webhookInfo()).url === '');
    assertInOrder(run.stderr(), [
      /\[lease\].*standing by/i,
      /\[lease\].*ours/i,
      new RegExp(`\\b${stray.pid}\\b`),
      /worker/,
    ]);
    const deleted = b.sandbox.methods().indexOf('deletewebhook');
    assert.ok(deleted >= 0, 'the webhook was cleared by singlepoll');
    assertNeverTwo(b, 'polite.mjs');
  });

  test('standby: --drop-pending drops nothing when the lease was waited for', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const run = await b.standby(['--drop-pending']);
    const id = b.sandbox.text('sent while the holder stopped');
    await other.free();
    await until('the update to be handled', () => b.journal().some((entry) => entry.id === id), {
      seen: run.seen,
    });
  });

  test('standby: --drop-pending drops where the lease was free at once', async (t) => {
    const b = await leaseBed(t, engine);
    const old = b.sandbox.text('old');
    const run = await b.holding(['--drop-pending']);
    const fresh = b.sandbox.text('fresh');
    await until('the fresh one', () => b.journal().some((entry) => entry.id === fresh), { seen: run.seen });
    assert.ok(!b.journal().some((entry) => entry.id === old));
  });

  test('standby: SIGTERM and `stop` end it with 0 at once, the record is left as it is', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const before = await b.text();
    const first = await b.standby();
    let begin = performance.now();
    first.signal('SIGTERM');
    assert.deepEqual(await first.exit(), { code: 0, signal: null }, first.seen());
    assert.ok(performance.now() - begin < 2_000, `${performance.now() - begin} ms`);
    const second = await b.standby();
    begin = performance.now();
    const stop = await b.run(['stop']);
    assert.equal(stop.code, 0, stop.stderr);
    assert.ok(performance.now() - begin < 3_000, `${performance.now() - begin} ms`);
    assert.deepEqual(await second.exit(), { code: 0, signal: null }, second.seen());
    assert.equal(await b.text(), before, 'a standby has nothing to free');
    assert.ok(other.rec);
  });

  test('standby: `restart` says why not, and it stands by on', async (t) => {
    const b = await leaseBed(t, engine);
    (await b.another()).live();
    const run = await b.standby();
    const answer = await b.run(['restart']);
    assert.notEqual(answer.code, 0);
    assert.match(answer.stdout + answer.stderr, /stand(s|ing) by/i);
    assert.equal(run.ended(), null);
    assert.equal(workersOf(b).length, 0);
  });

  test('standby: heartbeats say that it stands by, in both formats', async (t) => {
    const b = await leaseBed(t, engine);
    (await b.another()).live();
    const run = await b.standby(['--heartbeat', '200ms']);
    await run.waitFor(/\[hb\].*stand(s|ing)?.?by/i);
    run.signal('SIGTERM');
    await run.exit();
    const json = b.cli([
      'start',
      ...b.fast,
      '--heartbeat',
      '200ms',
      '--log-format',
      'json',
      '--',
      ...node('polite.mjs'),
    ]);
    const beat = await until('a heartbeat', () =>
      json
        .stderr()
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .find((line) => /"hb"/.test(line) && /standby|standing by|stands by/i.test(line)),
    );
    assert.doesNotThrow(() => JSON.parse(beat));
  });

  test('standby: a second start on the same machine is 75 without --wait, as it is without a lease', async (t) => {
    const b = await leaseBed(t, engine);
    (await b.another()).live();
    const run = await b.standby();
    const second = await b.run(['start', ...b.fast, '--', ...node('polite.mjs')]);
    assert.equal(second.code, 75, second.stderr);
    assert.match(second.stderr, new RegExp(`\\b${run.pid}\\b`));
  });

  test('standby: takes over a whole ttl after the last renewal, not before', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live(700);
    const run = await b.standby();
    await staysTrue('no worker while it is renewed', FAST_TTL_MS + 2_000, () => workersOf(b).length === 0);
    await other.crash();
    const last = await other.renew();
    const worker = await workerNumber(b, 1, run);
    const tookMs = performance.now() - last;
    assert.ok(tookMs >= FAST_TTL_MS, `after ${Math.round(tookMs)} ms`);
    assert.ok(tookMs <= LATEST_MS, `after ${Math.round(tookMs)} ms`);
    const rec = await b.record();
    assert.equal(rec?.host, hostname());
    assert.equal(rec?.pid, run.pid);
    assert.ok((rec?.epoch ?? 0) > other.rec.epoch, 'the epoch has risen');
    assert.ok(environOf(worker.pid)?.includes(`SINGLEPOLL_EPOCH=${rec?.epoch}`));
  });

  test('standby: one renewal just before the end is another whole ttl', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const run = await b.standby();
    await staysTrue('no worker', FAST_TTL_MS - 1_500, () => workersOf(b).length === 0);
    const last = await other.renew();
    await workerNumber(b, 1, run);
    assert.ok(performance.now() - last >= FAST_TTL_MS, `${performance.now() - last} ms`);
  });

  test('standby: waits for the ttl that the holder has promised, where that is longer', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another({ ttl: 9_000 });
    const last = await other.renew();
    const run = await b.standby();
    await workerNumber(b, 1, run);
    assert.ok(performance.now() - last >= 9_000, `${performance.now() - last} ms`);
  });

  test('standby: waits for its own ttl where the holder has promised a shorter one', async (t) => {
    const b = await leaseBed(t, engine);
    await b.another({ ttl: 1_300 });
    const begin = performance.now();
    const run = await b.standby();
    await workerNumber(b, 1, run);
    assert.ok(performance.now() - begin >= FAST_TTL_MS, `${performance.now() - begin} ms`);
  });

  const absences: [string, (b: LeaseBed) => Promise<void>][] = [
    ['no record', async () => {}],
    [
      'a record that was wiped',
      async (b) => {
        await b.another();
        await engine.wipe(b.botId);
      },
    ],
    ['an empty record', (b) => engine.put(b.botId, '')],
    [
      'a record that marks an absence',
      (b) => b.put({ v: 1, holder: '', epoch: 7, seq: 3, ttl: FAST_TTL_MS, vacant: randomUUID() }),
    ],
  ];
  for (const [what, write] of absences)
    test(`standby: ${what} is waited for a whole ttl, not taken at once`, async (t) => {
      const b = await leaseBed(t, engine);
      await write(b);
      const begin = performance.now();
      const run = b.cli(['start', ...b.fast, '--', ...node('polite.mjs')]);
      await run.waitFor(/\[lease\]/);
      const status = await stateIs(b, 'standby', run);
      assert.equal(status.healthy, true, JSON.stringify(status.problems));
      assert.deepEqual([leaseOf(status).holder, leaseOf(status).mine], [null, false]);
      const worker = await workerNumber(b, 1, run, 12_000);
      assert.ok(
        performance.now() - begin >= FAST_TTL_MS,
        `after ${Math.round(performance.now() - begin)} ms`,
      );
      const rec = await b.record();
      assert.ok((rec?.epoch ?? 0) >= unixSeconds() - 60, 'a time that no earlier epoch can have passed');
      assert.ok(environOf(worker.pid)?.includes(`SINGLEPOLL_EPOCH=${rec?.epoch}`));
    });

  test('standby: a record that vanishes while it is waited for is waited for anew', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live();
    const run = await b.standby();
    await other.crash();
    await engine.wipe(b.botId);
    const wiped = performance.now();
    await workerNumber(b, 1, run);
    assert.ok(performance.now() - wiped >= FAST_TTL_MS, `${performance.now() - wiped} ms`);
    assert.ok(((await b.record())?.epoch ?? 0) > other.rec.epoch);
  });

  test('standby: a freed record is taken at once, and its epoch rises also over a higher one', async (t) => {
    const b = await leaseBed(t, engine);
    const ahead = unixSeconds() + 1_000_000;
    const other = await b.another({ epoch: ahead });
    const run = await b.standby();
    const freed = await other.free();
    const worker = await workerNumber(b, 1, run);
    const tookMs = performance.now() - freed;
    // Some 100 ms on an idle machine.
    assert.ok(tookMs < 1_000, `the worker began ${Math.round(tookMs)} ms after`);
    t.diagnostic(`the worker began ${Math.round(tookMs)} ms after`);
    const rec = await b.record();
    assert.ok((rec?.epoch ?? 0) > ahead, `${rec?.epoch} after ${ahead}`);
    assert.ok(environOf(worker.pid)?.includes(`SINGLEPOLL_EPOCH=${rec?.epoch}`));
  });

  const rest = { v: 1, holder: '', epoch: 1, seq: 1, ttl: FAST_TTL_MS };
  const foreign: [string, string][] = [
    ['that is cut off', '{"v":1,"holder":'],
    ['of another program', 'locked by somebody'],
    ['of a later version', JSON.stringify({ ...rest, v: 2 })],
    ['with a ttl of centuries', JSON.stringify({ ...rest, holder: randomUUID(), ttl: 1e12 })],
    ['with a ttl below nothing', JSON.stringify({ ...rest, ttl: -1 })],
    ['with an epoch that none could follow', JSON.stringify({ ...rest, epoch: Number.MAX_SAFE_INTEGER })],
    ['with a sequence that ends', JSON.stringify({ ...rest, seq: Number.MAX_SAFE_INTEGER })],
    ['that is no object', '[]'],
    ['of megabytes', `"${'x'.repeat(2 << 20)}"`],
  ];
  for (const [what, text] of foreign)
    test(`standby: a record ${what} is 78 at the first look, named, and left as it is`, async (t) => {
      const b = await leaseBed(t, engine);
      await engine.put(b.botId, text);
      const result = await b.run(['start', ...b.fast, '--', ...node('polite.mjs')], { ms: 10_000 });
      assert.equal(result.code, 78, result.stderr);
      assert.ok(result.stderr.includes(`singlepoll/${b.botId}`), 'says where it stands');
      assert.ok(result.stderr.length < 6_000, 'shows a part of it');
      assert.equal(await b.text(), text);
      assert.equal(workersOf(b).length, 0);
    });

  test('standby: a record that becomes unreadable is told of and left alone, and read again', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const run = await b.standby();
    await engine.put(b.botId, 'scribble');
    await run.waitFor(/scribble/);
    const status = await stateIs(b, 'standby', run);
    assert.equal(status.healthy, false);
    await staysTrue('nobody polls', FAST_TTL_MS + 1_500, () => workersOf(b).length === 0);
    assert.equal(await b.text(), 'scribble');
    assert.equal(run.ended(), null);
    await other.free();
    await workerNumber(b, 1, run);
  });

  test('standby: a freed record is taken soon also where nothing tells of it', async (t) => {
    const b = await leaseBed(t, engine);
    await b.another();
    const run = await b.standby();
    await engine.put(b.botId, JSON.stringify(rest));
    const freed = performance.now();
    await workerNumber(b, 1, run);
    const tookMs = performance.now() - freed;
    assert.ok(tookMs < 3_000, `the worker began ${Math.round(tookMs)} ms after`);
  });

  test('standby: a holder of this host name on another machine is waited for', async (t) => {
    const b = await leaseBed(t, engine);
    const begin = performance.now();
    await b.another({ host: hostname(), pid: 1 });
    const run = await b.standby();
    await workerNumber(b, 1, run);
    assert.ok(performance.now() - begin >= FAST_TTL_MS);
  });

  test('standby: --no-wait ends with 75 and names the holder; a free lease is taken', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const before = await b.text();
    const result = await b.run(['start', ...b.fast, '--no-wait', '--', ...node('polite.mjs')], {
      ms: 10_000,
    });
    assert.equal(result.code, 75, result.stderr);
    assert.ok(result.stderr.includes(other.shown), result.stderr);
    assert.match(result.stderr, /--takeover/);
    assert.equal(await b.text(), before);
    assert.equal(workersOf(b).length, 0);
    const run = await b.holding(['--no-wait']);
    assert.equal(run.ended(), null);
  });

  test('standby: --wait with a lease stands by for both', async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live();
    const run = await b.standby();
    const second = b.cli(['start', ...b.fast, '--wait', '--', ...node('polite.mjs')]);
    await second.waitFor(new RegExp(`\\b${run.pid}\\b`));
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0);
    await second.waitFor(/\[lease\].*standing by/i);
    await other.free();
    await workerNumber(b, 1, second);
    assertNeverTwo(b);
  });
});

for (const name of ENGINES.filter((one) => one !== 'redis'))
  describe(`lease in ${name}, the whole way`, () => wholeWay(name));

function wholeWay(name: EngineName): void {
  let engine: Engine;
  before(async () => {
    engine = await leaseEngine(name);
  });
  after(() => engine?.close());

  test(`${name}: stands by, takes what is freed, holds, frees`, async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    other.live();
    const run = await b.standby();
    const status = await stateIs(b, 'standby', run);
    assert.deepEqual(
      [leaseOf(status).engine, leaseOf(status).holder, status.healthy],
      [name, other.shown, true],
    );
    const freed = await other.free();
    const worker = await workerNumber(b, 1, run);
    const tookMs = performance.now() - freed;
    assert.ok(tookMs < 3_000, `the worker began ${Math.round(tookMs)} ms after`);
    await stateIs(b, 'polling', run);
    const held = leaseOf(await b.status());
    assert.deepEqual([held.mine, held.holder], [true, `${hostname()}:${run.pid}`]);
    const rec = await b.record();
    assert.equal(held.epoch, rec?.epoch);
    await until('a renewal', async () => ((await b.record())?.seq ?? 0) > (rec?.seq ?? 0), { everyMs: 100 });
    run.signal('SIGTERM');
    assert.equal((await run.exit()).code, 0, run.seen());
    const end = await b.record();
    assert.deepEqual([end?.holder, end?.epoch, end?.v], ['', rec?.epoch, 1], 'freed, never deleted');
    assert.equal(alive(worker.pid), false);
  });

  test(`${name}: a crashed holder is followed after a whole ttl`, async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const run = await b.standby();
    const last = await other.renew();
    await workerNumber(b, 1, run);
    const tookMs = performance.now() - last;
    assert.ok(tookMs >= FAST_TTL_MS && tookMs <= LATEST_MS, `after ${Math.round(tookMs)} ms`);
  });

  test(`${name}: who and status read the record where no supervisor runs`, async (t) => {
    const b = await leaseBed(t, engine);
    const other = await b.another();
    const env = { ...b.env, SINGLEPOLL_LEASE: b.url };
    const status = await b.run(['status', '--json'], { env });
    assert.equal(status.code, 3, status.stderr);
    const lease = leaseOf(JSON.parse(status.stdout));
    assert.deepEqual(
      [lease.engine, lease.holder, lease.mine, lease.epoch],
      [name, other.shown, false, other.rec.epoch],
    );
    const who = await b.run(['who', '--json'], { env });
    assert.equal((JSON.parse(who.stdout) as { lease: { holder: string } }).lease.holder, other.shown);
  });
}
