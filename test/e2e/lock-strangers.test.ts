// The lock's names show while they are bound, so anybody may take one next and lie, stay silent, or flood. Nobody is believed, nobody
// is signalled on his word, and a start ends with its worker or with the command that helps.
import assert from 'node:assert/strict';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Bed, bed, POLITE } from '../support/bed.ts';
import type { Running } from '../support/cli.ts';
import { starts } from '../support/judge.ts';
import { it, xit } from '../support/kinds.ts';
import { alive } from '../support/proc.ts';
import { lockNames, NOBODY, paddedName, squat } from '../support/squatter.ts';

const START = ['start', ...POLITE];
const padded = (b: Bed) => lockNames(b).map((name) => paddedName(name));

/** The first command of the last hint. */
const cureOf = (stderr: string) => stderr.split('  → ').at(-1)!.split('\n')[0]!.split('    #')[0]!.trim();

/** Another start finds the holder. */
const yields = async (b: Bed, holder: Running) =>
  assert.match((await b.exits(75, START)).stderr, new RegExp(`\\b${holder.pid}\\b`));

it('a liar at the first names keeps nobody from his start', async (b) => {
  const liar = await squat(b, 'lie', padded(b).slice(0, 2), { uid: NOBODY });
  const holder = await b.polling();
  await yields(b, holder);
  liar.signal('SIGKILL');
  await liar.exit();
  await yields(b, holder);
  assert.equal(starts(b.journal()).length, 1);
  await b.exits(0, 'stop');
  await holder.ends(0);
});

it('liars at all names: 75 with the pid and the kill, which helps; a user who may not see them gets a command that shows them', async (b) => {
  const liar = await squat(b, 'lie', padded(b), { uid: NOBODY });
  const { stderr } = await b.exits(75, START);
  assert.equal(cureOf(stderr), `kill ${liar.pid}`, stderr);
  assert.match(stderr, / of (?:nobody|65534)\b/, 'its user');
  await b.spawn('/bin/sh', ['-c', cureOf(stderr)]).ends(0);
  await liar.exit();
  await squat(b, 'lie', padded(b));
  const state = join(b.dir, 'theirs');
  mkdirSync(state, { mode: 0o700 });
  chownSync(state, NOBODY, NOBODY);
  const theirs = { env: { ...b.env, SINGLEPOLL_DIR: state }, uid: NOBODY, cwd: '/' };
  const unseen = await b.exits(75, START, theirs);
  assert.match(unseen.stderr, /can’t be seen from here of another user/);
  assert.match(cureOf(unseen.stderr), /^sudo ss -xlpH \| grep/);
});

for (const mode of ['mute', 'bind'] as const)
  xit(`one that is silent (${mode}) counts as a holder; reset does not signal it, and says what to type`, async (b) => {
    const stranger = await squat(b, mode, padded(b).slice(1, 2), { uid: NOBODY });
    for (const words of [START, ['reset', '--no-start']]) {
      const { stderr } = await b.exits(75, words);
      assert.equal(cureOf(stderr), `kill ${stranger.pid}`, stderr);
    }
    assert.ok(alive(stranger.pid));
    assert.equal(starts(b.journal()).length, 0);
  });

xit('user nobody can’t make root’s reset kill a process, or stop another bot’s supervisor', async (b) => {
  const other = await bed(b.t);
  const supervisor = await other.polling();
  mkdirSync(join(b.dir, 'singlepoll'));
  const tail = b.spawn('tail', ['-f', b.file('../singlepoll/x.log', 'x\n')]);
  for (const [victim, control] of [
    [tail, null],
    [supervisor, join(other.stateDir, String(other.botId), 'control.sock')],
  ] as const) {
    const says = { pid: victim.pid, uid: 0, startedAt: null, cwd: '/', version: '1.0.0', control };
    const line = JSON.stringify({ ...says, name: lockNames(b)[0] });
    const liar = await squat(b, 'say', padded(b).slice(0, 1), { uid: NOBODY, env: { SP_TEST_LINE: line } });
    await b.exits(0, 'reset --no-start');
    assert.ok(alive(victim.pid), `${victim.pid} lives`);
    assert.ok(alive(liar.pid), 'the liar was not signalled either');
    liar.signal('SIGKILL');
    await liar.exit();
  }
  assert.equal(supervisor.ended(), null);
});

xit('names that only look the same, and 700 connections to the lock and to the control socket, do not make stop fail', async (b) => {
  const holder = await b.polling();
  const alike = lockNames(b).map((name) => paddedName(name, '@'));
  await squat(b, 'lie', alike, { uid: NOBODY });
  const env = { SP_TEST_COUNT: '700' };
  await squat(b, 'flood', padded(b).slice(0, 1), { uid: NOBODY, env });
  await squat(b, 'flood', [join(b.stateDir, String(b.botId), 'control.sock')], { env });
  await yields(b, holder);
  assert.match((await b.exits(0, 'stop')).stdout, new RegExp(`\\b${holder.pid}\\b|worker`));
  await holder.ends(0);
  await b.polling();
});
