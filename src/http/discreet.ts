/**
 * The status as strangers may see it, where the page is not bound to loopback: arguments of commands may hold secrets of any
 * shape, and folders tell of the machine. Pure.
 */
import type { StatusDocument } from '../core/status.ts';

export function discreet(doc: StatusDocument): StatusDocument {
  const { supervisor, worker } = doc;
  return {
    ...doc,
    supervisor: supervisor && {
      ...supervisor,
      command: supervisor.command.length === 0 ? [] : [programName(supervisor.command[0] ?? '')],
      cwd: null,
    },
    worker: worker && {
      ...worker,
      tree: worker.tree.map((it) => ({ ...it, command: programName(it.command) })),
    },
    strays: doc.strays.map((it) => ({ ...it, command: programName(it.command), cwd: null })),
    log: null,
    alerts: doc.alerts && { ...doc.alerts, lastError: null },
  };
}

/** `/usr/bin/python3 bot.py --key=x` → `python3 …`. */
function programName(command: string): string {
  const [program = '', ...rest] = command.trim().split(/\s+/);
  const name = program.slice(program.lastIndexOf('/') + 1);
  return rest.length === 0 ? name : `${name} …`;
}
