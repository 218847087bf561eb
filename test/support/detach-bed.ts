// What the tests of detached runs share: starting one, its log, its end.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bed, StartOptions } from './bed.ts';
import { findByEnv } from './proc.ts';

/** `start -d …`, which must succeed; gives the pid of the supervisor, too. */
export async function detach(b: Bed, args: readonly string[], options?: StartOptions) {
  const finished = await b.exits(0, ['start', '-d', ...args], options);
  const pid = Number(/supervisor (\d+)|pid (\d+)/.exec(finished.stdout)?.slice(1).find(Boolean));
  assert.ok(pid > 1, finished.stdout);
  return { finished, pid };
}

export const logFile = (b: Bed): string => join(b.stateDir, String(b.botId), 'singlepoll.log');

/** Of the usual place; empty where there is none. */
export const logText = (b: Bed, path = logFile(b)): string =>
  existsSync(path) ? readFileSync(path, 'utf8') : '';

/** Every process that the test has started by way of singlepoll, and which still lives. */
export const leftovers = (b: Bed): number[] => findByEnv('SP_TEST_COOKIE', b.cookie);

/** No token in the environment, and a folder without any. */
export const nowhere = (b: Bed, stateDir = b.stateDir): StartOptions => {
  const { TELEGRAM_BOT_TOKEN: _, ...env } = b.env;
  return { cwd: b.dir, env: { ...env, SINGLEPOLL_DIR: stateDir } };
};
