// What a supervisor tells the program that it belongs to, when that does not read.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openLink } from '../../src/service/link.ts';
import { newFolder } from '../support/place.ts';
import { until } from '../support/wait.ts';

/** More than a socket keeps for its reader. */
const MUCH = 'x'.repeat(4 << 20);

async function link(t: TestContext) {
  const path = join(newFolder(t), 's');
  const server = net.createServer({ pauseOnConnect: true }).listen(path);
  await once(server, 'listening');
  const met = once(server, 'connection') as Promise<[net.Socket]>;
  const ours = net.connect(path);
  const [theirs] = await met;
  t.after(() => {
    for (const it of [ours, theirs]) it.destroy();
    server.close();
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
  let text = '';
  theirs.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  theirs.resume();
  await until('it to read on', () => text.includes(MUCH), { seen: () => text.slice(0, 200) });
  void owner.end('the end').then(() => ours.destroy());
  await once(theirs, 'close');
  const lines = text.trimEnd().split('\n');
  const begins = ['{"state":"polling"}', '{"ready":""}', '{"control":"xxx', '{"end":{"reason":"th'];
  assert.equal(lines.length, begins.length);
  for (const [at, begin] of begins.entries()) assert.ok(lines[at]?.startsWith(begin), lines[at]);
});
