/**
 * The inspector's child, a program of its own (dist/inspector-child.js): reads what strangers' processes are, one line of JSON for
 * each, so that whoever hangs here hangs alone. It is given the tokens on standard input and tells facts only. Ends with its input.
 */
import { readdirSync, writeSync } from 'node:fs';
import { socketInodes } from '../machine/tcp-table.ts';
import type { FromChild, Greeting, ToChild } from './inspector.ts';
import { linuxEdges } from './manager-search.ts';
import { findManager } from './managers.ts';
import { isInProject, matchPatterns } from './match.ts';
import { createProcReader, type ProcReader } from './proc-reader.ts';
import type { Proc } from './process.ts';

/** While a service manager is asked: we live, and wait for it. */
const ALIVE_EVERY_MS = 250;

function tell(line: FromChild): void {
  // Written at once, so that the last line tells how far we came.
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
}

function serve(greeting: Greeting): (request: ToChild) => Promise<void> {
  const reader = createProcReader({ tokens: greeting.tokens, botId: greeting.botId });
  const patterns = greeting.patterns.map(({ source, flags }) => new RegExp(source, flags));

  function inspect(pids: readonly number[]): void {
    for (const pid of pids) {
      const seen = reader.read(pid);
      if (!seen) {
        tell({ pid });
        continue;
      }
      const { stat, details } = seen;
      const { startId, imageId, comm } = stat;
      const match = matchPatterns(details, comm, patterns);
      if (match === null) tell({ pid, startId, imageId, details });
      else if (match === 'gave up') tell({ pid, startId, imageId, details, gaveUp: true });
      else {
        // Told before a path of it is looked at: that may be where we stay.
        const found = { pattern: match.pattern.source, names: match.names };
        tell({ pid, startId, imageId, details: { ...details, match: { ...found, inScope: null } } });
        const inScope = greeting.scope === 'any' || isInProject(pid, details, greeting.projectDir);
        tell({ pid, startId, imageId, details: { ...details, match: { ...found, inScope } } });
      }
    }
    reader.wipe();
  }

  async function handle(request: ToChild): Promise<void> {
    switch (request.do) {
      case 'inspect':
        inspect(request.pids);
        return tell({ done: null });
      case 'sockets':
        return tell({ done: findOwners(new Set(request.inodes), request.pids) });
      case 'manager': {
        const procs = readAll(reader, new Set(request.skip));
        // A process that has just ended is described by what was seen of it: its manager is still there.
        const [top, stray] = [request.top, request.stray].map((it) => procs.get(it.pid) ?? it) as [
          Proc,
          Proc,
        ];
        const alive = setInterval(() => tell({ at: 0 }), ALIVE_EVERY_MS);
        const found = await findManager(top, stray, linuxEdges(procs));
        clearInterval(alive);
        return tell({ done: found });
      }
    }
  }
  return handle;
}

/** How many processes would not show their descriptors. */
function findOwners(inodes: ReadonlySet<string>, pids: readonly number[]): number {
  let unseen = 0;
  for (const pid of pids) {
    tell({ at: pid });
    const sockets = socketInodes(pid);
    if (sockets === null) unseen += 1;
    const owned = [...new Set(sockets)].filter((inode) => inodes.has(inode)).map(Number);
    if (owned.length > 0) tell({ owner: pid, inodes: owned });
  }
  return unseen;
}

function readAll(reader: ProcReader, skip: ReadonlySet<number>): Map<number, Proc> {
  const procs = new Map<number, Proc>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || skip.has(pid)) continue;
    tell({ at: pid });
    const seen = reader.read(pid);
    if (!seen) continue;
    const { ppid, pgid, sid, state, startId, tty, comm } = seen.stat;
    procs.set(pid, { ...{ pid, ppid, pgid, sid, state, startId, tty, comm }, ...seen.details });
  }
  reader.wipe();
  return procs;
}

let handle: ((request: ToChild) => Promise<void>) | null = null;
let rest = '';
let last = Promise.resolve();
process.stdin.setEncoding('utf8');
process.stdin.on('data', (text: string) => {
  const lines = (rest + text).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const message: unknown = JSON.parse(line);
    if (handle) {
      const answer = handle;
      last = last.then(() => answer(message as ToChild));
      continue;
    }
    handle = serve(message as Greeting);
    tell({ ready: true });
  }
});
process.stdin.on('end', () => process.exit(0));
