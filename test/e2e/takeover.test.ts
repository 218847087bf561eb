// `start --takeover` beside a run that is well: nothing is lost by trying. The run hands its lock over, stands by until the newcomer's
// worker polls, and goes on where it does not; what can be known before is found out before anything is stopped.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { askControl } from '../../src/supervisor/control.ts';
import { allGone, type Bed, bed, node, POLITE } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { it, xit, xtest } from '../support/kinds.ts';
import { alive, findByEnv } from '../support/proc.ts';
import { freePort, polledBy } from '../support/strays.ts';
import { LONG_MS, until } from '../support/wait.ts';

/** Lives, and never polls. */
const SILENT = ['--', 'sleep', '1000'];

/** The pid of the worker that began last, once it has polled. */
async function pollerBeside(b: Bed, old: readonly number[], seen: { seen: () => string }): Promise<number> {
  const fresh = () => polledBy(b, 'polite.mjs').find((pid) => !old.includes(pid));
  await until('another worker to poll', () => fresh() !== undefined, seen);
  return fresh()!;
}

it('healthy: the holder is asked, not killed, stands by until the new worker polls, and ends with 0; with nobody there it is a plain start', async (b) => {
  const ports = ['--gateway-port', String(await freePort()), '--http', String(await freePort())];
  const holder = await b.polling(['--takeover', ...ports]);
  const old = starts(b.journal())[0]?.pid ?? -1;
  const next = b.start(['--takeover', ...ports]);
  await pollerBeside(b, [old], next);
  await holder.ends(0);
  assert.match(
    holder.stderr(),
    /\[lock\] handed to pid \d+; standing by[\s\S]*\[stop\] handed over to pid \d+, which has polled;/,
  );
  assert.equal(alive(old), false);
  assert.ok(b.journal().some((entry) => entry.ev === 'signal' && entry.pid === old));
  assert.equal((await b.status()).supervisor?.pid, next.pid);
  await next.waitFor(/\[http\] open/);
  assertNeverTwo(b);
});

it('a newcomer whose worker crashes, never polls or is stopped, or that is killed: the run goes on as it was, ports and all', async (b) => {
  const ports = ['--gateway-port', String(await freePort()), '--http', String(await freePort())];
  const holder = await b.polling([...ports]);
  const remembered = () => readFileSync(join(b.stateDir, String(b.botId), 'last-start.json'), 'utf8');
  const before = JSON.parse(remembered());
  const rows: [string[], number | null, NodeJS.Signals | null][] = [
    [['--restart', 'never', '--', 'sh', '-c', 'exit 7'], 7, null],
    [['--backoff', '10ms,20ms', '--', 'sh', '-c', 'exit 7'], 7, null],
    [['--start-timeout', '1s', ...SILENT], 69, null],
    [SILENT, null, 'SIGKILL'],
    [SILENT, 0, 'SIGTERM'],
  ];
  for (const [words, code, signal] of rows) {
    const old = polledBy(b, 'polite.mjs');
    const newcomer = b.start(['--takeover', ...ports, ...words]);
    if (signal) {
      await newcomer.waitFor(/\[worker\] started/);
      newcomer.signal(signal);
    }
    assert.equal((await newcomer.exit()).code, code, newcomer.seen());
    await pollerBeside(b, old, holder);
    if (code === 69)
      assert.match(newcomer.stderr(), new RegExp(`has not polled within 1 s.*pid ${holder.pid} goes on`));
  }
  assert.equal(holder.stderr().match(/\[lock\] taken back/g)?.length, rows.length);
  await until('its state', async () => (await b.status()).state === 'polling', holder);
  assert.deepEqual([(await b.status()).supervisor?.pid, holder.ended()], [holder.pid, null]);
  const { at: _, ...again } = JSON.parse(remembered());
  assert.deepEqual(again, (({ at: __, ...rest }) => rest)(before), '`reset` starts what runs');
  assertNeverTwo(b);
});

