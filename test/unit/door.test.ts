/** The door to getUpdates, rule by rule: what it does with polls, flights and owners, without a socket or a clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  closedDoor,
  type Door,
  type DoorEffect,
  type DoorEvent,
  heldPolls,
  type Poll,
  type PollResult,
  retryMs,
  stepDoor,
} from '../../src/gateway/door.ts';

type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

/** A door and what it has done, in words: `fly 1`, `pass 1`, `empty 2 held`. */
function openDoor() {
  let door: Door = closedDoor;
  let wake: number | null = null;
  const polls = new Map<number, Poll>();

  function words(effect: DoorEffect): string[] {
    switch (effect.do) {
      case 'send':
        return [`fly ${effect.poll.id}${effect.timeoutMs === null ? '' : ` for ${effect.timeoutMs}`}`];
      case 'abort':
        return ['abort'];
      case 'pass':
        return [`pass ${effect.poll.id}`];
      case 'empty':
        return [`empty ${effect.poll.id} ${effect.why}`];
      case 'accepted':
        return ['accepted'];
      case 'held':
        return [`held ${effect.poll.id} by ${effect.owner}`];
      case 'owner':
        return [`owner ${effect.poller}`];
      case 'wake':
        wake = effect.atMs;
        return [];
    }
  }

  function send(atMs: number, event: Untimed<DoorEvent>): string[] {
    const [next, effects] = stepDoor(door, { ...event, atMs } as DoorEvent);
    door = next;
    return effects.flatMap(words);
  }

  send(0, { kind: 'opened' });
  return {
    send,
    get state() {
      return door;
    },
    get wake() {
      return wake;
    },
    ask(atMs: number, id: number, poller: string, { connection = id, timeoutS = 30 } = {}) {
      const poll: Poll = { id, poller, connection, askedAtMs: atMs, timeoutMs: timeoutS * 1_000 };
      polls.set(id, poll);
      return send(atMs, { kind: 'asked', poll });
    },
    land(atMs: number, result: PollResult, random = 0.5) {
      return send(atMs, { kind: 'ended', attempt: door.attempts, result, random });
    },
    due: (atMs: number) => send(atMs, { kind: 'due' }),
    close: (atMs: number, connection: number) => send(atMs, { kind: 'closed', connection }),
  };
}

const UPDATES: PollResult = { kind: 'updates', count: 1 };
const CONFLICT: PollResult = { kind: 'conflict' };
const OUTAGE: PollResult = { kind: 'outage' };

test('one poll goes through, with the words of the worker, and its answer comes back', () => {
  const door = openDoor();
  assert.deepEqual(door.ask(0, 1, 'a'), ['owner a', 'fly 1']);
  assert.deepEqual(door.due(1_000), ['accepted']);
  assert.deepEqual(door.land(2_000, UPDATES), ['pass 1']);
});

test('single flight: a second poller is held, answered empty at its own timeout, and given nothing', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.ask(100, 2, 'b', { timeoutS: 10 }), ['held 2 by a']);
  assert.deepEqual(
    heldPolls(door.state).map(({ id }) => id),
    [2],
  );
  assert.deepEqual(door.land(500, UPDATES), ['pass 1']);
  assert.deepEqual(door.due(10_099), []);
  assert.deepEqual(door.due(10_100), ['empty 2 held']);
});

test('a held poll without a timeout waits for a second, so that its loop does not spin', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.ask(0, 2, 'b', { timeoutS: 0 });
  assert.deepEqual(door.due(999), []);
  assert.deepEqual(door.due(1_000), ['empty 2 held', 'accepted']);
});

test('the owner keeps its place between two polls, and while its handlers work', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.ask(0, 2, 'b');
  door.land(100, UPDATES);
  assert.deepEqual(door.due(20_000), []);
  assert.deepEqual(door.ask(20_001, 3, 'a', { connection: 1 }), ['fly 3']);
});

test('an owner that has stopped polling for 30 s is followed by the oldest that waits', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.land(100, UPDATES);
  door.ask(20_000, 2, 'b');
  door.ask(20_001, 3, 'c');
  assert.equal(door.wake, 30_100);
  assert.deepEqual(door.due(30_100), ['owner b', 'fly 2 for 19000']);
  assert.deepEqual(door.ask(30_200, 4, 'a', { connection: 1 }), ['held 4 by b']);
});

