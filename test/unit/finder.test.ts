/** What the stop of a stray would silence besides it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createStrayFinder } from '../../src/strays/finder.ts';
import { NO_EVIDENCE } from '../../src/strays/grade.ts';
import { linuxHands } from '../../src/strays/stop.ts';
import { env, proc, snapshot } from '../support/procs.ts';

const silencesOf = (connected: readonly number[]) => {
  const list = snapshot(
    proc(1, 0, '/sbin/init'),
    proc(100, 1, 'python3 bots.py', { startId: '1' }),
    proc(101, 100, 'python3 bots.py one', { startId: '2', env: env({ holdsToken: true }) }),
    proc(102, 100, 'python3 bots.py two', { startId: '3', otherBots: ['222222'] }),
  );
  const processes = { snapshot: async () => list, quick: () => list };
  const finder = createStrayFinder('111111', {
    ...{ processes, hands: linuxHands, uid: 1000 },
    findRespawner: async () => null,
  });
  const evidence = {
    ...NO_EVIDENCE,
    ...{ connected: new Set(connected), reactions: new Map([[101, 'once' as const]]) },
  };
  const { strays } = finder.quickLook({ evidence });
  const stray = strays.find(({ pid }) => pid === 101);
  assert.deepEqual(
    stray?.tree.map(({ pid }) => pid),
    [100, 101, 102],
  );
  return stray?.silences;
};

test("a stray's tree with another bot's poller in it: that would fall silent", () => {
  assert.deepEqual(silencesOf([101, 102]), ['222222']);
});

test("one of the tree that only has another bot's token does not talk to Telegram", () => {
  assert.deepEqual(silencesOf([101]), []);
});
