// The lock's names show while they are bound, so anybody may take one next and lie, stay silent, or flood. Nobody is believed, nobody
// is signalled on his word, and a start ends with its worker or with the command that helps.
import assert from 'node:assert/strict';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Bed, bed, node } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { starts } from '../support/judge.ts';
import { alive } from '../support/proc.ts';
import { lockNames, NOBODY, paddedName, squat } from '../support/squatter.ts';
import { until } from '../support/wait.ts';

const padded = (b: Bed) => lockNames(b).map((name) => paddedName(name));

/** The first command of the last hint. */
const cureOf = (stderr: string) => stderr.split('  → ').at(-1)!.split('\n')[0]!.split('    #')[0]!.trim();

test('strangers: a liar at the first names keeps nobody from his start, and the next starter finds the holder', async (t) => {
  const b = await bed(t);
  const names = padded(b);
  await squat(b, 'lie', names.slice(0, 2), { uid: NOBODY });
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  const second = await b.run(['start', '--', ...node('polite.mjs')]);
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`\\b${holder.pid}\\b`));
  assert.equal(starts(b.journal()).length, 1);
  assert.equal((await b.run(['stop'])).code, 0);
  assert.equal((await holder.exit()).code, 0);
});

test('strangers: a holder of another name takes the first one too as soon as the liar leaves it', async (t) => {
  const b = await bed(t);
  const [first] = padded(b);
  const liar = await squat(b, 'lie', [first!]);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  liar.signal('SIGKILL');
  await liar.exit();
  await until('the first name to be taken', async () => {
    const late = b.spawn('/usr/bin/python3', [
      '-c',
      `import socket\ns=socket.socket(socket.AF_UNIX)\ntry: s.bind(bytes.fromhex("${Buffer.from(first!).toString('hex')}"))\nexcept OSError: print("taken")`,
    ]);
    await late.exit();
    return late.stdout().includes('taken');
  });
  const second = await b.run(['start', '--', ...node('polite.mjs')]);
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`\\b${holder.pid}\\b`));
});

test('strangers: liars at all names: 75 with the pid and the kill, which helps', async (t) => {
  const b = await bed(t);
  const liar = await squat(b, 'lie', padded(b), { uid: NOBODY });
  const result = await b.run(['start', '--', ...node('polite.mjs')]);
  assert.equal(result.code, 75, result.stderr);
  assert.equal(cureOf(result.stderr), `kill ${liar.pid}`, result.stderr);
  assert.match(result.stderr, /65534/, 'its user');
  const again = b.spawn('/bin/sh', ['-c', cureOf(result.stderr)]);
  assert.equal((await again.exit()).code, 0);
  await liar.exit();
  await b.polling(['--', ...node('polite.mjs')]);
});

test('strangers: liars of a user whose processes may not be seen are named by user, and by pid where the kernel tells it', async (t) => {
  const b = await bed(t);
  const liar = await squat(b, 'lie', padded(b));
  const state = join(b.dir, 'theirs');
  mkdirSync(state, { mode: 0o700 });
  chownSync(state, NOBODY, NOBODY);
  const env = { ...b.env, SINGLEPOLL_DIR: state };
  const result = await b.run(['start', '--', ...node('polite.mjs')], { env, uid: NOBODY, cwd: '/' });
  assert.equal(result.code, 75, result.stderr);
  assert.match(result.stderr, /of root/);
  assert.equal(cureOf(result.stderr), `sudo kill ${liar.pid}`, result.stderr);
});

for (const mode of ['mute', 'bind'] as const) {
  test(`strangers: one that is silent (${mode}) counts as a holder; reset does not signal it, and says what to type`, async (t) => {
    const b = await bed(t);
    const stranger = await squat(b, mode, padded(b).slice(1, 2), { uid: NOBODY });
    for (const words of [
      ['start', '--', ...node('polite.mjs')],
      ['reset', '--no-start'],
    ]) {
      const result = await b.run(words);
      assert.equal(result.code, 75, result.stderr);
      assert.equal(cureOf(result.stderr), `kill ${stranger.pid}`, result.stderr);
    }
    assert.ok(alive(stranger.pid));
    assert.equal(starts(b.journal()).length, 0);
  });
}

test('strangers: user nobody can’t make root’s reset kill a process, or stop another bot’s supervisor', async (t) => {
  const b = await bed(t);
  const other = await bed(t);
  const supervisor = await other.polling(['--', ...node('polite.mjs')]);
  mkdirSync(join(b.dir, 'singlepoll'));
  b.file('../singlepoll/x.log', 'x\n');
  const tail = b.spawn('tail', ['-f', join(b.dir, 'singlepoll', 'x.log')]);
  for (const [victim, control] of [
    [tail, null],
    [supervisor, join(other.stateDir, String(other.botId), 'control.sock')],
  ] as [Running, string | null][]) {
    const says = { pid: victim.pid, uid: 0, startedAt: null, cwd: '/', version: '1.0.0', control };
    const line = JSON.stringify({ ...says, name: lockNames(b)[0] });
    const liar = await squat(b, 'say', padded(b).slice(0, 1), { uid: NOBODY, env: { SP_TEST_LINE: line } });
    const result = await b.run(['reset', '--no-start']);
    assert.equal(result.code, 0, result.stderr);
    assert.ok(alive(victim.pid), `${victim.pid} lives`);
    assert.ok(alive(liar.pid), 'the liar was not signalled either');
    const plain = b.cli(['start', '--', ...node('polite.mjs')]);
    await plain.waitFor(/\[lock\].*taken/);
    plain.signal('SIGTERM');
    await plain.exit();
    liar.signal('SIGKILL');
    await liar.exit();
  }
  assert.equal(supervisor.ended(), null);
});

test('strangers: names that only look the same in /proc/net/unix do not make a holder a liar', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  await squat(
    b,
    'lie',
    lockNames(b).map((name) => paddedName(name, '@')),
    { uid: NOBODY },
  );
  const second = await b.run(['start', '--', ...node('polite.mjs')]);
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`\\b${holder.pid}\\b`));
  assert.equal((await b.run(['stop'])).code, 0);
  await b.polling(['--', ...node('polite.mjs')]);
});

test('strangers: 700 connections to the lock and to the control socket do not make stop fail', async (t) => {
  const b = await bed(t);
  const holder = await b.polling(['--', ...node('polite.mjs')]);
  const env = { SP_TEST_COUNT: '700' };
  await squat(b, 'flood', padded(b).slice(0, 1), { uid: NOBODY, env });
  await squat(b, 'flood', [join(b.stateDir, String(b.botId), 'control.sock')], { env });
  const second = await b.run(['start', '--', ...node('polite.mjs')]);
  assert.equal(second.code, 75, second.stderr);
  assert.match(second.stderr, new RegExp(`\\b${holder.pid}\\b`));
  const stop = await b.run(['stop']);
  assert.equal(stop.code, 0, stop.stderr);
  assert.match(stop.stdout, new RegExp(`\\b${holder.pid}\\b|worker`));
  assert.equal((await holder.exit()).code, 0);
});
