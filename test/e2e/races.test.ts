// What happens between two things: takeovers at once, a holder that can't be asked yet or any more, storms of signals.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { assertNeverTwo, starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { until } from '../support/wait.ts';

const readLines = (path: string): string[] => readFileSync(path, 'utf8').trim().split('\n');

test('five takeovers at once: each worker is ended gracefully, one supervisor is left', async (t) => {
  const b = await bed(t);
  const slow = b.file(
    'slow.sh',
    '#!/bin/sh\ntrap "sleep 1; echo $$ >> graceful; exit 0" TERM\necho $$ >> begun\nwhile :; do sleep 0.1; done\n',
    0o755,
  );
  const lines = (name: string) => {
    try {
      return readLines(join(b.project, name));
    } catch {
      return [];
    }
  };
  const first = b.cli(['start', '--', slow]);
  await until('the first worker', () => lines('begun').length === 1, { seen: first.seen });
  const others = [1, 2, 3, 4, 5].map(() => b.cli(['start', '--takeover', '--', slow]));
  const left = () => others.filter((it) => it.ended() === null);
  await until('all but one to hand over', () => left().length === 1, {
    ms: 40_000,
    seen: () => others.map((it) => it.seen()).join('\n'),
  });
  await until('the last worker', () => left()[0]?.stderr().includes('[worker] started'));
  for (const it of [first, ...others]) {
    if (it !== left()[0]) assert.equal(it.ended()?.code, 0, it.seen());
    assert.doesNotMatch(it.stderr(), /killing now|SIGKILL/);
  }
  // A worker that was ended before its first line is in neither file.
  const living = lines('begun').filter((pid) => alive(Number(pid)));
  assert.ok(living.length <= 1, `${living.length} workers live`);
  assert.deepEqual(
    lines('begun').filter((pid) => !lines('graceful').includes(pid) && !living.includes(pid)),
    [],
  );
});

test('takeover: SIGTERM ends the newcomer at once while the holder still stops its worker', async (t) => {
  const b = await bed(t);
  await b.polling(['--stop-timeout', '20s', '--', ...node('ignores-term.mjs')]);
  const newcomer = b.cli(['start', '--takeover', '--', ...node('polite.mjs')]);
  await newcomer.waitFor(/hands over/);
  newcomer.signal('SIGTERM');
  assert.deepEqual(await newcomer.exit(3_000), { code: 0, signal: null }, newcomer.seen());
});

test('a state folder that is gone: the supervisor makes it again, and stop finds it there', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  rmSync(b.stateDir, { recursive: true });
  const stop = await b.run(['stop'], { ms: 20_000 });
  assert.equal(stop.code, 0, stop.stderr);
  assert.match(stop.stdout, new RegExp(`^stopped: supervisor ${run.pid}\\b`));
  assert.equal((await run.exit()).code, 0);
});

test('a control socket gone for good: stop and restart do not say that nothing runs; takeover ends; reset helps', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  rmSync(b.stateDir, { recursive: true });
  // So that it can't be made again.
  writeFileSync(b.stateDir, '');
  const env = { ...b.env, SINGLEPOLL_DIR: join(b.dir, 'elsewhere') };
  const [stop, restart, takeover] = await Promise.all([
    b.run(['stop'], { env }),
    b.run(['restart'], { env }),
    b.run(['start', '--takeover', '--', ...node('polite.mjs')], { env }),
  ]);
  for (const { code, stdout, stderr } of [stop, restart, takeover]) {
    assert.equal(code, 75, stdout + stderr);
    assert.match(stderr, new RegExp(`pid ${run.pid}\\b`));
    assert.match(stderr, /singlepoll reset/);
    assert.doesNotMatch(stderr, /Warning|hung or stopped/);
  }
  assert.equal(run.ended(), null);
  const reset = await b.run(['reset', '--no-start'], { env });
  assert.equal(reset.code, 0, reset.stderr);
  assert.equal((await run.exit()).code, 0);
});

test('a control socket with no place left: stop waits for its turn and does not say that nothing runs', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const path = join(b.stateDir, String(b.botId), 'control.sock');
  // The server gives each of them three seconds to ask for something.
  const idle = Array.from({ length: 80 }, () => net.connect(path).on('error', () => {}));
  t.after(() => {
    for (const socket of idle) socket.destroy();
  });
  await until('the connections', () => idle.every((socket) => !socket.connecting));
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 0, stop.stderr);
  assert.match(stop.stdout, /^stopped: supervisor/);
  assert.equal((await run.exit()).code, 0);
});

test('SIGHUP in quick succession leaves no descriptors', async (t) => {
  const b = await bed(t);
  const run = await b.polling(['--', ...node('polite.mjs')]);
  const count = () => readdirSync(`/proc/${run.pid}/fd`).length;
  const spawned = () => starts(b.journal()).length;
  const storm = async (times: number) => {
    for (let i = 0; i < times; i++) {
      const before = spawned();
      run.signal('SIGHUP');
      await until('the next worker', () => spawned() > before, { seen: run.seen });
    }
  };
  await storm(2);
  await until('its poll', () => b.sandbox.polls().length > 1);
  const before = count();
  await storm(24);
  // What comes and goes: pipes and endpoint of the next worker (seven), connections of a poll. One left by each would be 24.
  await until('the descriptors to be about as many as before', () => count() <= before + 14, {
    seen: () => `${before} before, ${count()} now`,
  });
  assert.equal(alive(run.pid), true);
  assertNeverTwo(b);
});
