// What the tests of the gateway share: its time limits shortened, and the judge of "one poll at any time", the stand-in's log.
import assert from 'node:assert/strict';
import type { RequestRecord } from '../../src/sandbox/core.ts';
import type { StatusDocument } from '../../src/supervisor/status.ts';
import type { Bed } from './bed.ts';
import type { Running } from './cli.ts';
import { RIVAL } from './rival.ts';
import { maxOpenPolls } from './sandbox.ts';
import { staysTrue, until } from './wait.ts';

/** Twin of --rival-after: how long a fight lasts before it is called a rival; two thirds of it in peace make an incumbent. */
export const RIVAL_AFTER = 'SINGLEPOLL_RIVAL_AFTER';

/** The polling part of a status; fails where it is not that of a gateway. */
export function gatewayOf(status: StatusDocument): NonNullable<StatusDocument['polling']> {
  assert.ok(status.polling, 'status has no polling part');
  assert.equal(status.polling.via, 'gateway');
  return status.polling;
}

export const problemOf = (status: StatusDocument, code: string): string | null =>
  status.problems.find((problem) => problem.code === code)?.message ?? null;

export const isPoll = (record: RequestRecord): boolean => record.method.toLowerCase() === 'getupdates';

/** Every getUpdates of this bot but the rival's. */
export const ourPolls = (b: Bed): RequestRecord[] =>
  b.sandbox.raw.log.filter(
    (record) => record.bot === b.botId && isPoll(record) && record.params.poller !== RIVAL,
  );

/** Never two getUpdates of ours open at the same time, as the API saw them. */
export function assertOnePoll(b: Bed): void {
  const polls = ourPolls(b);
  assert.ok(polls.length > 0, 'nobody has polled');
  if (maxOpenPolls(polls, b.botId) <= 1) return;
  const lines = polls.map(
    ({ id, remotePort, params, startedAtMs, endedAtMs, clientGoneAtMs, status }) =>
      `${id} port ${remotePort} ${JSON.stringify(params)} ${Math.round(startedAtMs)}..${endedAtMs && Math.round(endedAtMs)} gone ${clientGoneAtMs && Math.round(clientGoneAtMs)} ${status}`,
  );
  assert.fail(`two polls of ours were open at once:\n${lines.slice(-60).join('\n')}`);
}

/** How often each text was sent by the bot: all of them exactly once. */
export function assertAnsweredOnce(b: Bed, answers: readonly string[]): void {
  const sent = b.sandbox.sentTexts();
  const odd = answers
    .map((answer) => [answer, sent.filter((text) => text === answer).length] as const)
    .filter(([, count]) => count !== 1);
  assert.deepEqual(odd, [], `sent: ${sent.join(', ')}`);
}

/** The lines of a text that match. */
export const linesOf = (text: string, pattern: RegExp): string[] =>
  text.split('\n').filter((line) => pattern.test(line));

/** How often each of the ids was handled by the fixture workers. */
export function handledCounts(b: Bed, ids: readonly number[]): number[] {
  const journal = b.journal().filter((entry) => entry.ev === 'update');
  return ids.map((id) => journal.filter((entry) => entry.id === id).length);
}

/** Waits until the fixture workers have handled every id. */
export async function allHandled(b: Bed, ids: readonly number[], run: Running, ms = 20_000): Promise<void> {
  await until('every update', () => handledCounts(b, ids).every((count) => count > 0), {
    ms,
    seen: () => `${handledCounts(b, ids)}\n${run.seen()}`,
  });
}

/** Queues `count` messages, one every `everyMs`; gives their ids. Throws when `run` ends meanwhile. */
export async function messages(
  b: Bed,
  run: Running,
  word: string,
  count: number,
  everyMs: number,
): Promise<number[]> {
  const ids: number[] = [];
  for (let index = 0; index < count; index++) {
    ids.push(b.sandbox.text(`${word} ${index}`));
    await staysTrue(`the supervisor runs\n${run.seen()}`, everyMs, () => run.ended() === null);
  }
  return ids;
}

/** What the fixture workers met that a gateway is to keep from them. */
export const troubles = (b: Bed): string[] =>
  b
    .journal()
    .filter((entry) => entry.ev === 'conflict' || entry.ev === 'error')
    .map((entry) => `${entry.ev} ${entry.text}`);
