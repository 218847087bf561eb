// One machine of the yard at work: `singlepoll start --lease URL` in it, its own way to the engine (a proxy that breaks), its cable.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, PROGRAM, type Running } from '../support/cli.ts';
import type { BrokenLine } from '../support/proxy.ts';
import { until } from '../support/wait.ts';
import { nowMs } from './journal.ts';
import type { Deaf } from './verdict.ts';
import { childOf, type Ground } from './yard.ts';

export const WORKER = fileURLToPath(new URL('worker.cjs', import.meta.url));

export interface StartOptions {
  readonly args?: readonly string[];
  readonly worker?: readonly string[];
  readonly env?: Record<string, string>;
}

export interface MachineOptions {
  readonly name: string;
  readonly ground: Ground;
  /** Its way to the engine. */
  readonly line: BrokenLine;
  readonly leaseUrl: string;
  readonly profile: string;
  readonly dir: string;
  readonly env: Record<string, string>;
  /** Is told of every while in which nothing reaches its polls. */
  readonly deaf: Deaf[];
}

export type Machine = ReturnType<typeof createMachine>;

export function createMachine(options: MachineOptions) {
  const { name, ground, line, dir, deaf } = options;
  const home = join(dir, name);
  for (const folder of ['', 'home', 'project']) mkdirSync(join(home, folder), { recursive: true });
  mkdirSync(join(home, 'state'), { mode: 0o700 });
  const cwd = join(home, 'project');
  const ownEnv = { HOME: join(home, 'home'), SINGLEPOLL_DIR: join(home, 'state'), CHAOS_NAME: name };
  /** The last that was started; its pid as the yard sees it. */
  let started: { readonly pid: number; readonly running: Running } | null = null;
  let frozen: number[] = [];
  let deafSince: number | null = null;

  const last = () => {
    if (!started) throw new Error(`nothing was started on ${name}`);
    return started;
  };
  const deafen = () => {
    deafSince ??= nowMs();
  };
  const hear = () => {
    if (deafSince !== null) deaf.push({ machine: name, fromMs: deafSince, toMs: nowMs() });
    deafSince = null;
  };

  return {
    name,
    ground,
    line,
    /** What was started last. */
    get run() {
      const { pid, running } = last();
      return { ...running, pid, signal: (signal: NodeJS.Signals) => void process.kill(pid, signal) };
    },
    /** `singlepoll start --lease … ARGS -- WORKER`. */
    async start(what: StartOptions = {}): Promise<void> {
      const { args: words = [], worker = [process.execPath, WORKER] } = what;
      const lease = ['--lease', 'env:CHAOS_LEASE', '--lease-profile', options.profile];
      const program = [process.execPath, '--', PROGRAM, 'start', ...lease, ...words, '--'];
      const env = { ...options.env, ...ownEnv, CHAOS_LEASE: options.leaseUrl, ...what.env };
      const [file, ...args] = ground.enter([...program, ...worker]);
      const running = launch('setpriv', ['--pdeathsig', 'KILL', '--', file, ...args], { cwd, env });
      const child = () => childOf(running.pid);
      const pid = await until(`${program[0]} to run in ${name}`, child, { everyMs: 5, seen: running.seen });
      started = { pid, running };
    },
    /** All that what was started there has said. */
    said: () => `--- ${name}\n${started?.running.seen() ?? 'nothing was started'}`,
    /** The cable. Nobody is told. */
    async cut() {
      await ground.cut();
      deafen();
    },
    async mend() {
      hear();
      await ground.mend();
    },
    /** SIGSTOP, of the supervisor alone or of all that runs there. */
    freeze(what: 'supervisor' | 'all') {
      frozen = what === 'all' ? ground.pids() : [last().pid];
      // The supervisor last: it would notice that its worker stands still.
      for (const pid of frozen.toReversed()) signalIfThere(pid, 'SIGSTOP');
      deafen();
    },
    thaw() {
      hear();
      // nsenter stops along with what it waits for (its WUNTRACED), and has to be woken by itself.
      for (const pid of [...frozen, last().running.pid]) signalIfThere(pid, 'SIGCONT');
      frozen = [];
    },
    /** SIGKILL of everything that runs there. */
    crash() {
      for (const pid of ground.pids()) signalIfThere(pid, 'SIGKILL');
    },
  };
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
