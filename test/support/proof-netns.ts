// Network namespaces of a test's own in which the Bot API stand-in answers at the same address as outside, through a socket in the file
// system: no route, no address of the machine's. They are gone with the test.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { type Bed, PYTHON } from './bed.ts';
import type { Running } from './cli.ts';
import { LONG_MS, proofFixture } from './proof-bed.ts';
import { openBackDoor } from './proof-rival.ts';

export interface NetworkNamespace {
  readonly name: string;
  /** Words before a command that is to run in it. */
  readonly enter: readonly string[];
}

function ip(...args: string[]): void {
  const done = spawnSync('ip', args, { encoding: 'utf8', timeout: 20_000 });
  assert.equal(done.status, 0, `ip ${args.join(' ')}: ${done.stderr}`);
}

/** Makes one; `b`'s API root works in it. */
export async function openNetworkNamespace(t: TestContext, b: Bed): Promise<NetworkNamespace> {
  const name = `sp-${randomBytes(5).toString('hex')}`;
  ip('netns', 'add', name);
  t.after(() => ip('netns', 'delete', name));
  ip('-n', name, 'link', 'set', 'lo', 'up');
  const enter = ['nsenter', `--net=/run/netns/${name}`];
  const path = await openBackDoor(t, b);
  const way = spawnIn(b, enter, [PYTHON, proofFixture('pipes.py'), 'unix', String(b.sandbox.port), path]);
  await way.waitFor(/port \d+/, LONG_MS);
  return { name, enter };
}

/** A process list of its own around the command. */
export const OWN_PIDS: readonly string[] = ['unshare', '-p', '-f', '--mount-proc', '--kill-child'];

/** Runs a command behind such words; nothing of singlepoll in its environment but what is given. */
export function spawnIn(
  b: Bed,
  words: readonly string[],
  command: readonly string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Running {
  const [file = '', ...args] = [...words, ...command];
  return b.spawn(file, args, options);
}