test('a dead owner is followed at once, after its flight has been given up', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.ask(10, 2, 'b');
  assert.deepEqual(door.close(5_000, 1), ['abort']);
  assert.deepEqual(door.send(5_001, { kind: 'gone', poller: 'a' }), ['owner b']);
  assert.deepEqual(door.land(5_020, OUTAGE), ['fly 2 for 24000']);
});

test('what a dead process has left open is answered, and does not get the door', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.ask(0, 2, 'a', { connection: 2 });
  door.ask(10, 3, 'b');
  assert.deepEqual(door.send(500, { kind: 'gone', poller: 'a' }), [
    'abort',
    'empty 1 gone',
    'empty 2 gone',
    'owner b',
  ]);
});

test('nothing flies before the flight that was given up has landed', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.close(2_000, 1), ['abort']);
  assert.deepEqual(door.ask(2_001, 2, 'a'), []);
  assert.deepEqual(door.land(2_500, OUTAGE), ['fly 2']);
});

test('an answer that comes in after all, for a poll that was given up, goes to nobody', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.close(2_000, 1);
  assert.deepEqual(door.land(2_001, UPDATES), []);
});

test('two loops in one process: one polls, the other is held beside it', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { connection: 1 });
  assert.deepEqual(door.ask(10, 2, 'a', { connection: 2 }), ['held 2 by a']);
  door.land(500, UPDATES);
  assert.deepEqual(door.ask(600, 3, 'a', { connection: 1 }), ['fly 3']);
});

test('one loop may poll over another connection of its pool each time', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { connection: 1 });
  door.land(500, UPDATES);
  assert.deepEqual(door.ask(501, 2, 'a', { connection: 2 }), ['fly 2']);
  door.land(600, UPDATES);
  assert.deepEqual(door.ask(601, 3, 'a', { connection: 1 }), ['fly 3']);
});

test('a loop whose client gave up and polls anew is not its own second', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { connection: 1 });
  assert.deepEqual(door.ask(5_000, 2, 'a', { connection: 2 }), ['held 2 by a', 'accepted']);
  assert.deepEqual(door.close(5_010, 1), ['abort']);
  assert.deepEqual(door.land(5_020, OUTAGE), ['fly 2']);
});

test('of two loops that wait when their process takes over, one gets the door', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.ask(10, 2, 'b', { connection: 2 });
  door.ask(20, 3, 'b', { connection: 3 });
  door.close(100, 1);
  door.send(101, { kind: 'gone', poller: 'a' });
  assert.deepEqual(door.land(110, OUTAGE), ['fly 2']);
  assert.deepEqual(
    door.land(200, UPDATES),
    ['pass 2'],
    'the updates are not fetched once more for the other loop',
  );
});

test('a loop that is held beside another does not keep its place', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { connection: 1 });
  door.ask(1, 2, 'a', { connection: 2, timeoutS: 10 });
  door.land(100, UPDATES);
  door.due(10_001);
  door.ask(10_002, 3, 'a', { connection: 2, timeoutS: 10 });
  door.due(20_002);
  door.ask(20_003, 4, 'a', { connection: 2, timeoutS: 30 });
  assert.deepEqual(door.due(30_100), ['fly 4 for 19000']);
});

test('a conflict is retried inside the worker’s timeout, for what is left of it; the worker never sees it', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.land(3_000, CONFLICT), []);
  assert.equal(door.wake, 4_000);
  assert.deepEqual(door.due(4_000), ['fly 1 for 26000']);
  door.due(5_000);
  assert.deepEqual(door.land(29_500, CONFLICT), []);
  assert.deepEqual(door.due(30_000), ['empty 1 retrying']);
});

test('an outage is retried soon, then less and less often', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  const waits: number[] = [];
  let atMs = 0;
  for (let i = 0; i < 6; i++) {
    door.land(atMs, OUTAGE);
    waits.push(door.wake! - atMs);
    atMs = door.wake!;
    door.due(atMs);
  }
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 5_000]);
});

test('back-off: bounded, spread by a fifth, for each kind of trouble', () => {
  assert.equal(retryMs('conflict', 0, 0.5), 1_000);
  assert.equal(retryMs('conflict', 0, 0), 800);
  assert.equal(retryMs('conflict', 0, 1), 1_200);
  assert.equal(retryMs('conflict', 1_000, 0.5), 5_000);
  assert.equal(retryMs('webhook', 0, 0.5), 2_000);
  assert.equal(retryMs('webhook', 99, 0.5), 10_000);
  assert.equal(retryMs('outage', 99, 1), 6_000);
});

