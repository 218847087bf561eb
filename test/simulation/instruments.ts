/** What a simulated supervisor sees the machine with and acts on it with, in place of /proc and kill(2). */
import type { StrayFinder, Survey } from '../../src/strays/finder.ts';
import { isStopped } from '../../src/strays/grade.ts';
import type { Proc, Snapshot } from '../../src/strays/process.ts';
import { type Processes, UNKNOWN } from '../../src/strays/processes.ts';
import type { Hands } from '../../src/strays/stop.ts';
import type { Checker } from './check.ts';
import type { Clock } from './clock.ts';
import type { Machine } from './machine.ts';
import type { Random } from './random.ts';
import type { Sim } from './sim.ts';

export interface Instruments {
  readonly clock: Clock;
  readonly random: Random;
  readonly machine: Machine;
  readonly check: Checker;
  /** Waits in virtual time; never ends in a supervisor that was killed. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
  /** Whose they are. */
  sim(): Sim;
}

/** Signals, with the judge as a witness. */
export function handsOf(by: 'sweep' | 'tree', { machine, check, clock, pause, sim }: Instruments): Hands {
  return {
    look(pid) {
      const body = machine.bodies.get(pid);
      return body ? { startId: body.startId, state: body.state } : null;
    },
    kill(pid, signal) {
      const body = machine.bodies.get(pid);
      if (body) check.signalled(sim(), by, body, signal);
      machine.signal(pid, signal);
    },
    nowMs: clock.now,
    pause,
  };
}

/** The processes of the simulated machine; what is new takes the inspector a while now and then, and is a stat line before. */
export function processesOf({
  machine,
  random,
  pause,
  check,
  sim,
}: Instruments): Pick<Processes, 'snapshot' | 'quick'> {
  const known = new Set<string>();
  const stats = new WeakMap<Proc, Proc>();

  function statOf(proc: Proc): Proc {
    const { pid, ppid, pgid, sid, startId, state, comm, tty } = proc;
    const stat = stats.get(proc) ?? {
      ...{ pid, ppid, pgid, sid, startId, state, comm, tty },
      ...UNKNOWN,
    };
    stats.set(proc, stat);
    return stat;
  }

  return {
    async snapshot() {
      if (random.chance(0.1)) await pause(random.int(1, 40));
      const snapshot = machine.snapshot();
      for (const { startId } of snapshot.procs.values()) known.add(startId);
      check.inspected(sim(), known);
      return snapshot;
    },
    quick(): Snapshot {
      const snapshot = machine.snapshot();
      const procs = new Map<number, Proc>();
      for (const [pid, proc] of snapshot.procs) procs.set(pid, known.has(proc.startId) ? proc : statOf(proc));
      return { ...snapshot, procs };
    },
  };
}

/** The finder, with the judge as a witness of each look and each stop. */
export function witnessed(finder: StrayFinder, { clock, check, sim }: Instruments): StrayFinder {
  const shown = ({ strays }: Survey) =>
    new Set(strays.filter(({ grade }) => isStopped(grade)).map(({ startId }) => startId));
  return {
    ...finder,
    async look(options) {
      const atMs = clock.now();
      const survey = await finder.look(options);
      check.looked(sim(), 'all', shown(survey), atMs);
      return survey;
    },
    quickLook(options) {
      const survey = finder.quickLook(options);
      check.looked(sim(), 'stat lines', shown(survey), clock.now());
      return survey;
    },
    async stop(strays, options) {
      check.stopBegan(sim());
      const result = await finder.stop(strays, options);
      check.stopEnded(sim(), new Set(strays.map(({ startId }) => startId)));
      return result;
    },
  };
}
