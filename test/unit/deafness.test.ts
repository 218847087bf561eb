/** The clock of deafness: runs only while the worker could poll and does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  deafAtMs,
  noSilence,
  type PollSilence,
  type SilenceEvent,
  silenceMs,
  slept,
  stepSilence,
} from '../../src/gateway/deafness.ts';

function event(...notes: [number, SilenceEvent['kind'] | SilenceEvent][]): PollSilence {
  let it = noSilence;
  for (const [atMs, note] of notes) {
    const what: SilenceEvent =
      typeof note !== 'string'
        ? note
        : note === 'spawned'
          ? { kind: note, required: false }
          : ({ kind: note } as SilenceEvent);
    it = stepSilence(it, what, atMs);
  }
  return it;
}

const ONE_POLL: [number, SilenceEvent['kind']][] = [
  [0, 'spawned'],
  [100, 'asked'],
  [10_100, 'completed'],
  [10_100, 'answered'],
];

test('a worker that has polled and polls no more is deaf after that time', () => {
  const it = event(...ONE_POLL);
  assert.equal(silenceMs(it, 70_100), 60_000);
  assert.equal(deafAtMs(it, 180_000), 190_100);
});

test('one that never polled through the gateway is not, unless it must', () => {
  assert.equal(deafAtMs(event([0, 'spawned']), 180_000), null);
  assert.equal(deafAtMs(event([0, { kind: 'spawned', required: true }]), 180_000), 180_000);
});

test('it is expected of the next worker, too', () => {
  const it = event(...ONE_POLL, [20_000, 'ended'], [25_000, 'spawned']);
  assert.equal(deafAtMs(it, 180_000), 205_000);
});

test('an open poll stops the clock: the worker waits for us', () => {
  const it = event(...ONE_POLL, [20_100, 'asked']);
  assert.equal(deafAtMs(it, 180_000), null);
  assert.equal(silenceMs(it, 500_000), 10_000);
});

test('of two polls, one that is answered does not start it', () => {
  const it = event(...ONE_POLL, [20_100, 'asked'], [20_200, 'asked'], [30_000, 'answered']);
  assert.equal(deafAtMs(it, 180_000), null);
});

test('polls that are answered without success do not turn it back; one that succeeds does', () => {
  const failing = event(...ONE_POLL, [20_100, 'asked'], [50_100, 'answered']);
  assert.equal(deafAtMs(failing, 180_000), 220_100, '10 s before, and 170 s from now');
  const again = stepSilence(
    stepSilence(stepSilence(failing, { kind: 'asked' }, 60_000), { kind: 'completed' }, 70_000),
    { kind: 'answered' },
    70_000,
  );
  assert.equal(deafAtMs(again, 180_000), 250_000);
});

test('it stands still while the Bot API is out of reach', () => {
  const down = event(...ONE_POLL, [20_100, { kind: 'api', down: true }]);
  assert.equal(deafAtMs(down, 180_000), null);
  assert.equal(silenceMs(down, 900_000), 10_000);
  const back = stepSilence(down, { kind: 'api', down: false }, 900_000);
  assert.equal(deafAtMs(back, 180_000), 1_070_000);
});

test('a dead worker is not deaf', () => {
  assert.equal(deafAtMs(event(...ONE_POLL, [20_000, 'ended']), 180_000), null);
});

test('what the last worker left open does not count for the next', () => {
  const it = event([0, 'spawned'], [100, 'asked'], [200, 'ended'], [300, 'spawned']);
  assert.equal(deafAtMs(it, 180_000), 180_300);
  assert.equal(stepSilence(it, { kind: 'answered' }, 400).openPolls, 0, 'an end that is event late');
});

test('the time of our own stop is nobody’s silence', () => {
  const it = slept(event(...ONE_POLL), 60_000);
  assert.equal(deafAtMs(it, 180_000), 250_100);
  const standing = event([0, 'spawned']);
  assert.equal(slept(standing, 60_000), standing);
});
