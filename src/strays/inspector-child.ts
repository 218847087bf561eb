/**
 * The inspector's child, a program of its own (dist/inspector-child.js), so that a read that hangs blocks nothing else. It writes
 * one line of JSON with the facts of each process. It gets the token on standard input and ends with its input.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { FromChild, Sought, ToChild } from './inspector.ts';
import { findManager, linuxEdges } from './managers.ts';
import { createProcReader, isInProject, matchPatterns } from './proc-reader.ts';
import type { ProcDetails } from './process.ts';

/** How often the child gives a sign of life while it waits for a service manager. */
const ALIVE_EVERY_MS = 250;
const FULL_PAUSE_MS = 1;

function tell(...lines: readonly FromChild[]): void {
  // Written synchronously, so that the last line shows how far the child came.
  let rest = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      // The pipe is full, as the supervisor is busy. A write doesn't wait for that once execa has touched process.stdout.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PAUSE_MS);
    }
  }
}

function serve(greeting: Sought): (request: ToChild) => Promise<void> {
  const read = createProcReader(greeting);
  const patterns = greeting.patterns.map((source) => new RegExp(source));

  function inspect(pids: readonly number[]): void {
    const lines: FromChild[] = [];
    const present = new Map<number, ProcDetails>();
    for (const pid of pids) {
      const its = read(pid);
      if (its) present.set(pid, its);
      else lines.push({ pid });
    }
    const found = matchPatterns([...present.values()], patterns);
    for (const [pid, its] of present) {
      const pattern = found.shift();
      if (!pattern) lines.push({ pid, value: its });
      else if (pattern === 'gave up') lines.push({ pid, value: { ...its, gaveUp: true } });
      else {
        const placed = (inScope: boolean | null) => ({ ...its, match: { pattern: pattern.source, inScope } });
        // Sent before a path of the process is looked at, as the child may hang there.
        tell(...lines.splice(0), { pid, value: placed(null), goesOn: true });
        const isNear = greeting.scope === 'any' || isInProject(pid, its, greeting.projectDir);
        lines.push({ pid, value: placed(isNear) });
      }
    }
    tell(...lines);
  }

  return async (request) => {
    if (request.do === 'manager') {
      const { line, chunks } = request;
      const alive = setInterval(() => tell({ pid: 0 }), ALIVE_EVERY_MS);
      const value = await findManager(line, linuxEdges()).catch(() => null);
      clearInterval(alive);
      for (const pid of chunks.flat()) tell({ pid, value });
    } else for (const pids of request.chunks) inspect(pids);
    tell({ done: true });
  };
}

let handle: ((request: ToChild) => Promise<void>) | null = null;
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const message: unknown = JSON.parse(line);
    if (handle) return void handle(message as ToChild);
    handle = serve(message as Sought);
    tell({ ready: true });
  })
  .on('close', () => process.exit(0));