test('a success ends the back-off', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { connection: 1 });
  for (let atMs = 0; atMs < 5_000; atMs = door.wake!) {
    door.land(atMs, OUTAGE);
    door.due(door.wake!);
  }
  door.land(10_000, UPDATES);
  door.ask(10_001, 2, 'a', { connection: 1 });
  door.land(10_100, OUTAGE);
  assert.equal(door.wake, 10_350);
});

test('429: nobody polls before the time that the API names, whoever asks', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { timeoutS: 10 });
  door.land(100, { kind: 'flood', retryAfterMs: 20_000 });
  assert.deepEqual(door.due(10_000), ['empty 1 retrying']);
  assert.deepEqual(door.ask(10_001, 2, 'a', { connection: 1 }), []);
  assert.deepEqual(door.due(20_100), ['fly 2 for 19000']);
});

test('429 that asks for no pause at all is not asked again at once', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.land(100, { kind: 'flood', retryAfterMs: 0 }), []);
  assert.equal(door.wake, 1_100);
});

test('a webhook in the way: retried at once when it is cleared', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.land(100, { kind: 'webhook' }), []);
  assert.deepEqual(door.send(400, { kind: 'cleared' }), ['fly 1']);
});

test('an error that is the worker’s own business (400, 401) is passed on', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.land(100, { kind: 'verdict' }), ['pass 1']);
});

test('an API that hangs: the worker is answered empty a little after its timeout, and the flight is given up', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { timeoutS: 10 });
  door.due(1_000);
  assert.equal(door.wake, 11_500);
  assert.deepEqual(door.due(11_500), ['abort', 'empty 1 overdue']);
});

test('timeout=0 may take the API 3 s: the same offset again within 3 s becomes a long poll of 3 s there', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { timeoutS: 0 });
  assert.deepEqual(door.due(1_000), ['accepted']);
  assert.equal(door.wake, 4_500);
  assert.deepEqual(door.land(3_030, { kind: 'updates', count: 0 }), ['pass 1']);
});

test('a worker that is asked to end need not wait, and its last poll, which confirms its offset, goes through', () => {
  const door = openDoor();
  door.ask(0, 1, 'a', { connection: 1 });
  assert.deepEqual(door.send(5_000, { kind: 'released' }), ['abort', 'empty 1 released']);
  assert.deepEqual(door.ask(5_002, 2, 'a', { connection: 1, timeoutS: 0 }), []);
  assert.deepEqual(door.land(5_010, OUTAGE), ['fly 2']);
});

test('the shut door answers what is open at once, later polls at their timeout, always empty', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  assert.deepEqual(door.send(5_000, { kind: 'shut' }), ['abort', 'empty 1 shut']);
  assert.deepEqual(door.land(5_010, OUTAGE), []);
  assert.deepEqual(door.ask(6_000, 2, 'a', { timeoutS: 10 }), []);
  assert.deepEqual(door.due(16_000), ['empty 2 shut']);
  door.ask(17_000, 3, 'a');
  assert.deepEqual(door.send(17_500, { kind: 'opened' }), ['fly 3']);
});

test('a stop of our own process (SIGSTOP) does not cost the owner its place', () => {
  const door = openDoor();
  door.ask(0, 1, 'a');
  door.land(100, UPDATES);
  door.ask(20_000, 2, 'b', { timeoutS: 50 });
  // Due at 30.1 s, comes at 60 s: the owner's poll of 25 s is still in its socket.
  assert.deepEqual(door.due(60_000), []);
  assert.deepEqual(door.ask(60_001, 3, 'a', { connection: 1 }), ['fly 3']);
});

test('where the system does not tell processes apart, connections tell loops apart', () => {
  const door = openDoor();
  door.ask(0, 1, 'worker', { connection: 1 });
  assert.deepEqual(door.ask(1, 2, 'worker', { connection: 2 }), ['held 2 by worker']);
  door.close(3_000, 1);
  assert.deepEqual(door.land(3_001, OUTAGE), ['fly 2 for 27000']);
});
