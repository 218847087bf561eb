// The verdict on polls that went through the gateway: never two at the API at once.
import assert from 'node:assert/strict';
import type { RequestRecord } from '../../src/sandbox/log.ts';
import type { Bed } from './bed.ts';

const isPoll = (record: RequestRecord) => record.method.toLowerCase() === 'getupdates';

/** Pairs of getUpdates that were open at the API at the same time, from the clients' side; none, where one polls. */
function overlaps(b: Bed): string[] {
  const polls = b.sandbox.requests().filter((record) => record.bot === b.botId && isPoll(record));
  const end = (record: RequestRecord) =>
    Math.min(record.endedAtMs ?? Number.POSITIVE_INFINITY, record.clientGoneAtMs ?? Number.POSITIVE_INFINITY);
  const name = (record: RequestRecord) =>
    `#${record.id} ${record.method} ${JSON.stringify(record.params)} ${record.startedAtMs.toFixed(0)}…${end(record).toFixed(0)}`;
  return polls.flatMap((one, index) =>
    polls
      .slice(index + 1)
      .filter((other) => one.startedAtMs < end(other) && other.startedAtMs < end(one))
      .map((other) => `${name(one)} and ${name(other)}`),
  );
}

/** Never two polls at the API, and so no 409 either, but for polls that were given up: theirs goes to nobody. */
export function assertSingleFlight(b: Bed): void {
  assert.deepEqual(overlaps(b), [], 'two polls at the API at once');
  const conflicts = b.sandbox
    .requests()
    .filter((record) => record.bot === b.botId && record.status === 409 && record.clientGoneAtMs === null);
  assert.deepEqual(conflicts, [], 'conflicts');
}
