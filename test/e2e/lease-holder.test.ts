// Holding the lease, and losing it: to another machine, to somebody who edits the record, to one who asks for it.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe } from 'node:test';
import { node } from '../support/bed.ts';
import { gatewayOf } from '../support/gateway.ts';
import { assertNeverTwo, handled } from '../support/judge.ts';
import {
  FAST_TTL_MS,
  leaseCases,
  leaseOf,
  stateIs,
  workerGone,
  workerNumber,
  workersOf,
} from '../support/lease-bed.ts';
import { alive, environOf } from '../support/proc.ts';
import { staysTrue, until } from '../support/wait.ts';

const POLITE = ['--', ...node('polite.mjs')];

describe('lease, holding', () => {
  const it = leaseCases('redis');

  it('holder: renews, keeps its epoch through `restart` and a crash, and is healthy', async (b) => {
    const run = await b.holding();
    const first = await b.record();
    await until('three renewals', async () => ((await b.record())?.seq ?? 0) >= (first?.seq ?? 0) + 3);
    const status = await stateIs(b, 'polling', run);
    assert.deepEqual([status.healthy, status.problems], [true, []]);
    const lease = leaseOf(status);
    assert.deepEqual([lease.mine, lease.epoch], [true, first?.epoch]);
    assert.match(lease.holder ?? '', new RegExp(`:${run.pid}$`));
    assert.ok(Date.parse(lease.expiresAt ?? '') <= Date.now() + FAST_TTL_MS + 100);
    const answer = await b.run(['restart']);
    assert.equal(answer.code, 0, answer.stderr);
    process.kill((await workerNumber(b, 2, run)).pid, 'SIGKILL');
    const third = await workerNumber(b, 3, run);
    assert.ok(environOf(third.pid)?.includes(`SINGLEPOLL_EPOCH=${first?.epoch}`));
    const rec = await b.record();
    for (const key of ['epoch', 'holder', 'since', 'v', 'ttl'] as const)
      assert.equal(rec?.[key], first?.[key]);
    assert.match(rec?.holder ?? '', /^[0-9a-f-]{36}$/, 'no host name that another machine could have too');
    assertNeverTwo(b);
  });

  it('holder: another stands in the record: even a deaf worker dies at once, nothing is freed, it stands by', async (b) => {
    const run = await b.holding(['--stop-timeout', '60s'], node('ignores-term.mjs'));
    const [worker] = workersOf(b, 'ignores-term.mjs');
    const other = await b.another({ epoch: ((await b.record())?.epoch ?? 0) + 1 });
    await workerGone(worker?.pid, run);
    assert.match(run.stderr(), /lost/i);
    await stateIs(b, 'standby', run);
    const named = async () => leaseOf(await b.status()).holder === other.shown;
    await until('the other one to be named', named, run);
    assert.equal(leaseOf(await b.status()).mine, false);
    const polls = b.sandbox.polls().length;
    await staysTrue('the record is the other one’s, and nobody polls here', 1_500, async () => {
      const rec = await b.record();
      return rec?.seq === other.rec.seq && b.sandbox.polls().length === polls;
    });
    await other.free();
    const next = await workerNumber(b, 2, run, 'ignores-term.mjs');
    assert.ok(((await b.record())?.epoch ?? 0) > other.rec.epoch);
    assert.ok(environOf(next.pid)?.includes('SINGLEPOLL_SPAWN=2'));
  });

  it('holder: a record that is wiped or rolled back is written again: no restart, no other epoch', async (b) => {
    const run = await b.holding();
    const rec = await b.record();
    const old = await b.text();
    await b.engine.wipe(b.botId);
    await until('the record to be back', async () => (await b.record())?.holder === rec?.holder);
    await until('two renewals', async () => ((await b.record())?.seq ?? 0) >= rec!.seq + 2);
    await b.engine.put(b.botId, old ?? '');
    await until('it to be renewed', async () => ((await b.record())?.seq ?? 0) > rec!.seq + 1, run);
    await staysTrue(
      'one worker',
      1_000,
      () => workersOf(b).length === 1 && alive(workersOf(b)[0]?.pid ?? -1),
    );
    assert.deepEqual([(await b.record())?.epoch, (await b.status()).healthy], [rec?.epoch, true]);
    assert.match(run.stderr(), /the record is gone from redis/);
    assert.match(run.stderr(), /redis has forgotten writes/);
  });

  it('holder: asked in the record to hand over: the worker gone, then freed; it stands by again, and misses no update afterwards', async (b) => {
    const run = await b.holding();
    const [worker] = workersOf(b);
    const isHandled = (id: number) => () => handled(b.journal()).has(id);
    await until('the first update', isHandled(b.sandbox.text('first')), run);
    const asker = randomUUID();
    const holder = (await b.record())?.holder;
    const livesAtFree = await until(
      'it to be freed',
      async () => {
        const rec = await b.record();
        if (rec?.holder === '') return { lives: alive(worker?.pid ?? -1) };
        // Its renewal may have come in between: asked again, as another machine would.
        if (rec && rec.wants !== asker && rec.holder === holder) await b.put({ ...rec, wants: asker });
        return null;
      },
      { everyMs: 5, seen: run.seen },
    );
    assert.equal(livesAtFree.lives, false, 'no worker lives where the record is free');
    const signals = b.journal().filter((entry) => entry.ev === 'signal' && entry.pid === worker?.pid);
    assert.equal(signals.length, 1, 'asked to leave, not killed');
    // The one who asked takes it.
    const other = await b.another({ epoch: ((await b.record())?.epoch ?? 0) + 1, holder: asker });
    other.live();
    await staysTrue('it stands by', 1_500, () => workersOf(b).length === 1 && run.ended() === null);
    const status = await stateIs(b, 'standby', run);
    assert.deepEqual([leaseOf(status).holder, status.healthy], [other.shown, true]);
    // Its worker is given two, and confirms them.
    const last = ['second', 'third'].map((text) => b.sandbox.text(text)).at(-1)!;
    await fetch(`${b.sandbox.root}/bot${b.token}/getUpdates?offset=${last + 1}`);
    await other.free();
    await workerNumber(b, 2, run);
    await until('the fourth update', isHandled(b.sandbox.text('fourth')), run);
    assert.equal(gatewayOf(await b.status()).stolen, 0, 'nobody has stolen what the other one was given');
    assertNeverTwo(b);
  });

  it('holder: --takeover writes its wish, and takes what is freed', async (b) => {
    const other = await b.another();
    const run = b.cli(['start', ...b.fast, '--takeover', ...POLITE]);
    const wish = await until('its wish', async () => (await b.record())?.wants, run);
    const asked = await b.record();
    assert.deepEqual(
      [asked?.holder, asked?.epoch],
      [other.rec.holder, other.rec.epoch],
      'nothing else is changed',
    );
    await stateIs(b, 'standby', run);
    // The holder renews meanwhile, and keeps the wish, until its worker is gone.
    Object.assign(other.rec, { seq: (asked?.seq ?? 0) + 10, wants: wish });
    other.live(300);
    await staysTrue('it waits for the holder', 1_500, () => workersOf(b).length === 0);
    await other.free();
    await workerNumber(b, 1, run);
    const rec = await b.record();
    assert.deepEqual([rec?.holder, rec?.wants], [wish, undefined], 'by the one who asked');
    assert.ok((rec?.epoch ?? 0) > other.rec.epoch);
  });

  it('holder: stop: kept while the worker lives, longer than the ttl; gone before the record is free; exit 0', async (b) => {
    const run = await b.holding(['--stop-timeout', `${FAST_TTL_MS + 2_000}ms`], node('ignores-term.mjs'));
    const pid = workersOf(b, 'ignores-term.mjs')[0]?.pid ?? -1;
    const before = await b.record();
    const stopping = b.run(['stop']);
    const atFree = await until(
      'the record to be free',
      async () => ((await b.record())?.holder === before?.holder ? null : { worker: alive(pid) }),
      { ms: 30_000, everyMs: 3, seen: run.seen },
    );
    assert.equal(atFree.worker, false, 'freed while the worker lived');
    assert.deepEqual(await run.exit(), { code: 0, signal: null }, run.seen());
    await stopping;
    const rec = await b.record();
    assert.deepEqual([rec?.holder, rec?.epoch, rec?.wants], ['', before?.epoch, undefined], 'its epoch kept');
  });

  it('holder: on the same machine a second start is 75; --takeover, a kill and `reset` are no wait', async (b) => {
    const first = await b.holding();
    const second = await b.run(['start', ...b.fast, ...POLITE]);
    assert.equal(second.code, 75, second.stderr);
    assert.match(second.stderr, new RegExp(`\\b${first.pid}\\b`));
    let epoch = (await b.record())?.epoch ?? 0;
    const holds = async (count: number, run: typeof first) => {
      await workerNumber(b, count, run);
      const rec = await b.record();
      assert.equal(rec?.pid, run.pid);
      assert.ok((rec?.epoch ?? 0) > epoch, `${rec?.epoch} after ${epoch}`);
      epoch = rec?.epoch ?? 0;
    };
    const next = async (count: number, args: string[]) => {
      const run = b.cli(args);
      await holds(count, run);
      // Who waits for a record tells that the holder may poll, or that there is none.
      assert.doesNotMatch(run.stderr(), /standing by: |no record of this bot/);
      return run;
    };
    // Tried in vain: the lease comes back with the lock, also where the one that tried was killed.
    for (const [words, signal] of [
      [['--start-timeout', '1s'], null],
      [[], 'SIGKILL'],
    ] as const) {
      const before = workersOf(b).length;
      const tries = b.cli(['start', ...b.fast, '--takeover', ...words, '--', 'sleep', '1000']);
      await until('its term', async () => (await b.record())?.pid === tries.pid, tries);
      epoch = (await b.record())?.epoch ?? 0;
      if (signal) tries.signal(signal);
      await tries.exit();
      await holds(before + 1, first);
    }
    const third = await next(4, ['start', ...b.fast, '--takeover', ...POLITE]);
    assert.equal((await first.exit()).code, 0, first.seen());
    third.signal('SIGKILL');
    await third.exit();
    const fourth = await next(5, ['start', ...b.fast, ...POLITE]);
    await next(6, ['reset']);
    assert.equal((await fourth.exit()).code, 0);
    assert.equal((await b.run(['reset', '--no-start'])).code, 0);
    assert.equal((await b.record())?.holder, '');
    assertNeverTwo(b);
  });
});
