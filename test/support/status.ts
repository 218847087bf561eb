// A strict check of the shape of `status --json`, as the contract has it (names, types, nothing missing).
import assert from 'node:assert/strict';
import type { StatusDocument, StrayEntry } from '../../src/supervisor/status.ts';

const KEYS = [
  'bot',
  'state',
  'healthy',
  'problems',
  'supervisor',
  'worker',
  'polling',
  'webhook',
  'strays',
  'lease',
];
const STATES = ['starting', 'standby', 'polling', 'backoff', 'stopping', 'disabled', 'stopped'];

const isTime = (value: unknown) =>
  typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(Date.parse(value));

function hasKeys(value: object, keys: readonly string[], where: string): void {
  for (const key of keys) assert.ok(key in value, `${where} lacks "${key}": ${JSON.stringify(value)}`);
}

/** Asserts the whole shape; the parts that do not apply must be there as null. */
export function assertStatusShape(status: StatusDocument): void {
  hasKeys(status, KEYS, 'status');
  assert.ok(STATES.includes(status.state), `state ${status.state}`);
  assert.equal(typeof status.healthy, 'boolean');
  assert.ok(Array.isArray(status.problems), 'problems is an array');
  for (const problem of status.problems) {
    assert.equal(typeof problem.code, 'string');
    assert.equal(typeof problem.message, 'string');
  }
  assert.equal(status.lease, null, 'no lease on one machine');
  if (status.bot) {
    hasKeys(status.bot, ['id', 'username'], 'bot');
    assert.equal(typeof status.bot.id, 'number');
  }
  if (status.supervisor) {
    hasKeys(status.supervisor, ['pid', 'startedAt', 'version', 'command', 'cwd'], 'supervisor');
    // Of a supervisor that does not answer, the time may be unknown.
    assert.ok(
      status.supervisor.startedAt === null || isTime(status.supervisor.startedAt),
      `startedAt ${status.supervisor.startedAt}`,
    );
    assert.ok(status.supervisor.command === null || Array.isArray(status.supervisor.command));
    assert.equal(typeof status.supervisor.pid, 'number');
  }
  if (status.worker) {
    hasKeys(
      status.worker,
      ['pid', 'startedAt', 'spawns', 'restarts', 'lastExit', 'tree', 'cpuPercent', 'memoryBytes'],
      'worker',
    );
    for (const node of status.worker.tree) hasKeys(node, ['pid', 'ppid', 'command'], 'tree node');
    if (status.worker.lastExit) {
      hasKeys(status.worker.lastExit, ['code', 'signal', 'at'], 'lastExit');
      assert.ok(isTime(status.worker.lastExit.at));
    }
  }
  if (status.polling) {
    hasKeys(status.polling, ['via', 'polls', 'lastPollAt', 'offset', 'updates', 'conflicts'], 'polling');
    assert.ok(['gateway', 'direct'].includes(status.polling.via));
  }
  if (status.webhook) hasKeys(status.webhook, ['url', 'pendingUpdates', 'lastError'], 'webhook');
  for (const stray of status.strays ?? []) assertStrayShape(stray);
}

export function assertStrayShape(stray: StrayEntry): void {
  hasKeys(stray, ['pid', 'user', 'command', 'cwd', 'startedAt', 'grade', 'proof', 'respawner'], 'stray');
  assert.ok(['own', 'proven', 'declared', 'likely', 'hint'].includes(stray.grade), stray.grade);
  assert.ok(Array.isArray(stray.proof));
}
