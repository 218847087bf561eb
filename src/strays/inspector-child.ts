/**
 * The inspector's child, a program of its own (dist/inspector-child.js), so that a read that hangs blocks nothing else. It writes
 * one line of JSON with the facts of each process. It gets the token on standard input and ends with its input.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { FromChild, Sought } from './inspector.ts';
import { createProcReader, isInProject, matchPatterns } from './proc-reader.ts';

function tell(line: FromChild): void {
  // Written synchronously, so that the last line shows how far the child came.
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
}

function serve(greeting: Sought): (pids: readonly number[]) => void {
  const read = createProcReader(greeting);
  const patterns = greeting.patterns.map((source) => new RegExp(source));

  function inspect(pid: number): void {
    const details = read(pid);
    const found = details && matchPatterns(details, patterns);
    if (!details || !found) tell({ pid, details: details ?? undefined });
    else if (found === 'gave up') tell({ pid, details: { ...details, gaveUp: true } });
    else {
      const placed = (inScope: boolean | null) => ({ ...details, match: { pattern: found.source, inScope } });
      // Sent before a path of the process is looked at, as the child may hang there.
      tell({ pid, details: placed(null), goesOn: true });
      const isNear = greeting.scope === 'any' || isInProject(pid, details, greeting.projectDir);
      tell({ pid, details: placed(isNear) });
    }
  }

  return (pids) => {
    pids.forEach(inspect);
    tell({ done: true });
  };
}

let handle: ((pids: readonly number[]) => void) | null = null;
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const message: unknown = JSON.parse(line);
    if (handle) return handle(message as number[]);
    handle = serve(message as Sought);
    tell({ ready: true });
  })
  .on('close', () => process.exit(0));
