/**
 * Which missing ids of updates were taken by somebody else, and which have another reason. Each line is a step: `+8` (seconds pass),
 * `wait 3` (the same, and the clock of a process that runs is looked at), `look`, `ask OFFSET LIMIT`, `unsure`, `conflict`,
 * `pass IDS` and `poll OFFSET: IDS` (asked, answered 10 ms later, with `limit=`, `s=` for longer), `= N` where N were taken.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyLedger, type LedgerEvent, LOOK_EVERY_MS, stepLedger } from '../../src/gateway/theft.ts';

type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

/** One that has passed on update 10 just now, with nothing behind it. */
const AFTER_10 = 'poll 0: 9 10 s=4 = 0';

const WEEK = Array<string>(12_100).fill('poll 11: s=50');

function play(lines: readonly string[]): void {
  let ledger = emptyLedger;
  let nowMs = 1_000_000;
  const send = (event: Untimed<LedgerEvent>): number => {
    const [next, taken] = stepLedger(ledger, { ...event, atMs: nowMs } as LedgerEvent);
    ledger = next;
    return taken;
  };
  const wait = (ms: number) => {
    const endMs = nowMs + ms;
    for (nowMs += LOOK_EVERY_MS; nowMs <= endMs; nowMs += LOOK_EVERY_MS) send({ kind: 'looked' });
    nowMs = endMs;
  };
  for (const step of lines.flatMap((it) => it.split('; '))) {
    const line = step === 'after10' ? AFTER_10 : step;
    const [what = '', expected] = line.split(' = ');
    const [verb = '', ...words] = what.split(' ');
    const option = (name: string) => Number(words.find((it) => it.startsWith(name))?.slice(name.length));
    const numbers = words.filter((it) => /^(-?\d+|NaN)$/.test(it)).map(Number);
    const pass = (ids: number[], bytes = 0) => send({ kind: 'passed', ids, bytes });
    let taken = 0;
    if (verb.startsWith('+')) nowMs += Number(verb) * 1_000;
    else if (verb === 'wait') wait(numbers[0]! * 1_000);
    else if (verb === 'look') send({ kind: 'looked' });
    else if (verb === 'ask') send({ kind: 'asked', offset: numbers[0]!, limit: 100 });
    else if (verb === 'pass') taken = pass(numbers);
    else if (verb === 'poll') {
      send({ kind: 'asked', offset: Number.parseInt(words[0]!, 10), limit: option('limit=') || 100 });
      wait((option('s=') || 0.01) * 1_000);
      taken = pass(numbers);
    } else send({ kind: verb as 'unsure' | 'conflict' });
    assert.equal(taken, Number(expected ?? 0), line);
  }
}

for (const [what, ...lines] of [
  ['after the worker was busy', 'after10; +8; poll 11: 14 15 = 3; +8; poll 16: 16 = 0; +8; poll 17: 18 = 1'],
  [
    'also after a long wait, many empty answers',
    'after10; +8; poll 11: s=50; poll 11: s=50; poll 11: s=50; poll 11: 13 s=40 = 2',
  ],
  ['what was not handed on counts when it is taken there', 'after10; +2; ask 11; +2; poll 11: 13 = 2'],
  ['behind limited answers', 'after10; +5; poll 11: 11 12 limit=2 = 0; +5; poll 13: 15 limit=2 = 2'],
  ['none: nothing is known before the first answer', 'poll 0: 500 = 0'],
  ['none: too old, as nobody asked; then it goes on', 'after10; +31; poll 11: 12 = 0; +5; poll 13: 14 = 1'],
  ['none: too old, behind a limited answer', 'after10; +20; poll 11: 11 limit=1 = 0; +20; poll 12: 13 = 0'],
  ['none: a negative offset', 'after10; poll -1: 14 = 0'],
  ['none: an offset that skips', 'after10; poll 13: 14 = 0'],
  ['none: an outage, a webhook, dropped updates', 'after10; unsure; poll 11: 14 = 0'],
  [
    'none: dropped while an answer comes; then it goes on',
    'after10; ask 11; unsure; pass 11 = 0; poll 12: 14 = 0; poll 15: 16 = 1',
  ],
  ['none: a server that numbers anew', 'poll 0: 10; +3; poll 11: 9000000 = 0; +3; poll 9000001: 9000002 = 1'],
  ['none: a week of silence, after which the next id is random', 'after10', ...WEEK, 'poll 11: 1500 = 0'],
  ['none: a rival, with a 409 shortly before the gap', 'conflict; +2; poll 0: 10 = 0; +12; poll 11: 12 = 0'],
  ['none: we stood still and read late', 'after10; ask 11; wait 3; +60; pass 11 = 0; +1; poll 12: 13 = 0'],
  ['none: it stood still before the poll was on its way', 'after10; ask 11; +40; pass 13 = 0'],
  [
    'one behind an older update that is given again',
    'poll 0: 10 = 0; +3; poll 9: 9 = 0; +3; poll 11: 12 = 1',
  ],
  ['none: ids that are none', 'after10; poll 0: NaN = 0; poll 0: 13 = 0'],
] as const)
  test(`taken by somebody else: ${what}`, () => play(lines));
