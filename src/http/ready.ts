/** What `/readyz` answers. Pure. */
import type { RunState, StatusDocument } from '../core/status.ts';

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