it('what can be known is found out first: no lease, a taken port, a bad setting, no program: the run is untouched', async (b) => {
  const holder = await b.polling();
  const [old] = starts(b.journal());
  const closed = await freePort();
  const taken = String(b.sandbox.port);
  for (const [code, words, seen] of [
    [
      69,
      ['--lease', `redis://127.0.0.1:${closed}`, ...POLITE],
      /redis is out of reach.*nothing was taken over/,
    ],
    [78, ['--gateway-port', taken, ...POLITE], /port \d+ \(--gateway-port\) is taken by pid \d+/],
    [78, ['--http', taken, ...POLITE], /port \d+ \(--http\) is taken by pid \d+/],
    [78, ['-c', 'missing.toml', ...POLITE], /missing\.toml/],
    [78, ['--', './missing'], /can't be started/],
  ] as const)
    assert.match((await b.exits(code, ['start', '--takeover', ...words])).stderr, seen);
  const control = join(b.stateDir, String(b.botId), 'control.sock');
  const noProcess = 2 ** 30;
  const { ok, error } = await askControl(control, { cmd: 'handover', to: noProcess }, { timeoutMs: LONG_MS });
  assert.deepEqual([ok, error], [false, `no process has the pid ${noProcess}`]);
  assert.equal(holder.ended(), null);
  assert.deepEqual(starts(b.journal()), [old]);
  assert.ok(alive(old?.pid ?? -1));
});

xit('kill -9 of the one that stands by, of both, and stop while one stands by: never two, and what is to run runs', async (b) => {
  const half = async () => {
    const holder = await b.polling();
    const newcomer = b.start(['--takeover', ...SILENT]);
    await newcomer.waitFor(/\[worker\] started/);
    return { holder, newcomer };
  };
  const one = await half();
  one.holder.signal('SIGKILL');
  await one.holder.exit();
  assert.equal((await b.status()).supervisor?.pid, one.newcomer.pid);
  const other = b.start('--takeover');
  await pollerBeside(b, polledBy(b, 'polite.mjs'), other);
  await one.newcomer.ends(0);
  await b.exits(0, 'stop');
  await other.ends(0);
  const two = await half();
  for (const it of [two.holder, two.newcomer]) it.signal('SIGKILL');
  await Promise.all([two.holder.exit(), two.newcomer.exit()]);
  await allGone(findByEnv('SINGLEPOLL_BOT', String(b.botId)));
  const three = await half();
  await b.exits(0, 'stop');
  await three.newcomer.ends(0);
  await three.holder.ends(0);
  assert.deepEqual(findByEnv('SINGLEPOLL_BOT', String(b.botId)), []);
  assertNeverTwo(b);
});

xtest('a newcomer that hangs, with the lock in hand or with a worker that does not poll: it is ended, and the run goes on', async (t) => {
  const times = ['--start-timeout', '5s', '--stop-timeout', '1s'];
  const hangs = async (moment: RegExp) => {
    const b = await bed(t);
    const holder = await b.polling(times);
    const newcomer = b.start(['--takeover', ...times, ...SILENT]);
    await newcomer.waitFor(moment);
    newcomer.signal('SIGSTOP');
    await holder.waitFor(/the newcomer does not answer[\s\S]*taken back/);
    await b.serves(holder);
    assert.notEqual(newcomer.ended(), null);
    assertNeverTwo(b);
  };
  await Promise.all([/\[lock\] taken/, /\[worker\] started/].map(hangs));
});

xit('four takeovers at once: each worker is ended gracefully, one supervisor is left', async (b) => {
  const first = await b.polling();
  const others = [1, 2, 3, 4].map(() => b.start('--takeover'));
  const all = [first, ...others];
  const left = () => others.filter((it) => it.ended() === null);
  const seen = () => all.map((it) => it.seen()).join('\n');
  const isOver = () => left().length === 1 && first.ended() !== null;
  await until('all but one to hand over', isOver, { seen });
  await b.serves(left()[0]);
  for (const it of all) {
    if (it !== left()[0]) await it.ends(0);
    assert.doesNotMatch(it.stderr(), /killing now|SIGKILL|taken back/);
  }
  assertNeverTwo(b);
});

xit('SIGTERM ends the newcomer at once while the holder still stops its worker; the holder goes on', async (b) => {
  const holder = await b.polling(['--stop-timeout', '2s', '--', ...node('ignores-term.mjs')]);
  const newcomer = b.start('--takeover');
  await newcomer.waitFor(/hands over/);
  await newcomer.stop();
  await until('its next worker', () => polledBy(b, 'ignores-term.mjs').length === 2, holder);
  assertNeverTwo(b);
});
