// A strict check of the shape of `status --json`: every part that the sample has, of its type.
import assert from 'node:assert/strict';
import type { StatusDocument, StrayEntry } from '../../src/supervisor/status.ts';
import { sampleStatus, sampleStray } from './status-sample.ts';

const STATES = ['starting', 'standby', 'polling', 'backoff', 'stopping', 'disabled', 'stopped'];

const isTime = (value: unknown): boolean =>
  typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(Date.parse(value));

/** Parts that do not apply must be there as null. */
function assertShape(value: unknown, sample: unknown, where: string): void {
  if (value === null || sample === null) return;
  assert.equal(typeof value, typeof sample, `${where}: ${JSON.stringify(value)}`);
  assert.equal(Array.isArray(value), Array.isArray(sample), where);
  if (isTime(sample)) assert.ok(isTime(value), `${where}: ${value}`);
  if (Array.isArray(sample)) {
    for (const one of value as unknown[]) if (sample.length > 0) assertShape(one, sample[0], `${where}[]`);
  } else if (typeof sample === 'object')
    for (const [key, part] of Object.entries(sample)) {
      assert.ok(key in (value as object), `${where} lacks "${key}": ${JSON.stringify(value)}`);
      assertShape((value as Record<string, unknown>)[key], part, `${where}.${key}`);
    }
}

export function assertStatusShape(status: StatusDocument): void {
  const problems = [{ code: 'x', message: 'x' }];
  assertShape(status, sampleStatus({ problems, strays: [sampleStray] }), 'status');
  assert.ok(STATES.includes(status.state), `state ${status.state}`);
  assert.equal(status.lease, null, 'no lease on one machine');
  for (const part of [status.healthy, status.problems]) assert.notEqual(part, null);
  if (status.supervisor) assert.equal(typeof status.supervisor.pid, 'number');
  assert.ok(['gateway', 'direct', undefined].includes(status.polling?.via));
  for (const stray of status.strays ?? []) assertStrayShape(stray);
}

export function assertStrayShape(stray: StrayEntry): void {
  assertShape(stray, sampleStray, 'stray');
  assert.ok(['own', 'proven', 'declared', 'likely', 'hint'].includes(stray.grade), stray.grade);
  assert.ok(Array.isArray(stray.proof));
}
