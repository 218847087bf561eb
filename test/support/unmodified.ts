// Bots that know nothing of singlepoll: test/fixtures/unmodified.
import assert from 'node:assert/strict';
import { type Bed, fixture } from './bed.ts';
import type { Running } from './cli.ts';
import { until } from './wait.ts';

export const unmodified = (name: string): string => fixture(`unmodified/${name}`);

/** A message is answered once, and by this. */
export async function answers(b: Bed, run: Running, text = '/ping', answer = 'pong'): Promise<void> {
  const texts = () => b.sandbox.sentTexts().filter((it) => it !== '');
  const before = texts().length;
  b.sandbox.text(text);
  await until(`the answer to ${text}`, () => texts().length > before, run);
  assert.deepEqual(texts().slice(before), [answer], run.seen());
}
