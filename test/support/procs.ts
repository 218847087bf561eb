/** Made-up processes for tests of pure decisions. */
import type { Proc, ProcEnv, Snapshot } from '../../src/strays/process.ts';
import { sumUp } from '../../src/strays/processes.ts';

/** An environment with nothing in it but what is given. */
export function env(facts: Partial<ProcEnv> = {}): ProcEnv {
  return { holdsToken: false, bot: null, run: null, spawn: null, deploy: false, marks: {}, ...facts };
}

/** A process; `command` is split at spaces. */
export function proc(pid: number, ppid: number, command: string, facts: Partial<Proc> = {}): Proc {
  const argv = command === '' ? [] : command.split(' ');
  return {
    pid,
    ppid,
    pgid: pid,
    sid: pid,
    uid: 1000,
    state: 'S',
    startId: `start-${pid}`,
    tty: 0,
    comm: (argv[0] ?? '').split('/').at(-1)!.slice(0, 15),
    argv,
    cwd: '/srv/bot',
    ...{ env: env(), tokenInArgs: false, otherBots: [], match: null },
    ...facts,
  };
}

export function snapshot(...procs: readonly Proc[]): Snapshot {
  return {
    procs: new Map(procs.map((one) => [one.pid, one])),
    uninspectable: sumUp([]),
  };
}
