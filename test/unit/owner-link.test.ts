// What a supervisor tells the program that it belongs to, when that does not read.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLink } from '../../src/service/link.ts';

/** More than a socket keeps for its reader. */
const MUCH = 'x'.repeat(4 << 20);

async function link(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'sp-owner-'));
  const server = net.createServer({ pauseOnConnect: true }).listen(join(folder, 's'));
  await once(server, 'listening');
  const ours = net.connect(join(folder, 's'));
  const [[theirs]] = (await Promise.all([once(server, 'connection'), once(ours, 'connect')])) as [
    [net.Socket],
    unknown,
  ];
  t.after(() => {
    for (const it of [ours, theirs]) it.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const owner = await openLink('owner', ours);
  assert.ok(owner);
  return { owner, ours, theirs };
}

test('a program that does not read does not keep its supervisor from ending', async (t) => {
  const { owner, ours } = await link(t);
  await owner.end(MUCH);
  assert.equal(ours.destroyed, true);
});

test('a program that does not read is told no more states, but all else in its order', async (t) => {
  const { owner, ours, theirs } = await link(t);
  owner.tell({ state: 'polling' });
  owner.ready('');
  owner.tell({ control: MUCH });
  for (let i = 0; i < 100; i++) owner.tell({ state: i % 2 === 0 ? 'backoff' : 'starting' });
  void owner.end('the end').then(() => ours.destroy());
  let text = '';
  theirs.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  theirs.resume();
  await once(theirs, 'close');
  const lines = text.trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => line.slice(0, 20)),
    ['{"state":"polling"}', '{"ready":""}', '{"control":"xxxxxxxx', '{"end":{"reason":"th'],
  );
});
