// One supervisor per bot per machine, whatever HOME or folder: races, who holds it, standing by, taking over, and what happens between
// two things: takeovers at once, a holder that can't be asked yet or any more.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node, POLITE } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { polledBy } from '../support/strays.ts';
import { staysTrue, until } from '../support/wait.ts';

test('a dozen starters race, exactly one wins, the others yield with 75 and say to whom', async (t) => {
  const b = await bed(t);
  const runs = Array.from({ length: 12 }, () => b.start());
  const isOver = () => runs.filter((run) => run.ended()).length === runs.length - 1;
  const seen = () => runs.map((run) => run.seen()).join('\n');
  await until('all but one to end', isOver, { ms: 60_000, seen });
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

test('the same for other HOMEs, folders, state folders and an empty environment; another bot is not disturbed', async (t) => {
  const b = await bed(t);
  const holder = await b.polling();
  const two = await bed(t);
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

test('--wait stands by, and goes on as soon as the lock is free; of three that wait exactly one takes it; SIGTERM ends a waiter', async (t) => {
  const b = await bed(t);
  const holder = await b.polling();
  const waiters = [1, 2, 3].map(() => b.start('--wait'));
  for (const waiter of waiters) await waiter.waitFor(String(holder.pid));
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

test('--takeover asks the holder to leave gracefully, then takes its place; with nobody there it is a plain start', async (t) => {
  const b = await bed(t);
  const holder = await b.polling('--takeover');
  const old = starts(b.journal())[0]?.pid ?? -1;
  const next = b.start('--takeover');
  await until('the new worker to poll', () => polledBy(b, 'polite.mjs').some((pid) => pid !== old), next);
  await holder.ends(0);
  assert.equal(alive(old), false);
  const isAsked = b.journal().some((entry) => entry.ev === 'signal' && entry.pid === old);
  assert.ok(isAsked, 'the old worker was asked, not killed');
  assertNeverTwo(b);
});

test('four takeovers at once: each worker is ended gracefully, one supervisor is left', async (t) => {
  const b = await bed(t);
  const script = `#!/bin/sh
trap "sleep 0.5; echo $$ >> graceful; exit 0" TERM
echo $$ >> begun
while :; do sleep 0.1; done
`;
  const slow = ['--', b.file('slow.sh', script, 0o755)];
  for (const name of ['begun', 'graceful']) b.file(name, '');
  const lines = (name: string) => readFileSync(join(b.project, name), 'utf8').split('\n').filter(Boolean);
  const first = b.start(slow);
  await until('the first worker', () => lines('begun').length === 1, first);
  const others = [1, 2, 3, 4].map(() => b.start(['--takeover', ...slow]));
  const left = () => others.filter((it) => it.ended() === null);
  const seen = () => others.map((it) => it.seen()).join('\n');
  await until('all but one to hand over', () => left().length === 1, { ms: 60_000, seen });
  await until('the last worker', () => left()[0]?.stderr().includes('[worker] started'));
  for (const it of [first, ...others]) {
    if (it !== left()[0]) await it.ends(0);
    assert.doesNotMatch(it.stderr(), /killing now|SIGKILL/);
  }
  // A worker that was ended before its first line is in neither file.
  const living = lines('begun').filter((pid) => alive(Number(pid)));
  assert.ok(living.length <= 1, `${living.length} workers live`);
  const begun = lines('begun').filter((pid) => !living.includes(pid));
  assert.deepEqual(
    begun.filter((pid) => !lines('graceful').includes(pid)),
    [],
  );
});

test('takeover: SIGTERM ends the newcomer at once while the holder still stops its worker', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--stop-timeout', '60s', '--', ...node('ignores-term.mjs')]);
  const newcomer = b.start('--takeover');
  await newcomer.waitFor(/hands over/);
  newcomer.signal('SIGTERM');
  await newcomer.ends(0);
  assert.equal(holder.ended(), null);
});

test('a state folder that is gone is made again, and stop finds the supervisor there; a crowded control socket has its turn', async (t) => {
  const b = await bed(t);
  const run = await b.polling();
  rmSync(b.stateDir, { recursive: true });
  assert.match((await b.exits(0, 'stop')).stdout, new RegExp(`^stopped: supervisor ${run.pid}\\b`));
  await run.ends(0);
  const next = await b.polling();
  const path = join(b.stateDir, String(b.botId), 'control.sock');
  // The server gives each of them three seconds to ask for something.
  const idle = Array.from({ length: 80 }, () => net.connect(path).on('error', () => {}));
  t.after(() => {
    for (const socket of idle) socket.destroy();
  });
  await until('the connections', () => idle.every((socket) => !socket.connecting));
  assert.match((await b.exits(0, 'stop')).stdout, /^stopped: supervisor/);
  await next.ends(0);
});

test('a control socket gone for good: stop and restart do not say that nothing runs; takeover ends; reset helps', async (t) => {
  const b = await bed(t);
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
