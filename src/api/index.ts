/**
 * singlepoll from code. The supervisor stays the program that it is, a process of its own (it takes over signals and output, and
 * blocks for nobody), which belongs to the process that called: it ends its worker and itself when that one goes, however it goes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { EXIT, SinglepollError } from '../errors.ts';
import { askToStop, LINK_FD, readLink, STARTER_VARIABLE } from '../service/link.ts';
import { askControl, NoAnswer, NoSupervisor, statusAt, WentAway } from '../supervisor/control.ts';
import { bareStatus, type RunState, type StatusDocument } from '../supervisor/status.ts';
import { type StartOptions, startWords } from './options.ts';

export type { RunState, StatusDocument } from '../supervisor/status.ts';
export type { StartOptions, Time } from './options.ts';
export { SinglepollError };

/** How a supervisor ended. */
export interface End {
  /** As the exit codes of `singlepoll start`: 0 is asked to stop and stopped. */
  readonly code: number;
  readonly reason: string;
}

/** A supervisor that runs. */
export interface Supervisor {
  /** Its process id. */
  readonly pid: number;
  /** As it was last told. */
  readonly state: RunState;
  /** What `singlepoll status --json` shows. */
  status(): Promise<StatusDocument>;
  /** Replaces the worker gracefully; resolves with the new worker's pid once it runs. */
  restart(): Promise<number>;
  /** Stops worker and supervisor; resolves once both are gone. */
  stop(): Promise<End>;
  /** Resolves when the supervisor has ended, for whatever reason. Never rejects. */
  readonly ended: Promise<End>;
}

/** Which bot `status()` means. */
export interface Which {
  /** Id or @username; without it the bot whose token is configured in `cwd`. */
  readonly bot?: number | string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

const PROGRAM = fileURLToPath(new URL('../bin/singlepoll.js', import.meta.url));
const STATUS_WAIT_MS = 5_000;
const RESTART_WAIT_MS = 10 * 60_000;

/**
 * Starts a supervisor and resolves once its worker has polled, or it stands by. Rejects with a SinglepollError that has the exit
 * code and hint of the command; nothing runs then.
 */
export async function start(options: StartOptions = {}): Promise<Supervisor> {
  const output = options.output ?? 'inherit';
  const child = spawn(process.execPath, ['--', PROGRAM, ...startWords(options)], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env, [STARTER_VARIABLE]: 'owner' },
    stdio: ['ignore', output, output, 'pipe'],
  });
  // Undefined where there was no process to start.
  const link = child.stdio[LINK_FD] as Duplex | undefined;
  let state: RunState = 'starting';
  let isStopAsked = false;
  let control: string | null = null;
  let told: { reason: string; hint?: string | undefined } | null = null;

  function move(next: RunState): void {
    // A state that arrives after stop() was called describes the time before it.
    if (next === state || (isStopAsked && next !== 'stopped')) return;
    state = next;
    options.onState?.(next);
  }

  const ended = new Promise<End>((resolve) => {
    child.on('close', (code, signal) => {
      move('stopped');
      const how = signal ? 128 + constants.signals[signal] : (code ?? EXIT.bug);
      resolve({
        code: how,
        reason: told?.reason ?? (signal ? `ended by ${signal}` : `ended with code ${how}`),
      });
    });
  });
  const supervisor: Supervisor = {
    pid: child.pid ?? -1,
    get state() {
      return state;
    },
    async status() {
      const doc = control === null ? null : await statusAt(control, STATUS_WAIT_MS).catch(translate);
      return doc ?? bareStatus(null, state);
    },
    async restart() {
      if (control === null || state === 'stopped') throw notThere(state);
      const order = askControl(control, { cmd: 'restart' }, { timeoutMs: RESTART_WAIT_MS });
      const answer = await order.catch(translate);
      if (!answer.ok) throw new SinglepollError(EXIT.otherPoller, `not restarted: ${answer.error}`);
      return Number(answer.pid);
    },
    async stop() {
      if (!isStopAsked && state !== 'stopped') {
        move('stopping');
        isStopAsked = true;
        if (link) askToStop(link);
      }
      return await ended;
    },
    ended,
  };

  return new Promise((resolve, reject) => {
    child.on('error', (error) => {
      // Not a failed kill(): that has a process.
      if (child.pid === undefined)
        reject(new SinglepollError(EXIT.config, `can't start singlepoll: ${error.message}`));
    });
    // After it was ready this changes nothing. A worker that ended well before it polled is none: as with `start -d`.
    void ended.then(({ code, reason }) =>
      reject(new SinglepollError(code || EXIT.unreachable, reason, told?.hint)),
    );
    if (!link) return;
    readLink(link, (message) => {
      if ('state' in message) move(message.state);
      else if ('control' in message) control = message.control;
      else if ('end' in message) told = message.end;
      else if ('ready' in message) resolve(supervisor);
    });
  });
}

/**
 * The status of a bot on this machine, whoever supervises it: what `singlepoll status --json` prints. Rejects with a
 * SinglepollError where that ends with an error.
 */
export async function status({ bot, cwd, env }: Which = {}): Promise<StatusDocument> {
  const words = ['status', '--json', ...(bot === undefined ? [] : [`--bot=${bot}`])];
  const child = spawn(process.execPath, ['--', PROGRAM, ...words], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  if (out !== '') return JSON.parse(out) as StatusDocument;
  const lines = err.trimEnd().split('\n');
  const hints = lines.filter((line) => line.startsWith('  → ')).map((line) => line.slice(4));
  const message = lines.filter((line) => !line.startsWith('  → ')).join('\n');
  throw new SinglepollError(
    code ?? EXIT.bug,
    message.replace(/^singlepoll: /, ''),
    hints.join('\n') || undefined,
  );
}

function translate(error: unknown): never {
  if (error instanceof NoSupervisor || error instanceof WentAway) throw notThere('stopped');
  if (error instanceof NoAnswer) throw new SinglepollError(EXIT.otherPoller, error.message);
  throw error;
}

function notThere(state: RunState): SinglepollError {
  return new SinglepollError(EXIT.notRunning, `no worker that could be replaced: ${state}`);
}
