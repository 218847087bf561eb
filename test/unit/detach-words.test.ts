import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readyLine, readyText } from '../../src/service/messages.ts';

test('a detached start: ready is told apart from what is to be shown', () => {
  assert.equal(readyText(readyLine('it polls\nhere').trimEnd()), 'it polls here');
  assert.equal(readyText('[poll] ready'), null);
});
