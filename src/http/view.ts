/** Decides what `/readyz` answers and how much of the status strangers may see. PURE. */
import type { Summary } from '../supervisor/history.ts';
import type { RunState, StatusDocument } from '../supervisor/status.ts';

export interface Readiness {
  readonly ready: boolean;
  /** The reason for people; machines read the code. */
  readonly why: string;
}

/** `readyInStandby`: a platform that starts the new copy first stops the old one only when the new one is ready. */
export function readiness(
  { state, worker }: Pick<StatusDocument, 'state' | 'worker'>,
  readyInStandby: boolean,
): Readiness {
  const runs = (worker?.pid ?? null) !== null;
  const answers: Readonly<Record<RunState, Readiness>> = {
    polling: { ready: true, why: 'the worker polls' },
    standby: { ready: readyInStandby, why: 'standing by: another copy may poll' },
    disabled: { ready: runs, why: `deploy mode: ${runs ? 'the worker runs' : 'no worker runs'}` },
    starting: { ready: false, why: 'starting' },
    backoff: { ready: false, why: 'the worker has ended; waiting to start it again' },
    stopping: { ready: false, why: 'stopping' },
    stopped: { ready: false, why: 'stopped' },
  };
  return answers[state];
}

/** The status for a page beyond loopback: arguments may hold secrets of any form, and folders reveal details of the machine. */
export function discreet(doc: StatusDocument): StatusDocument {
  const { supervisor, worker, strays, alerts } = doc;
  const command = supervisor?.command.slice(0, 1).map(programName) ?? [];
  return {
    ...doc,
    supervisor: supervisor && { ...supervisor, command, cwd: null },
    worker: worker && {
      ...worker,
      tree: worker.tree.map((it) => ({ ...it, command: programName(it.command) })),
    },
    strays: strays.map((it) => ({ ...it, command: programName(it.command), cwd: null })),
    log: null,
    alerts: alerts && { ...alerts, lastError: null },
  };
}

/** Cuts causes at the colon, as the rest may name commands and addresses. */
export function discreetDay(day: Summary): Summary {
  return { ...day, spans: day.spans.map((it) => ({ ...it, cause: it.cause?.replace(/:.*/s, '') ?? null })) };
}

/** `/usr/bin/python3 bot.py --key=x` → `python3 …`. */
const programName = (command: string): string =>
  command
    .trim()
    .replace(/^\S*\//, '')
    .replace(/\s.*/s, ' …');
