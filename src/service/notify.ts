/**
 * The supervisor as a service of systemd (sd_notify(3), Type=notify): READY once it polls or stands by, STATUS when it changes, WATCHDOG
 * fed by polls, STOPPING at the end. Loaded only where NOTIFY_SOCKET is set.
 *
 * Node has no Unix datagram sockets, so systemd-notify sends: a process of 3 ms at a change and once a minute. It waits until systemd has
 * read the message, so it is not gone before systemd has looked up whose it was; as an ordinary user it can't speak in our name, hence
 * NotifyAccess=all in the unit. RELOADING is never said: the restart of a worker may fail, and a unit that reloads for ever can't be restarted.
 */
import { EXIT, SinglepollError } from '../errors.ts';
import { createListeners } from '../output/listeners.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import type { Ending } from '../supervisor/table.ts';
import { runTool } from '../tools.ts';
import { createWatchdog, type Seen } from './watchdog.ts';

interface View {
  seen(): Seen;
  status(): StatusDocument;
  /** Calls back soon after something may have changed; returns the way to leave. */
  listen(listener: () => void): () => void;
}

export type Service = NonNullable<ReturnType<typeof openService>>;

type Message = Readonly<Record<string, string>>;

const STATUS_EVERY_MS = 60_000;
/** Changes that come faster are told together. */
const PAUSE_MS = 1_000;
const SEND_MS = 10_000;
const END_MS = 1_000;
/** systemd advises to feed at half the time at the latest. */
const TICKS_PER_TIMEOUT = 5;
const STATUS_MAX = 300;

/** Null: no service manager wants to be told. */
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
  let isReady = false;
  let isEnding = false;
  let shown = '';
  let leave = (): void => {};

  function say(line: string, more: Message = {}): void {
    // READY comes with what it means, also where a tick of the watchdog has said that already.
    const isNew = line !== shown || more.READY !== undefined;
    shown = line;
    sender.send({ ...(isNew ? { STATUS: line } : {}), ...more });
  }

  /** In place of what was looked at before. */
  function every(ms: number, tick: () => void): void {
    leave();
    const ticks = createListeners<[]>('what is told to systemd', report);
    ticks.add(tick);
    const timer = setInterval(ticks.tell, ms).unref();
    leave = () => clearInterval(timer);
  }

  const service = {
    /** Before there is a run: it stands by for the lock. */
    standsBy(): void {
      isReady = true;
      say('stands by until the present supervisor leaves', { READY: '1' });
      // The loop that waits for the lock is this one: it lives as long as the timer.
      if (watchdogMs > 0) every(tickMs, () => sender.send({ WATCHDOG: '1' }));
    },
    follow({ seen, status, listen }: View): void {
      const feeds = createWatchdog(Math.max(deafAfterMs, watchdogMs / 2), performance.now());
      let isStarved = false;
      const look = (): void => {
        const now = status();
        // In deploy mode a worker that has only begun is `disabled` already.
        const runs =
          /^(polling|standby|disabled)$/.test(now.state) && /^(polling|standby)$/.test(seen().phase);
        say(statusLine(now), runs && !isReady ? { READY: '1' } : {});
        isReady ||= runs;
      };
      every(Math.min(STATUS_EVERY_MS, tickMs), () => {
        const isFed = watchdogMs > 0 && feeds(seen(), performance.now());
        const next = `systemd starts singlepoll anew within ${duration(watchdogMs)}`;
        if (watchdogMs > 0 && isReady && !isFed && !isStarved)
          report.line(
            'systemd',
            `nobody has polled for too long: the watchdog is not fed any more, and ${next}`,
            'error',
          );
        isStarved = !isFed;
        say(statusLine(status()), isFed ? { WATCHDOG: '1' } : {});
      });
      const stopTicks = leave;
      const stopListening = listen(look);
      leave = () => {
        stopTicks();
        stopListening();
      };
      look();
    },
    /** It has begun to end: the last status is the reason. */
    stopping({ code, reason }: Ending): void {
      if (isEnding) return;
      isEnding = true;
      leave();
      const text = code === EXIT.ok ? `stopped: ${reason}` : `${reason} (exit ${code})`;
      say(plain(maskText(text, []), STATUS_MAX), { STOPPING: '1' });
    },
    /** `why`: the error that ends it early. Resolves when all of it has left, or after a second. */
    async end(why?: unknown): Promise<void> {
      const reason = why instanceof Error ? why.message : 'the start was given up';
      service.stopping({ code: why instanceof SinglepollError ? why.exitCode : EXIT.ok, reason });
      await sender.drained();
    },
  };
  return service;
}

/** Says why a run ends that never began: its configuration is wrong. */
export async function tellEnd(env: NodeJS.ProcessEnv, why: unknown): Promise<void> {
  const report = { line() {}, drained: async () => {} };
  await openService(env, { report, deafAfterMs: 0 })?.end(why);
}

/** The one line that `systemctl status` shows of a run; without a token. */
export function statusLine({ state, worker, polling, problems }: StatusDocument): string {
  const parts: string[] = [state === 'disabled' ? 'deploy mode, nobody polls' : state];
  if (worker?.pid) parts.push(`worker ${worker.pid}`);
  if (polling?.lastPollAt) parts.push(`${polling.polls} polls, last ${polling.lastPollAt.slice(11, 19)} UTC`);
  if (worker && worker.restarts > 0) parts.push(`restarts ${worker.restarts}`);
  if (problems[0]) parts.push(`problem: ${problems[0].message}`);
  return plain(maskText(parts.join('; '), []), STATUS_MAX);
}

/** Sends one message after the other; a newer one of the same name replaces one that has not gone yet. */
function createSender(socket: string, onProblem: (problem: string) => void) {
  let waiting: Record<string, string> = {};
  let sending: Promise<void> | null = null;
  let pause: NodeJS.Timeout | undefined;
  let hasFailed = false;

  async function sendAll(): Promise<void> {
    while (Object.keys(waiting).length > 0) {
      const words = Object.entries(waiting).map(([name, value]) => `${name}=${value}`);
      waiting = {};
      const options = { timeoutMs: SEND_MS, env: { NOTIFY_SOCKET: socket } };
      const { code, stderr, isMissing } = await runTool('systemd-notify', words, options);
      if (code === 0 || hasFailed) continue;
      hasFailed = true;
      onProblem(isMissing ? 'there is no systemd-notify here' : (stderr.trim().split('\n')[0] ?? ''));
    }
  }

  function go(): void {
    clearTimeout(pause);
    pause = undefined;
    // What has come since the last one was sent, too. Not within sendAll: with nothing to send that ends before `sending` is set.
    sending ??= sendAll().finally(() => {
      sending = null;
      if (Object.keys(waiting).length > 0) go();
    });
  }

  return {
    send(message: Message): void {
      Object.assign(waiting, message);
      // A status alone waits for others like it.
      if (Object.keys(waiting).some((name) => name !== 'STATUS')) go();
      else if (waiting.STATUS !== undefined) pause ??= setTimeout(go, PAUSE_MS).unref();
    },
    drained: () =>
      Promise.race([sending, new Promise<void>((resolve) => void setTimeout(resolve, END_MS).unref())]),
  };
}
