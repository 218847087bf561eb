/** The number of an ended worker: who has it next is a stranger. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { createWorkerTree } from '../../src/supervisor/worker-tree.ts';

const processes = {
  snapshot: async () => ({ procs: new Map(), uninspectable: {} }) as never,
  quick: () => ({ procs: new Map(), uninspectable: {} }) as never,
};

test('a worker whose group is gone is followed no longer: its number may be reused', async () => {
  const tree = createWorkerTree({ run: 'r', botId: '1', apiRoot: null }, { processes });
  const worker = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  tree.led(worker.pid!);
  assert.equal(tree.checkLeft(), true);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  assert.equal(tree.former(), worker.pid);
  assert.equal(tree.checkLeft(), false);
  assert.equal(tree.former(), null);
});
