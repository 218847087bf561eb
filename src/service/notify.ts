/**
 * The supervisor as a service of systemd (sd_notify(3), Type=notify): READY once it polls or stands by, STATUS when it changes,
 * WATCHDOG fed by polls, STOPPING at the end. Loaded only if NOTIFY_SOCKET is set.
 *
 * Node has no Unix datagram sockets, so systemd-notify sends: a process of 3 ms at a change and once a minute. It waits until
 * systemd has read the message, as systemd must still be able to look up the sender. An ordinary user's process can't send in our
 * name, hence NotifyAccess=all in the unit. RELOADING is never sent: the restart of a worker may fail, and a unit that reloads
 * for ever can't be restarted.
 */
import { EXIT, SinglepollError } from '../errors.ts';
import { createListeners } from '../output/listeners.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import type { Ending, Phase } from '../supervisor/table.ts';
import { runTool } from '../tools.ts';

interface View {
  seen(): Seen;
  status(): StatusDocument;
  /** Calls back soon after something may have changed; returns how to stop that. */
  listen(listener: () => void): () => void;
}

export type Service = NonNullable<ReturnType<typeof openService>>;

type Message = Readonly<Record<string, string>>;

const STATUS_EVERY_MS = 60_000;
/** Changes within this time are sent together. */
const PAUSE_MS = 1_000;
const SEND_MS = 10_000;
const END_MS = 1_000;
/** systemd recommends at least two per timeout. */
const TICKS_PER_TIMEOUT = 5;
const STATUS_MAX = 300;

export function openService(
  { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec = '0', WATCHDOG_PID: pid }: NodeJS.ProcessEnv,
  { report, deafAfterMs }: { readonly report: Report; readonly deafAfterMs: number },
) {
  if (!socket) return null;
  const watchdogMs = !pid || Number(pid) === process.pid ? Math.floor(Number(usec) / 1_000) : 0;
  const tickMs = watchdogMs > 0 ? Math.max(100, watchdogMs / TICKS_PER_TIMEOUT) : STATUS_EVERY_MS;
  const sender = createSender(socket, (problem) =>
    report.line('systemd', `systemd is not told how it goes: ${problem}`, 'warn'),
  );
  /** Once there is a run. */
  let view: View | null = null;
  let feeds = (): boolean => false;
  let [isReady, isStarved, isEnding] = [false, false, false];
  let shown = '';
  let stopListening = (): void => {};
  const ticks = createListeners<[]>('what is told to systemd', report);
  ticks.add(tick);
  const timer = setInterval(ticks.tell, Math.min(STATUS_EVERY_MS, tickMs)).unref();

  function say(line: string, more: Message = {}): void {
    // READY is sent with its status, even if a tick of the watchdog has sent the same status before.
    const isNew = line !== shown || more.READY !== undefined;
    shown = line;
    sender.send({ ...(isNew ? { STATUS: line } : {}), ...more });
  }

  function tick(): void {
    const isFed = watchdogMs > 0 && feeds();
    const next = `systemd starts singlepoll anew within ${duration(watchdogMs)}`;
    if (view && watchdogMs > 0 && isReady && !isFed && !isStarved)
      report.line(
        'systemd',
        `nobody has polled for too long: the watchdog is not fed any more, and ${next}`,
        'error',
      );
    isStarved = !isFed;
    say(view ? statusLine(view.status()) : shown, isFed ? { WATCHDOG: '1' } : {});
  }

  const service = {
    follow(it: View): void {
      view = it;
      const isFed = createWatchdog(Math.max(deafAfterMs, watchdogMs / 2), performance.now());
      feeds = () => isFed(it.seen(), performance.now());
      const look = (): void => {
        const now = it.status();
        // In deploy mode the state is `disabled` even before the worker has started, so the phase counts, too.
        const runs =
          /^(polling|standby|disabled)$/.test(now.state) && /^(polling|standby)$/.test(it.seen().phase);
        say(statusLine(now), runs && !isReady ? { READY: '1' } : {});
        isReady ||= runs;
      };
      stopListening = it.listen(look);
      look();
    },
    /** The run has begun to end; the reason becomes the last status. */
    stopping({ code, reason }: Ending): void {
      if (isEnding) return;
      isEnding = true;
      clearInterval(timer);
      stopListening();
      const text = code === EXIT.ok ? `stopped: ${reason}` : `${reason} (exit ${code})`;
      say(plain(text, STATUS_MAX), { STOPPING: '1' });
    },
    /** `why`: the error that ends the run early. Resolves when everything was sent, or after a second. */
    async end(why?: unknown): Promise<void> {
      const reason = why instanceof Error ? why.message : 'the start was given up';
      service.stopping({ code: why instanceof SinglepollError ? why.exitCode : EXIT.ok, reason });
      await sender.drained();
    },
  };
  return service;
}

