/** A small world for tests that look at processes from within: a folder, a bot, and processes that are all gone at the end. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'node:test';
import { listPids, readLink } from '../../src/machine/procfs.ts';
import { type Eyes, openEyes } from '../../src/strays/finder.ts';
import { randomToken } from './bed.ts';
import { until } from './wait.ts';

export type StrayWorld = ReturnType<typeof createStrayWorld>;

export function createStrayWorld() {
  const project = realpathSync(mkdtempSync(join(tmpdir(), 'strays-')));
  const token = randomToken();
  const named = /TOKEN|TELEGRAM|SINGLEPOLL/;
  const bareEnv = Object.fromEntries(Object.entries(process.env).filter(([name]) => !named.test(name)));
  const started: ChildProcess[] = [];
  return {
    botId: token.split(':')[0]!,
    token,
    project,
    /** Environment without anything that names a bot. */
    bareEnv,
    /** Starts a process that is killed at the end. */
    start(command: string, args: readonly string[], options: SpawnOptions = {}) {
      const child = spawn(command, args, { stdio: 'ignore', cwd: project, env: bareEnv, ...options });
      child.on('error', () => {});
      started.push(child);
      if (child.pid === undefined) throw new Error(`cannot start ${command}`);
      return child as ChildProcess & { pid: number };
    },
    async close() {
      const isOver = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;
      for (const child of started) if (!isOver(child)) child.kill('SIGKILL');
      // One that hangs in the kernel ends only with what it has started itself, which works in the same folder.
      for (const pid of listPids())
        if (readLink(`/proc/${pid}/cwd`)?.startsWith(project)) process.kill(pid, 'SIGKILL');
      await until('all to end', () => started.every(isOver));
      rmSync(project, { recursive: true, force: true });
    },
  };
}

/** Each test of a file gets a world of its own and eyes for its bot; `look` opens others. */
export function eachWithEyes(give: (it: { readonly world: StrayWorld; readonly eyes: Eyes }) => void) {
  let world: StrayWorld;
  let eyes: Eyes;
  const look = (patterns: readonly string[] = [], projectDir = world.project): Eyes => {
    const { token, botId } = world;
    return openEyes({ token, botId, patterns, scope: 'project', projectDir });
  };
  beforeEach(() => {
    world = createStrayWorld();
    eyes = look();
    give({ world, eyes });
  });
  afterEach(() => {
    eyes.close();
    return world.close();
  });
  return look;
}
