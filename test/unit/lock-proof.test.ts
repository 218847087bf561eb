// What counts as a proof of a holder, and for whom: real sockets at the names of a bot that nobody has.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { lockKey } from '../../src/lock/lock.ts';
import { lookAt, processOf } from '../../src/lock/look.ts';
import { type Answer, addressOf, answerTo, challenge } from '../../src/lock/proof.ts';
import { pidNamespace } from '../../src/machine/procfs.ts';

const newKey = () => lockKey(`4711:${randomBytes(24).toString('hex')}`);

function identity(pid: number): Answer {
  const { startId } = processOf(pid)!;
  const taker = { startedAt: null, cwd: '/srv/bot', version: '1', control: null };
  return { ...taker, holds: true, pid, startId, pidNamespace: pidNamespace()!, uid: 0 };
}

/** Somebody who listens at a name and answers what is asked with `answer`. */
async function listen(t: TestContext, name: string, answer: (question: string) => string): Promise<void> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => socket.write(answer(chunk.toString())));
    t.after(() => socket.destroy());
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(addressOf(name), resolve));
}

const forgeries: [string, (right: Answer) => Answer][] = [
  ['the pid of another process', () => identity(process.ppid)],
  ['another start time', (right) => ({ ...right, startId: '1' })],
  ['another pid namespace', (right) => ({ ...right, pidNamespace: 'pid:[1]' })],
];
for (const [what, forge] of forgeries) {
  test(`an answer with the right key and ${what} was passed on, and is a lie`, async (t) => {
    const key = newKey();
    const name = key.names[0]!;
    await listen(t, name, (question) => answerTo(question, key, name, forge(identity(process.pid)))!);
    const look = await lookAt(key, null);
    assert.equal(look.map(({ shown }) => shown).join(), 'liar,free,free,free');
    assert.equal(look[0]?.squatter?.pid, process.pid);
  });
}

test('an answer counts at one name and for one nonce only', async (t) => {
  const key = newKey();
  const [first, second] = key.names;
  const answer = identity(process.pid);
  await listen(t, first!, (question) => answerTo(question, key, second!, answer)!);
  assert.equal((await challenge(key, first!, 2_000)).kind, 'wrong');
  const kept = answerTo(`singlepoll lock v2 ${'0'.repeat(32)}\n`, key, second!, answer)!;
  await listen(t, second!, () => kept);
  assert.equal((await challenge(key, second!, 2_000)).kind, 'wrong');
});

test('every field is covered: whatever is changed makes the answer wrong', async (t) => {
  const right = identity(process.pid);
  for (const field of Object.keys(right) as (keyof Answer)[]) {
    const key = newKey();
    const name = key.names[1]!;
    const other = typeof right[field] === 'number' ? 1 : field === 'holds' ? false : 'x';
    await listen(t, name, (question) => {
      const { mac } = JSON.parse(answerTo(question, key, name, right)!) as { mac: string };
      return `${JSON.stringify({ v: 2, ...right, [field]: other, mac })}\n`;
    });
    assert.equal((await challenge(key, name, 2_000)).kind, 'wrong', field);
  }
});

test('answers do not fit questions that are none', () => {
  const key = newKey();
  for (const question of ['', '\n', 'singlepoll lock v2 xyz\n', `singlepoll lock v1 ${'0'.repeat(32)}\n`])
    assert.equal(answerTo(question, key, key.names[0]!, identity(process.pid)), null);
});

test('the names stay what they are, so that all releases exclude each other; the four differ, and depend on the token', () => {
  const key = lockKey('123:AAtoken');
  assert.equal(key.names[0], 'singlepoll/123/aa5710da8c4d7e2c41b3c7a15a6c2b68');
  assert.equal(new Set([...key.names, ...lockKey('123:ABtoken').names]).size, 8);
});
