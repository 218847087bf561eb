/** What a simulated supervisor sees the machine with and acts on it with, in place of /proc and kill(2). */
import { surroundings } from '../../src/core/family.ts';
import { isStopped, survey } from '../../src/core/grade.ts';
import { identity, type Lookout } from '../../src/machine/lookout.ts';
import type { Hands } from '../../src/machine/stop.ts';
import type { Checker } from './check.ts';
import type { Clock } from './clock.ts';
import { STRAY_PATTERN } from './lives.ts';
import { BOT_ID, type Machine, PROJECT } from './machine.ts';
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

/** Looks as machine/lookout.ts does, at the simulated machine, and grades with the real rules. */
export function lookoutOf({ machine, check, random, pause, sim }: Instruments): Lookout {
  const lookout: Lookout = {
    refresh: () => pause(random.chance(0.9) ? 0 : random.int(1, 40)),
    list(names) {
      const snapshot = machine.snapshot();
      const place = { botId: BOT_ID, selfPid: process.pid, ...names };
      return { snapshot, place, around: surroundings(snapshot, place) };
    },
    see(names, _fresh, proven = new Set()) {
      const { snapshot, place, around } = lookout.list(names);
      const connected = new Set<number>();
      const envFiles = new Map<number, { token: 'ours'; name: string }>();
      for (const body of machine.bodies.values()) {
        if (body.state === 'Z') continue;
        if (body.envFile) envFiles.set(body.pid, { token: 'ours', name: '.env' });
        if (!body.env.holdsToken && !body.envFile) continue;
        if (machine.connected(body) || proven.has(identity(body))) connected.add(body.pid);
      }
      const facts = {
        ...place,
        uid: 1000,
        patterns: [STRAY_PATTERN],
        scope: 'project' as const,
        projectDir: PROJECT,
        envFiles,
        connected,
        elsewhere: new Set<number>(),
      };
      const graded = survey(snapshot, facts, around);
      check.looked(sim(), new Set(graded.filter((it) => isStopped(it.grade)).map((it) => it.proc.pid)));
      return { snapshot, place, around, graded };
    },
    connected(pids) {
      const found = new Set<number>();
      for (const pid of pids) {
        const body = machine.bodies.get(pid);
        if (!body || body.state === 'Z' || !machine.connected(body)) continue;
        found.add(pid);
        check.sawConnection(body);
      }
      return found;
    },
  };
  return lookout;
}
