/**
 * What repeated 409s say: an overlap that passes, or a rival that stays; who yields; and when it is over. Each step is a time in
 * seconds and `kick`, `poll` (undisturbed), `outage` or `look`; `A-B fight` kicks every 5 s with a poll in between; behind → is said.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  atPeace,
  interrupted,
  kicked,
  looked,
  quietAtMs,
  type RivalryPolicy,
  type RivalrySaying,
  rhythmOf,
  undisturbed,
} from '../../src/gateway/rivals.ts';

const POLICY: RivalryPolicy = { rivalAfterMs: 90_000, incumbentAfterMs: 60_000, onRival: null };
const LIVED_MS = 4_000;

const words = (said: RivalrySaying): string => {
  if (said.what === 'overlap') return said.again ? 'again' : 'overlap';
  if (said.what === 'overlap-over')
    return `over after ${said.lastedMs / 1_000} kicks ${said.kicks}${said.wasRival ? ' rival' : ''}`;
  const who = said.incumbent ? 'incumbent' : 'newcomer';
  return `rival kicks ${said.kicks} every ${said.rhythm?.everyMs}: ${who} ${said.yields ? 'yields' : 'insists'}`;
};

function play(script: string, policy = POLICY) {
  let rivalry = atPeace;
  const step = (atS: number, kind: string): RivalrySaying[] => {
    const atMs = atS * 1_000;
    if (kind === 'poll') rivalry = undisturbed(rivalry, atMs, true);
    if (kind === 'outage') rivalry = interrupted(rivalry);
    if (kind !== 'kick' && kind !== 'look') return [];
    const [next, said] =
      kind === 'kick' ? kicked(rivalry, atMs, LIVED_MS, policy) : looked(rivalry, atMs, policy);
    rivalry = next;
    return [...said];
  };
  for (const line of script.split('; ')) {
    const [what = '', expected] = line.split(' → ');
    const [at = '', kind = ''] = what.split(' ');
    const [from = 0, to = from] = at.split('-').map(Number);
    const said: RivalrySaying[] = [];
    for (let s = from; s <= to; s += 5) {
      said.push(...step(s, kind === 'fight' ? 'kick' : kind));
      if (kind === 'fight') step(s + 1, 'poll');
    }
    if (expected !== undefined) assert.equal(said.map(words).join(', ') || '-', expected, line);
  }
  return rivalry;
}

for (const [what, script, onRival] of [
  [
    'a transient overlap is one line at its start and one at its end',
    '0 poll; 10-20 fight → overlap; 29.9 look → -; 30 look → over after 10 kicks 3; 31 look → -',
  ],
  [
    'quiet alone is no end: a poll has to have gone undisturbed',
    '10 kick; 60 look → -; 61 poll; 61 look → over after 0 kicks 1',
  ],
  [
    'after 90 s it is a rival, said once, with its rhythm; a newcomer yields',
    '0-120 fight → overlap, rival kicks 19 every 5000: newcomer yields',
  ],
  [
    'who has polled undisturbed for a minute is an incumbent for good, and insists',
    '0 poll; 60 poll; 60-150 fight → overlap, rival kicks 19 every 5000: incumbent insists',
  ],
  ['55 s are not a minute', '0 poll; 55 kick; 60-145 fight → rival kicks 19 every 5000: newcomer yields'],
  [
    'an outage is no calm',
    '0 poll; 1 outage; 50 poll; 100-190 fight → overlap, rival kicks 19 every 5000: newcomer yields',
  ],
  [
    '--on-rival yield',
    '0 poll; 60-150 fight → overlap, rival kicks 19 every 5000: incumbent yields',
    'yield',
  ],
  ['--on-rival insist', '0-90 fight → overlap, rival kicks 19 every 5000: newcomer insists', 'insist'],
  [
    'one that comes back soon is the same; one that comes back late is new',
    '0-5 fight; 20 look; 40 kick → again; 41 poll; 130 look → over after 40 kicks 3; 140 kick → overlap',
  ],
  [
    'two kicks with a long silence between them (an outage, no worker) are not a rival',
    '0 kick; 1 outage; 600 kick → overlap',
  ],
] as const)
  test(what, () => void play(script, { ...POLICY, onRival: onRival ?? null }));

test('a slow rival is waited for: twice its usual pause, at most 90 s', () => {
  assert.equal(quietAtMs(play('0 kick; 30 kick; 60 kick')), 120_000);
  assert.equal(quietAtMs(play('0 kick; 80 kick; 160 kick')), 250_000);
});

test('the rhythm: means of the pauses, and of the lives but for the first; none from one kick', () => {
  assert.equal(rhythmOf(play('0 kick').overlap!), null);
  assert.deepEqual(rhythmOf(play('0 kick; 4 kick; 10 kick').overlap!), {
    everyMs: 5_000,
    reactionMs: LIVED_MS,
  });
});
