/** Decides what `/readyz` answers and how much of the status strangers may see. PURE. */
import type { RunState, StatusDocument } from '../supervisor/status.ts';

export interface Readiness {
  readonly ready: boolean;
  /** For people; machines read the code. */
  readonly why: string;
}

const NOT_YET: Readonly<Record<Exclude<RunState, 'polling' | 'standby' | 'disabled'>, string>> = {
  starting: 'starting',
  backoff: 'the worker has ended; waiting to start it again',
  stopping: 'stopping',
  stopped: 'stopped',
};

/** `readyInStandby`: a platform that starts the new copy first waits for it to be ready before it stops the old one. */
export function readiness(doc: Pick<StatusDocument, 'state' | 'worker'>, readyInStandby: boolean): Readiness {
  const { state, worker } = doc;
  switch (state) {
    case 'polling':
      return { ready: true, why: 'the worker polls' };
    case 'standby':
      return { ready: readyInStandby, why: 'standing by: another copy may poll' };
    case 'disabled': {
      const alive = (worker?.pid ?? null) !== null;
      return { ready: alive, why: `deploy mode: ${alive ? 'the worker runs' : 'no worker runs'}` };
    }
    default:
      return { ready: false, why: NOT_YET[state] };
  }
}

/** The status for a page that is not bound to loopback: arguments may hold secrets of any shape, and folders tell of the machine. */
export function discreet(doc: StatusDocument): StatusDocument {
  const { supervisor, worker, strays, alerts } = doc;
  const bare = <T extends { readonly command: string }>(it: T): T => ({
    ...it,
    command: programName(it.command),
  });
  return {
    ...doc,
    supervisor: supervisor && {
      ...supervisor,
      command: supervisor.command.slice(0, 1).map(programName),
      cwd: null,
    },
    worker: worker && { ...worker, tree: worker.tree.map(bare) },
    strays: strays.map((it) => ({ ...bare(it), cwd: null })),
    log: null,
    alerts: alerts && { ...alerts, lastError: null },
  };
}

/** `/usr/bin/python3 bot.py --key=x` → `python3 …`. */
function programName(command: string): string {
  const [program = '', ...rest] = command.trim().split(/\s+/);
  const name = program.slice(program.lastIndexOf('/') + 1);
  return rest.length === 0 ? name : `${name} …`;
}
