/** The clock of deafness: runs only while the worker could poll and does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deafAtMs, noSilence, type SilenceEvent, stepSilence } from '../../src/gateway/deafness.ts';

const AFTER_MS = 180_000;

/** `MS event, MS event …` → when the worker will be deaf; null: the clock stands still. */
function deafAt(script: string): number | null {
  let it = noSilence;
  for (const line of script.split(', ')) {
    const [at, kind = '', detail] = line.split(' ');
    const event = { kind, required: detail === 'required', down: detail === 'down' } as SilenceEvent;
    it = stepSilence(it, event, Number(at), AFTER_MS);
  }
  return deafAtMs(it, AFTER_MS);
}

const POLLED = '0 spawned, 100 asked, 10100 completed, 10100 answered';

for (const [what, script, expected] of [
  ['a worker that has polled and polls no more is deaf after that time', POLLED, 190_100],
  ['one that never polled through the gateway is not', '0 spawned', null],
  ['but it is where it must', '0 spawned required', 180_000],
  ['polls are expected of the next worker, too', `${POLLED}, 20000 ended, 25000 spawned`, 205_000],
  ['an open poll stops the clock: the worker waits for us', `${POLLED}, 20100 asked`, null],
  ['of two polls one that is answered does not start it', `${POLLED}, 1 asked, 2 asked, 3 answered`, null],
  [
    'polls that are answered without success do not turn it back: 10 s before, and 170 s from now',
    `${POLLED}, 20100 asked, 50100 answered`,
    220_100,
  ],
  [
    'one that succeeds does',
    `${POLLED}, 20100 asked, 50100 answered, 60000 asked, 70000 completed, 70000 answered`,
    250_000,
  ],
  ['it stands still while the Bot API is out of reach', `${POLLED}, 20100 api down`, null],
  ['and goes on then', `${POLLED}, 20100 api down, 900000 api up`, 1_070_000],
  ['a dead worker is not deaf', `${POLLED}, 20000 ended`, null],
  [
    'what the last worker left open does not count for the next',
    '0 spawned, 100 asked, 200 ended, 300 spawned, 400 answered',
    180_300,
  ],
  ['a timer that comes in its time finds it deaf', `${POLLED}, 190100 due`, 190_100],
  ['after a stop of our own the clock begins anew', `${POLLED}, 400000 due`, 580_000],
  ['also where a socket is heard before the timer', `${POLLED}, 400000 asked, 400100 answered`, 580_100],
] as const)
  test(what, () => assert.equal(deafAt(script), expected));
