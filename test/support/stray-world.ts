/**
 * A small world for tests about strays: a folder with the legacy bots in it, something that answers as an API root
 * and knows who polls it, and processes that are all gone at the end, whatever happened.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'node:test';
import { listPids, parseProcStat, readLink, readText } from '../../src/machine/procfs.ts';
import { type Eyes, openEyes } from '../../src/strays/finder.ts';
import { until } from './wait.ts';

/** Debian's own: a version manager's shim would put a shell in between. */
export const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

export interface StrayWorld {
  readonly botId: string;
  readonly token: string;
  readonly otherToken: string;
  readonly project: string;
  readonly elsewhere: string;
  readonly apiRoot: string;
  /** Environment without anything that names a bot, and with this API root. */
  readonly bareEnv: NodeJS.ProcessEnv;
  /** Pids that have an open long poll now. */
  polling(): Set<number>;
  /** Starts a process that is killed at the end. */
  start(command: string, args: readonly string[], options?: SpawnOptions): ChildProcess & { pid: number };
  /** Writes to the standard input of a started process (`stdio: ['pipe', …]`). */
  feed(pid: number, text: string): void;
  close(): Promise<void>;
}

export async function createStrayWorld(): Promise<StrayWorld> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'strays-')));
  const project = join(folder, 'project');
  const elsewhere = join(folder, 'elsewhere');
  const fixtures = new URL('../fixtures/strays', import.meta.url).pathname;
  cpSync(fixtures, project, { recursive: true });
  cpSync(fixtures, elsewhere, { recursive: true });
  const open = new Map<object, number>();
  const server = createServer((request, response) => {
    const pid = Number(request.headers['x-pid']);
    open.set(response, pid);
    response.on('close', () => open.delete(response));
    setTimeout(() => response.end('{"ok":true,"result":[]}'), 20_000).unref();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const apiRoot = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const bareEnv: NodeJS.ProcessEnv = { TELEGRAM_API_ROOT: apiRoot };
  for (const [name, value] of Object.entries(process.env)) {
    if (!/TOKEN|TELEGRAM|SINGLEPOLL/.test(name)) bareEnv[name] = value;
  }
  const started: ChildProcess[] = [];
  const random = () => String(100_000_000 + Math.floor(Math.random() * 800_000_000));
  const secret = () =>
    `AA${Array.from({ length: 33 }, () => Math.floor(Math.random() * 36).toString(36)).join('')}`;
  const botId = random();
  return {
    botId,
    token: `${botId}:${secret()}`,
    otherToken: `${random()}:${secret()}`,
    project,
    elsewhere,
    apiRoot,
    bareEnv,
    polling: () => new Set(open.values()),
    start(command, args, options = {}) {
      const child = spawn(command, args, { stdio: 'ignore', cwd: project, env: bareEnv, ...options });
      child.on('error', () => {});
      started.push(child);
      if (child.pid === undefined) throw new Error(`cannot start ${command}`);
      return child as ChildProcess & { pid: number };
    },
    feed(pid, text) {
      started.find((child) => child.pid === pid)?.stdin?.write(text);
    },
    async close() {
      for (const child of started)
        if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      // What has daemonised has nothing left in common with us but its folder, which nobody else works in.
      for (const pid of listPids()) {
        if (readLink(`/proc/${pid}/cwd`)?.startsWith(`${folder}/`)) process.kill(pid, 'SIGKILL');
      }
      server.closeAllConnections();
      server.close();
      const isOver = () => started.every((child) => child.exitCode !== null || child.signalCode !== null);
      await until('all to end', isOver);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Start time of a live process; null when it is gone or a zombie. */
export function startIdOf(pid: number): string | null {
  const text = readText(`/proc/${pid}/stat`);
  const stat = text === null ? null : parseProcStat(text);
  return stat && stat.state !== 'Z' ? stat.startId : null;
}

export function isAlive(pid: number): boolean {
  return startIdOf(pid) !== null;
}

/** Starts `count` processes that do nothing; they go with the one that is returned. */
export async function startCrowd(world: StrayWorld, count: number): Promise<ChildProcess> {
  const program = new URL('../fixtures/many.py', import.meta.url).pathname;
  const child = world.start(PYTHON, [program, String(count)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((done) => child.stdout!.once('data', done));
  return child;
}

/** Each test of a file gets a world of its own and eyes for its bot; `look` opens others. */
export function eachWithEyes(give: (it: { readonly world: StrayWorld; readonly eyes: Eyes }) => void) {
  let world: StrayWorld;
  let eyes: Eyes;
  const look = (patterns: readonly string[] = [], projectDir = world.project): Eyes => {
    const { token, botId } = world;
    return openEyes({ token, botId, patterns, scope: 'project', projectDir });
  };
  beforeEach(async () => {
    world = await createStrayWorld();
    eyes = look();
    give({ world, eyes });
  });
  afterEach(() => {
    eyes.close();
    return world.close();
  });
  return look;
}
