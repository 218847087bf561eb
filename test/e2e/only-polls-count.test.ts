// Only a poll counts as polling: a worker that is connected to the Bot API and does not poll is not ready.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TcpSocket } from '../../src/strays/sockets.ts';
import { isHeld } from '../../src/supervisor/worker-tree.ts';
import { bed, node } from '../support/bed.ts';
import { until } from '../support/wait.ts';

const PATIENCE = ['--start-timeout', '12s'];

describe('ready', () => {
  for (const [name, args, everyMs] of [
    ['past the gateway, calls now and then', [], '700'],
    ['past the gateway, calls seldom, over a connection that is kept', [], '60000'],
    ['--no-gateway', ['--no-gateway'], '60000'],
  ] as const) {
    test(`start -d: a worker that only calls never counts as polling: ${name}`, async (t) => {
      const b = await bed(t);
      const worker = node('calls-only.mjs', b.sandbox.root, everyMs);
      const result = await b.run(['start', '-d', ...PATIENCE, ...args, '--', ...worker], { ms: 40_000 });
      assert.equal(result.code, 69, result.stderr);
      assert.match(result.stderr, /has not polled within 12 s/);
      assert.doesNotMatch(result.stderr, /\[poll\]|past the gateway/);
    });
  }

  for (const args of [['--no-gateway'], []] as string[][]) {
    test(`start -d: a poll past the gateway counts once it waits for its answer ${args.join('')}`, async (t) => {
      const b = await bed(t);
      const poller = b.file(
        'bot.mjs',
        `const [, , root] = process.argv;
for (;;) await fetch(root + '/bot' + process.env.TELEGRAM_BOT_TOKEN + '/getUpdates?timeout=20').catch(() => {});`,
      );
      const command = [process.execPath, poller, b.sandbox.root];
      const run = await b.run(['start', '-d', '--start-timeout', '30s', ...args, '--', ...command], {
        ms: 45_000,
      });
      assert.equal(run.code, 0, run.stderr);
      const status = await until('polling', async () => {
        const seen = await b.status();
        return seen.state === 'polling' ? seen : null;
      });
      assert.equal((status as { polling?: { via?: string } }).polling?.via, 'direct');
      await b.run(['stop']);
    });
  }
});

test('a request is held: the last thing that happened was a send, three seconds ago', () => {
  const socket = (some: Partial<TcpSocket>): TcpSocket => ({
    ...{ local: '10.0.0.1:40000', localPort: 40_000, remote: '10.0.0.2:443', remotePort: 443, uid: 0 },
    ...{
      inode: 7,
      cgroup: null,
      bytesSent: 500,
      bytesReceived: 500,
      lastSendMs: 3_000,
      lastReceiveMs: 9_000,
    },
    ...some,
  });
  assert.equal(isHeld(socket({})), true);
  assert.equal(isHeld(socket({ lastSendMs: 2_999 })), false, 'it may be answered yet');
  assert.equal(isHeld(socket({ lastReceiveMs: 2_950 })), false, 'answered');
  assert.equal(isHeld(socket({ bytesSent: 0 })), false, 'nothing was asked');
  assert.equal(isHeld(socket({ bytesReceived: 0, lastReceiveMs: 0 })), true, 'nothing ever came');
  assert.equal(isHeld(socket({ lastReceiveMs: 3_000 })), true, 'no answer comes that soon over a network');
  const local = { local: '127.0.0.1:40000', remote: '127.0.0.1:8081' };
  assert.equal(isHeld(socket({ ...local, lastReceiveMs: 3_000 })), false, 'on one machine it does');
  assert.equal(isHeld(socket({ ...local, lastReceiveMs: 3_004 })), true);
});
