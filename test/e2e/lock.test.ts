// One supervisor per bot per machine, whatever HOME or folder: races, who holds it, standing by, a holder that can't be asked any more.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { bed, POLITE } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

it('a dozen starters race, exactly one wins, the others yield with 75 and say to whom', async (b) => {
  const runs = Array.from({ length: 12 }, () => b.start());
  const isOver = () => runs.filter((run) => run.ended()).length === runs.length - 1;
  const seen = () => runs.map((run) => run.seen()).join('\n');
  await until('all but one to end', isOver, { seen });
  const winner = runs.find((run) => !run.ended())!;
  for (const run of runs.filter((it) => it !== winner)) {
    await run.ends(75);
    assert.match(run.stderr(), new RegExp(`\\b${winner.pid}\\b`), 'the holder');
    assert.ok(run.stderr().includes(b.project), `its folder:\n${run.stderr()}`);
    assert.match(run.stderr(), /--takeover|--wait|singlepoll stop/, 'commands that would change it');
  }
  await until('the winner to poll', () => polledBy(b, 'polite.mjs').length > 0, winner);
  assert.equal(starts(b.journal()).length, 1, 'one worker ever');
});

it('the same for other HOMEs, folders, state folders and an empty environment; another bot is not disturbed', async (b) => {
  const holder = await b.polling();
  const two = await bed(b.t);
  const second = await two.polling([], { env: { ...two.env, SINGLEPOLL_DIR: b.stateDir } });
  const other = join(b.dir, 'elsewhere');
  mkdirSync(other, { mode: 0o700 });
  const { PATH = '', TELEGRAM_BOT_TOKEN = '', TELEGRAM_API_ROOT = '', SP_TEST_COOKIE = '' } = b.env;
  const bare = { PATH, TELEGRAM_BOT_TOKEN, TELEGRAM_API_ROOT, SP_TEST_COOKIE };
  const xdg = { XDG_RUNTIME_DIR: other, XDG_STATE_HOME: other, TMPDIR: other };
  for (const options of [
    { env: { ...b.env, HOME: other } },
    { env: { ...b.env, SINGLEPOLL_DIR: other } },
    { env: bare, cwd: '/' },
    { env: { ...b.env, ...xdg } },
  ]) {
    const { stderr } = await b.exits(75, ['start', ...POLITE], options);
    assert.match(stderr, new RegExp(`\\b${holder.pid}\\b`));
  }
  assert.equal(starts(b.journal()).length, 1);
  assert.deepEqual([holder.ended(), second.ended()], [null, null]);
});

it('--wait stands by, and goes on as soon as the lock is free; of three that wait exactly one takes it; SIGTERM ends a waiter', async (b) => {
  const holder = await b.polling();
  const waiters = [1, 2].map(() => b.start('--wait'));
  for (const waiter of waiters) await waiter.waitFor(String(holder.pid));
  // One that does not answer is waited for, too.
  holder.signal('SIGSTOP');
  waiters.push(b.start('--wait'));
  await waiters[2]!.waitFor(String(holder.pid));
  assert.equal(starts(b.journal()).length, 1);
  holder.signal('SIGKILL');
  await until('one of them to start its worker', () => starts(b.journal()).length === 2);
  await b.serves();
  await staysTrue('only one worker', 300, () => starts(b.journal()).length === 2);
  for (const waiter of waiters) assert.equal(waiter.ended(), null);
  for (const waiter of waiters) waiter.signal('SIGTERM');
  for (const waiter of waiters) await waiter.ends(0);
  assertNeverTwo(b);
});

it('a state folder that is gone is made again, and stop finds the supervisor there; a crowded control socket has its turn', async (b) => {
  const run = await b.polling();
  // The shell that writes the history may put a file there meanwhile.
  rmSync(b.stateDir, { recursive: true, maxRetries: 5 });
  assert.match((await b.exits(0, 'stop')).stdout, new RegExp(`^stopped: supervisor ${run.pid}\\b`));
  await run.ends(0);
  const next = await b.polling();
  const path = join(b.stateDir, String(b.botId), 'control.sock');
  // The server gives each of them three seconds to ask for something.
  const idle = Array.from({ length: 80 }, () => net.connect(path).on('error', () => {}));
  b.t.after(() => {
    for (const socket of idle) socket.destroy();
  });
  await until('the connections', () => idle.every((socket) => !socket.connecting));
  assert.match((await b.exits(0, 'stop')).stdout, /^stopped: supervisor/);
  await next.ends(0);
});

xit('a control socket gone for good: stop and restart do not say that nothing runs; takeover ends; reset helps', async (b) => {
  const run = await b.polling();
  rmSync(b.stateDir, { recursive: true });
  // So that it can't be made again.
  writeFileSync(b.stateDir, '');
  const env = { ...b.env, SINGLEPOLL_DIR: join(b.dir, 'elsewhere') };
  const commands = [['stop'], ['restart'], ['start', '--takeover', ...POLITE]];
  for (const { stderr } of await Promise.all(commands.map((words) => b.exits(75, words, { env })))) {
    assert.match(stderr, new RegExp(`pid ${run.pid}\\b[^]*singlepoll reset`));
    assert.doesNotMatch(stderr, /Warning|hung or stopped/);
  }
  assert.equal(run.ended(), null);
  await b.exits(0, 'reset --no-start', { env });
  await run.ends(0);
});
