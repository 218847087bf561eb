// One machine of the yard at work: `singlepoll start --lease URL` in it, its own way to the engine (a proxy that breaks), its cable.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Exit, type LaunchOptions, launch, PROGRAM, type Running } from '../support/cli.ts';
import type { BrokenLine } from '../support/proxy.ts';
import { until } from '../support/wait.ts';
import { nowMs } from './journal.ts';
import type { Deaf } from './verdict.ts';
import { childOf, familyOf, type Ground } from './yard.ts';

export const WORKER = fileURLToPath(new URL('worker.cjs', import.meta.url));

export interface Started {
  /** Of the supervisor, as the yard sees it. */
  readonly pid: number;
  readonly running: Running;
  stderr(): string;
  ended(): Exit | null;
  waitFor(pattern: RegExp, ms?: number): Promise<void>;
  exit(ms?: number): Promise<Exit>;
  signal(name: NodeJS.Signals): void;
  /** It and all below it. */
  family(): number[];
}

export interface Machine {
  readonly name: string;
  readonly ground: Ground;
  /** Its way to the engine. */
  readonly line: BrokenLine;
  readonly env: Record<string, string>;
  /** The last that was started. */
  readonly run: Started;
  /** `singlepoll start --lease … ARGS -- WORKER`. */
  start(options?: StartOptions): Promise<Started>;
  /** All that what was started there has said. */
  said(): string;
  /** The cable. Nobody is told. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** SIGSTOP, of the supervisor alone or of all that runs there. */
  freeze(what: 'supervisor' | 'all'): Promise<void>;
  thaw(): void;
  /** SIGKILL of everything that runs there. */
  crash(): void;
}

export interface StartOptions {
  readonly args?: readonly string[];
  readonly worker?: readonly string[];
  readonly env?: Record<string, string>;
  /** Without a lease. */
  readonly alone?: boolean;
  /** Another program in singlepoll's place; the worker's command is put behind it. Its worker polls without a door. */
  readonly rival?: readonly string[];
}

export interface MachineOptions {
  readonly name: string;
  readonly ground: Ground;
  readonly line: BrokenLine;
  readonly leaseUrl: string;
  readonly profile: string;
  readonly dir: string;
  readonly env: Record<string, string>;
  /** Is told of every while in which nothing reaches its polls. */
  readonly deaf: Deaf[];
}

export function createMachine(options: MachineOptions): Machine {
  const { name, ground, line, dir, deaf } = options;
  const home = join(dir, name);
  for (const folder of ['', 'home', 'project']) mkdirSync(join(home, folder), { recursive: true });
  mkdirSync(join(home, 'state'), { mode: 0o700 });
  const env = {
    ...options.env,
    HOME: join(home, 'home'),
    SINGLEPOLL_DIR: join(home, 'state'),
    CHAOS_NAME: name,
  };
  const cwd = join(home, 'project');
  let run: Started | null = null;
  let frozen: number[] = [];
  let doorless = false;
  let deafSince: number | null = null;

  const deafen = () => {
    deafSince ??= nowMs();
  };
  const hear = () => {
    if (deafSince !== null) deaf.push({ machine: name, fromMs: deafSince, toMs: nowMs() });
    deafSince = null;
  };

  async function spawn(command: readonly string[], more: Record<string, string> = {}): Promise<Started> {
    const [file, ...args] = ground.enter(command);
    const launched: LaunchOptions = { cwd, env: { ...env, ...more } };
    const running = launch('setpriv', ['--pdeathsig', 'KILL', '--', file, ...args], launched);
    const pid = await until(`${command[0]} to run in ${name}`, () => childOf(running.pid), {
      everyMs: 5,
      seen: running.seen,
    });
    return {
      pid,
      running,
      stderr: running.stderr,
      ended: running.ended,
      waitFor: (pattern, ms) => running.waitFor(pattern, ms),
      exit: (ms) => running.exit(ms),
      signal: (signal) => void process.kill(pid, signal),
      family: () => familyOf(pid),
    };
  }

  const self: Machine = {
    name,
    ground,
    line,
    env,
    get run() {
      if (!run) throw new Error(`nothing was started on ${name}`);
      return run;
    },
    async start({
      args = [],
      worker = [process.execPath, WORKER],
      env: more = {},
      alone = false,
      rival,
    } = {}) {
      doorless = rival !== undefined;
      if (rival) {
        run = await spawn([...rival, ...worker], more);
        return run;
      }
      const lease = alone ? [] : ['--lease', 'env:CHAOS_LEASE', '--lease-profile', options.profile];
      const command = [process.execPath, '--', PROGRAM, 'start', ...lease, ...args, '--', ...worker];
      run = await spawn(command, { CHAOS_LEASE: options.leaseUrl, ...more });
      return run;
    },
    said: () => `--- ${name}\n${run?.running.seen() ?? 'nothing was started'}`,
    async cut() {
      await ground.cut();
      deafen();
    },
    async mend() {
      hear();
      await ground.mend();
    },
    async freeze(what) {
      frozen = what === 'all' ? ground.pids() : [self.run.pid];
      // The supervisor last: it would notice that its worker stands still.
      for (const pid of frozen.toReversed()) process.kill(pid, 'SIGSTOP');
      if (what === 'all' || !doorless) deafen();
    },
    thaw() {
      hear();
      for (const pid of frozen) signalIfThere(pid, 'SIGCONT');
      // nsenter stops along with what it waits for (its WUNTRACED), and has to be woken by itself.
      signalIfThere(self.run.running.pid, 'SIGCONT');
      frozen = [];
    },
    crash() {
      for (const pid of ground.pids()) signalIfThere(pid, 'SIGKILL');
    },
  };
  return self;
}

export function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
