// Standing by: while another machine holds the lease nothing is touched, and the place is taken when it is due, never before. How
// long each kind of record is waited for is decided in src/lease/keeper.ts, and tested there and in the simulation.
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { node, worker } from '../support/bed.ts';
import { detach } from '../support/detach-bed.ts';
import { assertInOrder, assertNeverTwo } from '../support/judge.ts';
import {
  FAST_TTL_MS,
  leaseCases,
  leaseOf,
  stateIs,
  unixSeconds,
  workerNumber,
  workersOf,
} from '../support/lease-bed.ts';
import { alive, environOf } from '../support/proc.ts';
import { polledBy, pollingStray, withToken } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

const POLITE = ['--', ...node('polite.mjs')];

describe('lease, standing by', () => {
  const shared = leaseCases('redis');

  shared(
    'standby: start -d returns once it polls, or once another is known to hold the lease; it takes over from there',
    async (b) => {
      await b.vacate();
      const free = await detach(b, [...b.fast, ...POLITE]);
      assert.match(free.finished.stdout, /polls: supervisor \d+, worker \d+/);
      assert.equal((await b.run(['stop'])).code, 0);
      const other = await b.another({ epoch: unixSeconds() + 5 });
      other.live();
      const held = await detach(b, [...b.fast, ...POLITE]);
      assert.match(held.finished.stdout, /stands by \(.* may poll.*\): supervisor \d+/);
      assert.ok(held.finished.stdout.includes(other.shown), held.finished.stdout);
      const { supervisor } = await b.status();
      await other.free();
      await until('the detached worker to poll', async () => (await b.status()).state === 'polling');
      assert.equal((await b.status()).supervisor?.pid, supervisor?.pid);
      assert.equal((await b.run(['stop'])).code, 0);
    },
  );

  shared(
    'standby: healthy, without a worker; status, who and heartbeats name the holder; takes over a whole ttl after its last renewal',
    async (b) => {
      // Of this host name too: a name proves nothing.
      const other = await b.another({ host: hostname(), pid: 1, epoch: unixSeconds() + 1_000_000 });
      other.live(700);
      const run = await b.standby(['--heartbeat', '200ms']);
      // A heartbeat may come before the engine has answered.
      await run.waitFor(other.shown);
      const status = await stateIs(b, 'standby', run);
      assert.deepEqual([status.healthy, status.problems, status.worker?.pid ?? null], [true, [], null]);
      const { engine: kind, holder, mine, epoch, expiresAt } = leaseOf(status);
      assert.deepEqual([kind, holder, mine, epoch], ['redis', other.shown, false, other.rec.epoch]);
      assert.ok(Date.parse(expiresAt ?? '') <= Date.now() + 1.1 * FAST_TTL_MS, `${expiresAt}`);
      const screen = await b.run(['status']);
      assert.equal(screen.code, 0, screen.stdout);
      assert.match(screen.stdout, /stand(s|ing)? ?by/i);
      for (const text of [
        screen.stdout,
        (await b.run(['who'])).stdout,
        (await b.run(['who', '--json'])).stdout,
      ])
        assert.ok(text.includes(other.shown), text);
      await run.waitFor(/\[hb\].*stand(s|ing)?.?by/i);
      const restart = await b.run(['restart']);
      assert.notEqual(restart.code, 0);
      assert.match(restart.stdout + restart.stderr, /stand(s|ing) by/i);
      const second = await b.run(['start', ...b.fast, ...POLITE]);
      assert.equal(second.code, 75, second.stderr);
      assert.match(second.stderr, new RegExp(`\\b${run.pid}\\b`));
      await staysTrue('no worker while it is renewed', FAST_TTL_MS + 1_000, () => workersOf(b).length === 0);
      assert.deepEqual([b.sandbox.polls().length, run.ended()], [0, null]);
      await other.crash();
      const last = await other.renew();
      const worker = await workerNumber(b, 1, run);
      assert.ok(performance.now() - last >= FAST_TTL_MS);
      const rec = await b.record();
      assert.deepEqual([rec?.host, rec?.pid], [hostname(), run.pid]);
      assert.ok((rec?.epoch ?? 0) > other.rec.epoch, `${rec?.epoch}`);
      assert.ok(environOf(worker.pid)?.includes(`SINGLEPOLL_EPOCH=${rec?.epoch}`));
    },
  );

  shared('standby: neither stray nor webhook is touched before the lease was won', async (b) => {
    const other = await b.another();
    other.live();
    const stray = await pollingStray(b, 'production_polling_bot.py');
    await b.sandbox.setWebhook('https://hooks.example.com/hook');
    const run = await b.standby(['--stray', 'production_polling_bot\\.py']);
    await staysTrue('the stray lives and the webhook is set', 1_500, async () => {
      const { url } = await b.sandbox.webhookInfo();
      return alive(stray.pid) && url === 'https://hooks.example.com/hook';
    });
    assert.ok(!b.sandbox.methods().includes('deletewebhook'));
    await other.free();
    await workerNumber(b, 1, run);
    assert.equal(alive(stray.pid), false, 'stopped before the worker began');
    await until('the webhook to be cleared', async () => (await b.sandbox.webhookInfo()).url === '');
    const lines = [/\[lease\].*standing by/i, /\[lease\].*ours/i, new RegExp(`\\b${stray.pid}\\b`), /worker/];
    assertInOrder(run.stderr(), lines);
    assert.ok(b.sandbox.methods().includes('deletewebhook'), 'by singlepoll');
    assertNeverTwo(b, 'polite.mjs');
  });

  shared(
    'standby: --drop-pending drops where the lease was free at once, nothing when it was waited for',
    async (b) => {
      const handled = (id: number) => b.journal().some((entry) => entry.id === id);
      const old = b.sandbox.text('old');
      const first = await b.holding(['--drop-pending']);
      const fresh = b.sandbox.text('fresh');
      await until('the fresh one', () => handled(fresh), first);
      assert.ok(!handled(old));
      first.signal('SIGTERM');
      await first.exit();
      const other = await b.another({ epoch: unixSeconds() + 5 });
      const run = await b.standby(['--drop-pending']);
      const id = b.sandbox.text('sent while the holder stopped');
      await other.free();
      await until('the update to be handled', () => handled(id), run);
    },
  );

  shared('standby: --no-wait ends with 75 and names the holder; a free lease is taken', async (b) => {
    const other = await b.another();
    const before = await b.text();
    const result = await b.run(['start', ...b.fast, '--no-wait', ...POLITE]);
    assert.equal(result.code, 75, result.stderr);
    assert.ok(result.stderr.includes(other.shown), result.stderr);
    assert.match(result.stderr, /--takeover/);
    assert.deepEqual([await b.text(), workersOf(b).length], [before, 0]);
    await b.holding(['--no-wait']);
  });

  shared(
    'standby: --wait for a stray that comes back: another machine may have the lease meanwhile',
    async (b) => {
      await b.vacate();
      const again = "for (;;) require('node:child_process').spawnSync('python3', ['legacy.py'])";
      copyFileSync(worker('poller.py'), join(b.project, 'legacy.py'));
      const runner = b.spawn(process.execPath, ['-e', again], { cwd: b.project, env: withToken(b) });
      await until('the stray to poll', () => polledBy(b, 'legacy.py').length > 0);
      const run = b.start([...b.fast, '--wait', ...POLITE]);
      await run.waitFor(/standing by until it is gone/);
      const status = await stateIs(b, 'standby', run);
      const { problems, worker: none } = status;
      assert.deepEqual([problems[0]?.code, none?.pid, leaseOf(status).mine], ['rival', null, false]);
      const workers = workersOf(b).length;
      await until('the lease to be free', async () => (await b.record())?.holder === '');
      const other = await b.another();
      other.live();
      runner.signal('SIGKILL');
      for (const pid of polledBy(b, 'legacy.py')) if (alive(pid)) process.kill(pid, 'SIGKILL');
      await run.waitFor(new RegExp(`\\[lease\\].*standing by: ${other.shown}`));
      assert.equal(workersOf(b).length, workers);
      await other.free();
      await workerNumber(b, workers + 1, run);
    },
  );
});
