/** The number of an ended worker: who has it next is a stranger. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Proc } from '../../src/strays/process.ts';
import { createWorkerTree } from '../../src/supervisor/worker-tree.ts';
import { proc, snapshot } from '../support/procs.ts';

/** The tree of a worker that lives, beside the processes that a look shows. */
function treeOf(shown: (pid: number) => readonly Proc[]) {
  const worker = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  const pid = worker.pid!;
  const list = snapshot(...shown(pid));
  const processes = { snapshot: async () => snapshot(), quick: () => list };
  const tree = createWorkerTree({ run: 'r', botId: '1', apiRoot: null }, { processes });
  tree.led(pid);
  return { tree, worker };
}

test('a worker whose group is gone is followed no longer: its number may be reused', async () => {
  const { tree, worker } = treeOf((pid) => [proc(pid + 1, 1, 'sleep 60', { sid: pid, pgid: pid })]);
  assert.equal(tree.checkLeft(), true);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  assert.equal(tree.former(), worker.pid);
  assert.equal(tree.checkLeft(), false);
  assert.equal(tree.former(), null);
});

test('nor is one of whose session nobody is listed, whoever may have its number now; a look begun earlier does not tell that', async () => {
  const { tree, worker } = treeOf(() => [proc(1, 0, '/sbin/init')]);
  await tree.learn();
  assert.equal(tree.former(), worker.pid);
  assert.equal(tree.checkLeft(), false);
  assert.equal(tree.former(), null);
  worker.kill('SIGKILL');
});
