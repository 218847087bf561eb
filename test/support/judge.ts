// What several tests ask of a finished run: no token anywhere, never two workers, lines in order.
import assert from 'node:assert/strict';
import type { Bed, JournalEntry } from './bed.ts';
import { pollerSequence } from './sandbox.ts';

/** The secret part of the token, or a good half of it, must not be in the text. */
export function assertNoToken(text: string, token: string): void {
  const secret = token.slice(token.indexOf(':') + 1);
  for (const part of [secret, secret.slice(0, 20), secret.slice(-20)]) {
    assert.ok(!text.includes(part), `a token is in the output:\n${text.slice(0, 4000)}`);
  }
}

/** Each pattern must match a line after the one before it. */
export function assertInOrder(text: string, patterns: readonly RegExp[]): void {
  const lines = text.split('\n');
  let at = 0;
  for (const pattern of patterns) {
    const found = lines.findIndex((line, index) => index >= at && pattern.test(line));
    assert.ok(found >= 0, `no line like ${pattern} after line ${at} of:\n${text}`);
    at = found;
  }
}

export const starts = (journal: readonly JournalEntry[]): JournalEntry[] =>
  journal.filter((entry) => entry.ev === 'start');

/** Ids of updates that some fixture poller handled. */
export const handled = (journal: readonly JournalEntry[]): Set<number> =>
  new Set(journal.filter((entry) => entry.ev === 'update').map((entry) => entry.id ?? -1));

/**
 * Never two at once: no worker found another alive when it began, and none polled again after a later one had.
 * With `name`, only among fixture workers of that name.
 */
export function assertNeverTwo(b: Bed, name?: string): void {
  const journal = starts(b.journal()).filter((entry) => name === undefined || entry.name === name);
  const pids = new Set(journal.map((entry) => entry.pid));
  for (const start of journal) {
    const others = (start.others ?? []).filter((pid) => pids.has(pid));
    assert.deepEqual(others, [], `worker ${start.pid} began while others lived`);
  }
  const polls = b.sandbox.polls().filter((poll) => name === undefined || poll.name === name);
  const sequence = pollerSequence(polls);
  assert.equal(new Set(sequence).size, sequence.length, `pollers took turns: ${sequence.join(' ')}`);
}

/** Terminal escapes other than none at all: a raw control character that a process could smuggle in. */
export function assertNoControls(text: string): void {
  const found = /[\x00-\x08\x0b-\x1f\x7f]/.exec(text);
  assert.equal(found, null, `control character at ${found?.index}: ${JSON.stringify(text.slice(0, 2000))}`);
}
