/** What a simulated supervisor sees the machine with and acts on it with, in place of /proc and kill(2). */
import type { LookOptions, StrayFinder } from '../../src/strays/finder.ts';
import { type Evidence, isStopped, survey } from '../../src/strays/grade.ts';
import type { Processes } from '../../src/strays/processes.ts';
import type { Hands } from '../../src/strays/stop.ts';
import type { Checker } from './check.ts';
import type { Clock } from './clock.ts';
import { BOT_ID, type Machine } from './machine.ts';
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

/** The processes of the simulated machine; what is new takes the inspector a while now and then. */
export function processesOf({ machine, random, pause }: Instruments): Processes {
  return {
    async snapshot() {
      if (random.chance(0.1)) await pause(random.int(1, 40));
      return machine.snapshot();
    },
    quick: machine.snapshot,
  };
}

/**
 * A finder whose every look is given what an experiment would show at that moment: a poller reacts when it is poked, and
 * whoever reacted once is remembered.
 */
export function withEvidence(
  finder: StrayFinder,
  worker: () => NonNullable<LookOptions['worker']> | null,
  { machine, check, sim }: Instruments,
): StrayFinder {
  const reacted = new Set<string>();
  const evidence: Evidence = {
    get connected() {
      const bodies = machine.living().filter(machine.connected);
      return new Set(bodies.map(({ pid }) => pid));
    },
    /** Asked for when a snapshot is graded: the same moment. */
    get reactions() {
      const found = new Map<number, 'once' | 'twice'>();
      for (const body of machine.living()) {
        const key = `${body.pid} ${body.startId}`;
        if (body.reacts && machine.connected(body)) reacted.add(key);
        if (reacted.has(key)) found.set(body.pid, body.env.holdsToken ? 'once' : 'twice');
      }
      const snapshot = machine.snapshot();
      const place = { botId: BOT_ID, selfPid: process.pid, worker: worker(), helperPids: new Set<number>() };
      const others = { uid: 1000, leftovers: new Set<number>(), connected: new Set<number>() };
      const graded = survey(snapshot, { ...place, ...others, reactions: found });
      check.looked(sim(), new Set(graded.filter((it) => isStopped(it.grade)).map((it) => it.proc.pid)));
      return found;
    },
  };
  return {
    ...finder,
    look: (options) => finder.look({ ...options, evidence }),
    quickLook: (options) => finder.quickLook({ ...options, evidence }),
  };
}
