/**
 * The door to getUpdates, rule by rule: what it does with polls and owners, without a socket or a clock. Each line is a time (ms), an
 * event, and what is done: `ask ID POLLER cCONNECTION tSECONDS` (by default connection = ID, 30 s), `end RESULT`, `wake MS` (the timer).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  closedDoor,
  type Door,
  type DoorEffect,
  type DoorEvent,
  type PollResult,
  retryMs,
  stepDoor,
} from '../../src/gateway/door.ts';

function words(effect: DoorEffect): string[] {
  switch (effect.do) {
    case 'send':
      return [
        `send ${effect.poll.id}${effect.timeoutMs === effect.poll.timeoutMs ? '' : ` for ${effect.timeoutMs}`}`,
      ];
    case 'pass':
      return [`pass ${effect.poll.id}`];
    case 'empty':
      return [`empty ${effect.poll.id} ${effect.why}`];
    case 'held':
      return [`held ${effect.poll.id} by ${effect.owner}`];
    case 'owner':
      return [`owner ${effect.poller}`];
    default:
      return [effect.do];
  }
}

function eventOf(door: Door, atMs: number, [kind, first = '', ...more]: string[]): DoorEvent {
  const of = (letter: string) => more.find((word) => word.startsWith(letter))?.slice(1);
  if (kind === 'ask') {
    const id = Number(first);
    const connection = Number(of('c') ?? id);
    const timeoutMs = Number(of('t') ?? 30) * 1_000;
    return {
      kind: 'asked',
      poll: { id, poller: more[0] ?? '', connection, askedAtMs: atMs, timeoutMs },
      atMs,
    };
  }
  if (kind === 'end') {
    const result = { kind: first, count: 1, retryAfterMs: Number(more[0]) } as PollResult;
    return { kind: 'ended', attempt: door.attempts, result, random: 0.5, atMs };
  }
  if (kind === 'close') return { kind: 'closed', connection: Number(first), atMs };
  if (kind === 'gone') return { kind: 'gone', poller: first, atMs };
  return { kind, atMs } as DoorEvent;
}

function play(title: string, lines: readonly string[]): void {
  test(title, () => {
    let [door] = stepDoor(closedDoor, { kind: 'opened', atMs: 0 });
    for (const line of lines.flatMap((it) => it.split('; '))) {
      const [what = '', expected] = line.split(' → ');
      const [at, ...event] = what.split(' ');
      if (at === 'wake') {
        assert.equal(door.wakeAtMs, Number(event[0]), line);
        continue;
      }
      const [next, effects] = stepDoor(door, eventOf(door, Number(at), event));
      door = next;
      if (expected !== undefined) assert.equal(effects.flatMap(words).join(', ') || '-', expected, line);
    }
  });
}

for (const [title, ...lines] of [
  [
    'one poll goes through, with the words of the worker, and its answer comes back',
    '0 ask 1 a → owner a, send 1; 1000 due → accepted; 2000 end updates → pass 1',
  ],
  [
    'a second poller is held, answered empty at its own timeout, and given nothing',
    '0 ask 1 a; 100 ask 2 b t10 → held 2 by a; 500 end updates → pass 1; 10099 due → -',
    '10100 due → empty 2 held',
  ],
  [
    'an owner that has stopped polling for 30 s is followed by the oldest that waits',
    '0 ask 1 a; 100 end updates; 20000 ask 2 b; 20001 ask 3 c; wake 30100',
    '30100 due → owner b, send 2 for 19000; 30200 ask 4 a c1 → held 4 by b',
  ],
  [
    'a dead owner is followed at once, after its poll has been given up',
    '0 ask 1 a; 10 ask 2 b; 5000 close 1 → abort; 5001 gone a → owner b',
    '5020 end outage → send 2 for 24000',
  ],
  [
    'two loops in one process: one polls, the other is held beside it',
    '0 ask 1 a c1; 10 ask 2 a c2 → held 2 by a; 500 end updates; 600 ask 3 a c1 → send 3',
  ],
  [
    'a conflict is retried inside the worker’s timeout, for what is left of it; the worker never sees it',
    '0 ask 1 a; 3000 end conflict → -; wake 4000; 4000 due → send 1 for 26000; 5000 due',
    '29500 end conflict → -; 30000 due → empty 1 retrying',
  ],
  [
    '429: nobody polls before the time that the API names, whoever asks',
    '0 ask 1 a t10; 100 end flood 20000; 10000 due → empty 1 retrying; 10001 ask 2 a c1 → -',
    '20100 due → send 2 for 19000',
  ],
  ['a webhook is retried at once when it is cleared', '0 ask 1 a; 100 end webhook → -; 400 cleared → send 1'],
  [
    'an API that hangs: the worker is answered empty a little after its timeout, and the poll is given up',
    '0 ask 1 a t10; 1000 due; wake 11500; 11500 due → abort, empty 1 overdue',
  ],
  [
    'timeout=0 may take the API 3 s: the same offset again within 3 s becomes a long poll of 3 s there',
    '0 ask 1 a t0; 1000 due → accepted; wake 4500; 3030 end updates → pass 1',
  ],
  [
    'a worker that is asked to end need not wait, and its last poll, which confirms its offset, goes through',
    '0 ask 1 a c1; 5000 released → abort, empty 1 released; 5002 ask 2 a c1 t0 → -',
    '5010 end outage → send 2',
  ],
  [
    'the shut door answers what is open at once, later polls at their timeout, always empty',
    '0 ask 1 a; 5000 shut → abort, empty 1 shut; 5010 end outage → -; 6000 ask 2 a t10 → -',
    '16000 due → empty 2 shut; 17000 ask 3 a; 17500 opened → send 3',
  ],
  [
    // Due at 30.1 s, comes at 60 s: the owner's poll of 25 s is still in its socket.
    'a stop of our own process (SIGSTOP) does not cost the owner its place',
    '0 ask 1 a; 100 end updates; 20000 ask 2 b t50; 60000 due → -; 60001 ask 3 a c1 → send 3',
  ],
] as const)
  play(title, lines);

test('back-off: bounded, spread by a fifth, for each kind of trouble', () => {
  const waits = (kind: 'outage') => [0, 1, 2, 3, 4, 5].map((failures) => retryMs(kind, failures, 0.5));
  assert.deepEqual(waits('outage'), [250, 500, 1_000, 2_000, 4_000, 5_000]);
  assert.deepEqual(
    [0, 1].map((random) => retryMs('conflict', 0, random)),
    [800, 1_200],
  );
  assert.deepEqual([retryMs('conflict', 1_000, 0.5), retryMs('webhook', 99, 0.5)], [5_000, 10_000]);
});
