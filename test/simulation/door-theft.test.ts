/** The one way to miscount thefts that no line of test/unit/theft.test.ts shows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyLedger, stepLedger } from '../../src/gateway/theft.ts';

test('an older update that is given again does not make those behind it missing', () => {
  let ledger = emptyLedger;
  let atMs = 1_000_000;
  const polls = [
    [0, 10],
    [9, 9],
    [11, 12],
  ] as const;
  const taken = polls.map(([offset, id]) => {
    let count = 0;
    atMs += 3_500;
    [ledger] = stepLedger(ledger, { kind: 'asked', offset, limit: 100, atMs });
    [ledger, count] = stepLedger(ledger, { kind: 'passed', ids: [id], bytes: 0, atMs: atMs + 10 });
    return count;
  });
  assert.deepEqual(taken, [0, 0, 1]);
});
