/** What a supervisor of another version answers must not break what shows it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { statusOf } from '../../src/commands/answers.ts';
import { statusScreen } from '../../src/output/screen.ts';

test('a status without parts that came later is whole, and can be shown', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'singlepoll-test-'));
  const server = createServer((socket) => {
    socket.once('data', () =>
      socket.end('{"ok":true,"status":{"bot":{"id":7},"state":"polling","healthy":true}}\n'),
    );
    socket.on('error', () => {});
  });
  t.after(() => {
    server.close();
    rmSync(dir, { recursive: true });
  });
  const path = join(dir, 'control.sock');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const doc = await statusOf(path);
  assert.deepEqual([doc?.state, doc?.problems, doc?.strays, doc?.lease], ['polling', [], [], null]);
  assert.ok(doc);
  assert.match(
    statusScreen(doc, Date.now(), 80, (_level, text) => text),
    /polling/,
  );
});
