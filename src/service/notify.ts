/**
 * The supervisor as a service of systemd (sd_notify(3), Type=notify): READY once it polls or stands by, STATUS when it changes, WATCHDOG
 * fed by polls (core/pulse.ts), STOPPING at the end. Loaded only where NOTIFY_SOCKET is set.
 *
 * Node has no Unix datagram sockets, so systemd-notify sends: a process of 3 ms at a change and once a minute. It waits until systemd has
 * read the message, so it is not gone before systemd has looked up whose it was; as an ordinary user it can't speak in our name, hence
 * NotifyAccess=all in the unit. RELOADING is never said: the restart of a worker may fail, and a unit that reloads for ever can't be restarted.
 */
import { execFile } from 'node:child_process';
import { createPulse, type Seen } from '../core/pulse.ts';
import type { StatusDocument } from '../core/status.ts';
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import { createListeners } from '../supervise/listeners.ts';
import { toolEnvironment } from '../tools.ts';
import { statusLine } from './status-line.ts';

export interface View {
  seen(): Seen;
  status(): StatusDocument;
  /** Calls back soon after something may have changed; returns the way to leave. */
  listen(listener: () => void): () => void;
}

export interface Service {
  /** Before there is a run: it stands by for the lock. */
  standsBy(): void;
  follow(view: View): void;
  /** It has begun to end. */
  stopping(): void;
  /** Resolves when all of it has left, or after a second. */
  end(): Promise<void>;
}

export interface ServiceOptions {
  readonly report: Report;
  readonly deafAfterMs: number;
}

type Message = Readonly<Record<string, string>>;

const STATUS_EVERY_MS = 60_000;
/** Changes that come faster are told together. */
const PAUSE_MS = 1_000;
const SEND_MS = 10_000;
const END_MS = 1_000;
/** systemd advises to feed at half the time at the latest. */
const TICKS_PER_TIMEOUT = 5;

/** Takes the service manager's variables out of `env`: neither the worker nor a tool may speak for us. */
export function openService(env: NodeJS.ProcessEnv, { report, deafAfterMs }: ServiceOptions): Service | null {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  if (!socket) return null;
  const watchdogMs = !pid || Number(pid) === process.pid ? Math.floor(Number(usec ?? 0) / 1_000) : 0;
  const sender = createSender(socket, (problem) =>
    report.line('systemd', `systemd is not told how it goes: ${problem}`, 'warn'),
  );
  const leave: (() => void)[] = [];
  let isReady = false;
  let ending = false;
  let shown = '';

  const say = (line: string, more: Message = {}) => {
    // Who is told that we are ready is told what that means, also where the tick of the watchdog has said it already.
    const changed = line === shown && !more.READY ? {} : { STATUS: line };
    shown = line;
    sender.send({ ...changed, ...more });
  };

  function follow(view: View): void {
    const pulse = createPulse(Math.max(deafAfterMs, watchdogMs / 2), performance.now());
    let starved = false;

    const look = (): void => {
      if (ending) return;
      const status = view.status();
      const ready = !isReady && ['polling', 'standby', 'disabled'].includes(status.state) && settled(view);
      isReady ||= ready;
      say(statusLine(status), ready ? { READY: '1' } : {});
    };
    const tick = (): void => {
      if (ending) return;
      const fed = watchdogMs > 0 && pulse.beats(view.seen(), performance.now());
      if (watchdogMs > 0 && isReady && !fed && !starved) {
        report.line(
          'systemd',
          `nobody has polled for too long: the watchdog is not fed any more, and systemd starts singlepoll anew within ${duration(watchdogMs)}`,
          'error',
        );
      }
      starved = !fed;
      say(statusLine(view.status()), fed ? { WATCHDOG: '1' } : {});
    };
    const everyMs = watchdogMs > 0 ? watchdogMs / TICKS_PER_TIMEOUT : STATUS_EVERY_MS;
    const ticks = createListeners<[]>('what is told to systemd', report);
    ticks.add(tick);
    const timer = setInterval(ticks.tell, Math.max(100, Math.min(STATUS_EVERY_MS, everyMs))).unref();
    leave.push(() => clearInterval(timer), view.listen(look));
    look();
  }

  return {
    standsBy() {
      isReady = true;
      say('stands by until the present supervisor leaves', { READY: '1' });
      if (watchdogMs === 0) return;
      // The loop that waits for the lock is this one: it lives as long as the timer.
      const timer = setInterval(() => sender.send({ WATCHDOG: '1' }), watchdogMs / TICKS_PER_TIMEOUT).unref();
      leave.push(() => clearInterval(timer));
    },
    follow(view) {
      for (const it of leave.splice(0)) it();
      follow(view);
    },
    stopping,
    async end() {
      stopping();
      await sender.drained(END_MS);
    },
  };

  function stopping(): void {
    if (ending) return;
    ending = true;
    for (const it of leave.splice(0)) it();
    say('stopping', { STOPPING: '1' });
  }
}

/** In deploy mode a worker that has only begun is `disabled` already. */
function settled(view: View): boolean {
  return ['polling', 'standby'].includes(view.seen().phase);
}

interface Sender {
  /** Later words of the same name replace those that have not gone yet. */
  send(message: Message): void;
  drained(ms: number): Promise<void>;
}

function createSender(socket: string, onProblem: (problem: string) => void): Sender {
  const env = { ...toolEnvironment({ PATH: process.env.PATH }), NOTIFY_SOCKET: socket };
  let waiting: Record<string, string> = {};
  let busy = false;
  let pause: NodeJS.Timeout | null = null;
  let failed = false;
  let freed = (): void => {};

  function go(): void {
    const words = Object.entries(waiting).map(([name, value]) => `${name}=${value}`);
    if (busy || words.length === 0) return;
    if (pause !== null) clearTimeout(pause);
    pause = null;
    waiting = {};
    busy = true;
    const left = (error: (Error & { code?: unknown }) | null, _out: string, stderr: string) => {
      busy = false;
      if (error && !failed) {
        failed = true;
        const missing = error.code === 'ENOENT' ? 'there is no systemd-notify here' : null;
        onProblem(missing ?? (stderr.trim().split('\n')[0] || error.message));
      }
      if (Object.keys(waiting).length === 0) freed();
      plan();
    };
    execFile('systemd-notify', words, { env, cwd: '/', timeout: SEND_MS, killSignal: 'SIGKILL' }, left);
  }

  /** A status alone waits for others like it. */
  function plan(): void {
    const isHurried = Object.keys(waiting).some((name) => name !== 'STATUS');
    if (isHurried) go();
    else if (waiting.STATUS !== undefined) pause ??= setTimeout(go, PAUSE_MS).unref();
  }

  return {
    send(message) {
      Object.assign(waiting, message);
      plan();
    },
    drained(ms) {
      if (!busy && Object.keys(waiting).length === 0) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        freed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
  };
}