/** Reports why a run never began: its configuration is wrong. */
export async function tellEnd(env: NodeJS.ProcessEnv, why: unknown): Promise<void> {
  const report = { line() {}, drained: async () => {} };
  await openService(env, { report, deafAfterMs: 0 })?.end(why);
}

/** The line that `systemctl status` shows; without a token. */
export function statusLine({ state, worker, polling, problems }: StatusDocument): string {
  const parts: string[] = [state === 'disabled' ? 'deploy mode, nobody polls' : state];
  if (worker?.pid) parts.push(`worker ${worker.pid}`);
  if (polling?.lastPollAt) parts.push(`${polling.polls} polls, last ${polling.lastPollAt.slice(11, 19)} UTC`);
  if (worker && worker.restarts > 0) parts.push(`restarts ${worker.restarts}`);
  if (problems[0]) parts.push(`problem: ${problems[0].message}`);
  return plain(parts.join('; '), STATUS_MAX);
}

/** Sends one message after the other; a newer value of the same name replaces one that was not sent yet. */
function createSender(socket: string, onProblem: (problem: string) => void) {
  let waiting: Record<string, string> = {};
  let sending = Promise.resolve();
  let pause: NodeJS.Timeout | undefined;
  let hasFailed = false;

  async function sendWaiting(): Promise<void> {
    const words = Object.entries(waiting).map(([name, value]) => `${name}=${value}`);
    waiting = {};
    if (words.length === 0) return;
    const options = { timeoutMs: SEND_MS, env: { NOTIFY_SOCKET: socket } };
    const { code, stderr, isMissing } = await runTool('systemd-notify', words, options);
    if (code === 0 || hasFailed) return;
    hasFailed = true;
    onProblem(isMissing ? 'there is no systemd-notify here' : (stderr.trim().split('\n')[0] ?? ''));
  }

  function go(): void {
    clearTimeout(pause);
    pause = undefined;
    sending = sending.then(sendWaiting);
  }

  return {
    send(message: Message): void {
      Object.assign(waiting, message);
      if (Object.keys(waiting).some((name) => name !== 'STATUS')) go();
      else if (waiting.STATUS !== undefined) pause ??= setTimeout(go, PAUSE_MS).unref();
    },
    drained: () =>
      Promise.race([sending, new Promise<void>((resolve) => void setTimeout(resolve, END_MS).unref())]),
  };
}

export interface Seen {
  readonly phase: Phase;
  /** Polls answered so far; null: they can't be seen (deploy mode, or a worker that bypasses the gateway). */
  readonly polls: number | null;
  /** The Bot API is out of reach or asked for a pause, a rival polls, or the worker set an allowed webhook. */
  readonly helpless: boolean;
  /** How late the lease's keeper is, in ms; 0 without a lease. */
  readonly keeperLateMs: number;
}

/**
 * Decides whether to feed the watchdog, at every tick: polls that succeed feed it, not a mere timer. It is fed without them only if there
 * is no polling for a reason that a restart of singlepoll could not cure. Feeding ends when the worker has not polled for `patienceMs`,
 * which is longer than singlepoll needs to cure that itself.
 */
export function createWatchdog(patienceMs: number, startMs: number): (seen: Seen, nowMs: number) => boolean {
  let goodAtMs = startMs;
  let polls = 0;
  return (seen, nowMs) => {
    // In standby no polls are expected; only the keeper's lateness counts.
    if (seen.phase === 'standby') {
      const isOnTime = seen.keeperLateMs < patienceMs;
      if (isOnTime) goodAtMs = nowMs;
      return isOnTime;
    }
    const hasPolled = seen.polls === null ? seen.phase === 'polling' : seen.polls > polls;
    if (hasPolled || seen.phase === 'exited' || seen.helpless) goodAtMs = nowMs;
    polls = seen.polls ?? 0;
    return nowMs - goodAtMs < patienceMs;
  };
}
