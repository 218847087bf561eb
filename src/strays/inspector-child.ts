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

function tell(line: FromChild): void {
  // Written synchronously, so that the last line shows how far the child came.
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) rest = rest.subarray(writeSome(rest));
}

function writeSome(bytes: Buffer): number {
  try {
    return writeSync(1, bytes);
  } catch (error) {
    // The pipe is full while the supervisor is busy; it does not block once execa has touched process.stdout.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PAUSE_MS);
    return 0;
  }
}

function serve(greeting: Sought): (request: ToChild) => Promise<void> {
  const read = createProcReader(greeting);
  const patterns = greeting.patterns.map((source) => new RegExp(source));

  function inspect(pids: readonly number[]): void {
    const all: { readonly pid: number; readonly details: ProcDetails }[] = [];
    for (const pid of pids) {
      const details = read(pid);
      if (details && patterns.length > 0) all.push({ pid, details });
      tell({ pid, value: details ?? undefined, goesOn: details !== null && patterns.length > 0 });
    }
    const found = matchPatterns(
      all.map(({ details }) => details),
      patterns,
    );
    for (const [at, { pid, details }] of all.entries()) {
      const pattern = found[at];
      if (!pattern) continue;
      if (pattern === 'gave up') {
        tell({ pid, value: { ...details, gaveUp: true } });
        continue;
      }
      const placed = (inScope: boolean | null): ProcDetails => ({
        ...details,
        match: { pattern: pattern.source, inScope },
      });
      // Sent before a path of the process is looked at, as the child may hang there.
      tell({ pid, value: placed(null), goesOn: true });
      const isNear = greeting.scope === 'any' || isInProject(pid, details, greeting.projectDir);
      tell({ pid, value: placed(isNear) });
    }
  }

  return async (request) => {
    if (request.do === 'manager') {
      const { line, pids } = request;
      const alive = setInterval(() => tell({ pid: 0 }), ALIVE_EVERY_MS);
      const value = await findManager(line, linuxEdges()).catch(() => null);
      clearInterval(alive);
      for (const pid of pids) tell({ pid, value });
    } else inspect(request.pids);
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
