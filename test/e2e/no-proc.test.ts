// A machine without /proc (a chroot, a container made by hand): every command that needs the process list says so and ends with 78.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bed, node } from '../support/bed.ts';
import { PROGRAM } from '../support/cli.ts';

const COMMANDS = [
  ['start', '--', 'sleep', '1000'],
  ['start', '-d', '--', 'sleep', '1000'],
  ['start', '--dry-run', '--', 'sleep', '1000'],
  ['stop'],
  ['restart'],
  ['reset'],
  ['reset', '--no-start'],
  ['status'],
  ['status', '--json'],
  ['who'],
  ['who', '--probe=1s'],
];

for (const [how, command] of [
  ['not mounted', 'umount -l /proc'],
  ['an empty folder', 'mount -t tmpfs none /proc'],
] as const) {
  test(`/proc is ${how}: 78 and a sentence`, async (t) => {
    const b = await bed(t);
    // A state folder that knows a run.
    const run = await b.polling(['--', ...node('polite.mjs')]);
    run.signal('SIGTERM');
    await run.exit();
    const named = ['stop', 'restart'].map((word) => [word, '--bot', String(b.botId)]);
    for (const words of [...COMMANDS, ...named]) {
      const inside = ['-m', 'sh', '-c', `${command} && exec "$@"`, 'sh', process.execPath, '--', PROGRAM];
      const it = b.spawn('unshare', [...inside, ...words], { env: b.env });
      const { code } = await it.exit(20_000);
      assert.equal(code, 78, `${words.join(' ')}\n${it.seen()}`);
      assert.match(it.stderr(), /^singlepoll: \/proc is not mounted/m, words.join(' '));
      assert.match(it.stderr(), /→ mount -t proc/);
      assert.doesNotMatch(it.stderr(), /bug/);
    }
  });
}
