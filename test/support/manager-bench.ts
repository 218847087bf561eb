/**
 * A private folder in which a real service manager keeps a tiny stand-in for a poller alive, for one test. Every process
 * of it is known by the folder's path in its arguments, and is ended by pid when the test ends, however it ends.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ancestorsOf } from '../../src/strays/family.ts';
import { findManager, linuxEdges, type ManagerEdges } from '../../src/strays/managers.ts';
import type { Proc } from '../../src/strays/process.ts';
import { snapshot } from './snapshot.ts';

export interface Bench {
  readonly folder: string;
  /** Path of the stand-in, a Node script that waits for ever. */
  readonly poller: string;
  /** Starts a program that stays; ended with the test. */
  start(
    command: string,
    args: readonly string[],
    options?: { cwd?: string; env?: NodeJS.ProcessEnv },
  ): ChildProcess;
  file(name: string, text: string, mode?: number): string;
  /** The stand-in's processes that live now. */
  pollers(): readonly Proc[];
  /** Waits for exactly one stand-in, another than `not`. */
  poller1(not?: number): Promise<Proc>;
}

const WAIT_MS = 20_000;

/** Makes the folder; everything in it, running or stored, is gone after the test. */
export function bench(t: TestContext): Bench {
  const folder = mkdtempSync(join(tmpdir(), 'singlepoll-manager-'));
  const children: ChildProcess[] = [];
  const file = (name: string, text: string, mode = 0o644) => {
    const path = join(folder, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, text, { mode });
    return path;
  };
  const poller = file('poller.mjs', 'setInterval(() => {}, 1e9);\n');
  const ours = () => [...snapshot().values()].filter((proc) => proc.state !== 'Z' && mentions(proc, folder));
  // Managers change the title: `node /x/poller.mjs` in one word (PM2), `name: /usr/bin/node` (daemon).
  const pollers = () =>
    ours().filter((proc) => /^(?:\w+: )?\S*node \S*poller\.mjs$/.test(proc.argv.join(' ')));
  t.after(async () => {
    // Managers first, and again: one that is slow to go may start another worker meanwhile.
    for (let round = 0; round < 50; round += 1) {
      for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
      const left = ours().sort((a, b) => a.pid - b.pid);
      for (const proc of left) endProcess(proc);
      if (left.length === 0 && round > 0) break;
      await delay(20);
    }
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    folder,
    poller,
    file,
    pollers,
    start(command, args, options = {}) {
      const child = spawn(command, args, { cwd: folder, stdio: 'ignore', ...options });
      child.on('error', () => {});
      children.push(child);
      return child;
    },
    poller1: (not) =>
      until(`one poller in ${folder}`, () => {
        const found = pollers().filter((proc) => proc.pid !== not);
        return found.length === 1 ? found[0]! : null;
      }),
  };
}

/** Polls until `look` gives something; fails with `what` after a deadline. */
export async function until<T>(
  what: string,
  look: () => T | null | Promise<T | null>,
  waitMs = WAIT_MS,
): Promise<T> {
  const endMs = performance.now() + waitMs;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    assert.ok(performance.now() < endMs, `not within ${waitMs} ms: ${what}`);
    await delay(25);
  }
}

/** The real search for a real stray. */
export async function respawnerOf(
  stray: Proc,
  change: (edges: ManagerEdges) => ManagerEdges = (edges) => edges,
) {
  const procs = snapshot();
  const above = ancestorsOf({ procs }, stray.pid).flatMap((pid) => procs.get(pid) ?? []);
  return findManager([stray, ...above], change(linuxEdges()));
}

/** The whole proof: it comes back when killed; it is named; the named command ends it; it stays away; nobody is named then. */
export async function proveComeback(
  world: Bench,
  expected: { kind: string; name: string; command: RegExp },
): Promise<void> {
  const first = await world.poller1();
  process.kill(first.pid, 'SIGKILL');
  const stray = await world.poller1(first.pid);
  const found = await respawnerOf(stray);
  assert.ok(found !== null, 'nobody was named');
  assert.equal(found.kind, expected.kind);
  assert.equal(found.name, expected.name);
  assert.match(found.stopCommand, expected.command);
  paste(found.stopCommand);
  await until('the poller is gone', () => (world.pollers().length === 0 ? true : null));
  await staysAway(world, 1500);
}

/** Looks all the while that no stand-in appears again. */
export async function staysAway(world: Bench, quietMs: number): Promise<void> {
  const endMs = performance.now() + quietMs;
  while (performance.now() < endMs) {
    assert.deepEqual(
      world.pollers().map((proc) => proc.pid),
      [],
      'it came back',
    );
    await delay(50);
  }
}

/** Types a command into a shell, as a user would. */
export function paste(command: string): void {
  const ended = spawnSync('sh', ['-c', command], { encoding: 'utf8', timeout: WAIT_MS });
  assert.equal(ended.status, 0, `${command}\n${ended.stdout}${ended.stderr}`);
}

/** Fails with what to install where a program is not there. */
export function needs(program: string, debianPackage: string): void {
  const found = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8', env: withSbin() });
  assert.equal(found.status, 0, `${program} is not installed: apt-get install ${debianPackage}`);
}

/** Our environment with the folders of system programs on its PATH. */
export function withSbin(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
}

function mentions(proc: Proc, folder: string): boolean {
  return proc.argv.some((word) => word.includes(folder)) || (proc.cwd ?? '').startsWith(folder);
}

function endProcess(proc: Proc): void {
  if (proc.pid === process.pid) return;
  try {
    process.kill(proc.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
