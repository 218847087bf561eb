// What the tests of detached runs share: starting one, its log, its end.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bed, Finished, StartOptions } from './bed.ts';
import { findByEnv } from './proc.ts';

export interface Detached {
  readonly finished: Finished;
  /** Of the supervisor. */
  readonly pid: number;
}

/** `start -d …`, which must succeed. */
export async function detach(b: Bed, args: readonly string[], options: StartOptions = {}): Promise<Detached> {
  const finished = await b.run(['start', '-d', ...args], options);
  assert.equal(finished.code, 0, finished.stdout + finished.stderr);
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
