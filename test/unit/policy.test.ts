/** What is done about strays: stop, leave, or end because something would bring them back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stray } from '../../src/strays/finder.ts';
import { COMEBACK_WINDOW_MS, judge, livesOf, type StoppedStray } from '../../src/strays/policy.ts';

function stray(pid: number, more: Partial<Stray> = {}): Stray {
  return {
    ...{ pid, startId: `start of ${pid}`, command: 'python3 old.py', cwd: '/srv/old', user: 'bot' },
    ...{ startedAt: null, proof: [], holdsToken: false, grade: 'proven', respawner: null, parent: null },
    ...{ supervisor: null, silences: [], tree: [], ...more },
  };
}

const ALONE = { silencesOthers: false, leased: false };

const shell = { pid: 70, command: 'bash run.sh' };

/** What `judge` says, in one word. */
function verdict(strays: readonly Stray[], stopped: readonly StoppedStray[] = [], nowMs = 0): string {
  const it = judge(strays, stopped, nowMs, ALONE);
  const [ending] = it.endings;
  if (ending) return `${ending.code} ${ending.reason} → ${ending.hint}`;
  return it.strays.length > 0 ? 'stop' : 'free';
}

test('what a service manager keeps alive ends it with 75, the manager and its command named', () => {
  const respawner = { kind: 'pm2', name: 'old-bot', stopCommand: 'pm2 delete old-bot' };
  const both = verdict([stray(10), stray(11, { respawner })]);
  assert.match(both, /^75 .*pid 11.*pm2 \(old-bot\).* → pm2 delete old-bot$/);
  assert.equal(verdict([stray(11, { respawner, grade: 'likely' })]), 'free');
});

test('started again by the same living parent: at once', () => {
  const stopped = livesOf([stray(10, { parent: shell })], [stray(10)], 1_000);
  const again = verdict([stray(11, { parent: shell })], stopped, 2_000);
  assert.match(again, /^75 .*started again by pid 70 \(bash run\.sh\).*kill 70$/);
  assert.equal(verdict([stray(11, { parent: { pid: 71, command: 'bash' } })], stopped, 2_000), 'stop');
  assert.equal(verdict([stray(11)], stopped, 2_000), 'stop');
});

test('started again from a shell that somebody types into: it ignores SIGTERM, and is hung up', () => {
  for (const command of ['bash', '-bash', '/usr/bin/zsh -f', 'fish', 'dash -i', 'bash --norc --noprofile']) {
    const parent = { pid: 70, command };
    const stopped = livesOf([stray(10, { parent })], [stray(10)], 1_000);
    assert.match(verdict([stray(11, { parent })], stopped, 2_000), /→ kill -HUP 70 .*Ctrl-C/);
  }
});

test('started again by nobody who can be seen: at the third life within a minute', () => {
  const one = livesOf([stray(10)], [stray(10)], 0);
  const two = [...one, ...livesOf([stray(11)], [stray(11)], 20_000)];
  assert.equal(verdict([stray(11)], one, 20_000), 'stop');
  assert.match(verdict([stray(12)], two, 40_000), /^75 .*something starts it again.*singlepoll who /);
  assert.equal(verdict([stray(12)], two, COMEBACK_WINDOW_MS), 'stop');
  assert.equal(verdict([stray(12, { cwd: '/srv/other' })], two, 40_000), 'stop');
  assert.equal(verdict([stray(12, { command: 'python3 new.py' })], two, 40_000), 'stop');
});

test("a living supervisor's worker is named and not touched; with a lease that one decides", () => {
  const worker = stray(10, { grade: 'likely', supervisor: 9 });
  assert.match(verdict([worker, stray(11)]), /^75 .*pid 9, with worker pid 10.*kill 9 /);
  assert.deepEqual(judge([worker], [], 0, { ...ALONE, leased: true }), { strays: [], endings: [] });
});

test('one that polls another bot as well ends it with 75, unless that was asked for', () => {
  const both = stray(10, { silences: ['42'] });
  assert.match(verdict([both]), /^75 .*polls bot 42 as well.*→ singlepoll reset/);
  assert.deepEqual(judge([both], [], 0, { ...ALONE, silencesOthers: true }).strays, [both]);
});
