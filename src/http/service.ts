/**
 * `--http`: opens the port before anything else, since platforms check for one, and shows the supervisor's own data. It decides
 * nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { type HttpAddress, isLoopback, showHttpAddress } from '../config/values.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { argvOf } from '../machine/procfs.ts';
import { portHolder } from '../machine/sockets.ts';
import { maskText } from '../output/mask.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import type { Summary } from '../supervisor/history.ts';
import type { Tally } from '../supervisor/record.ts';
import { bareStatus, type StatusDocument } from '../supervisor/status.ts';
import { VERSION } from '../version.ts';
import { metricsText, readiness } from './metrics.ts';
import { discreet, discreetDay, statusPage } from './page.ts';
import { type Listening, listenHttp, respond } from './server.ts';

/** What the endpoint reads of the running supervisor. */
interface HttpSource {
  /** Cheap, as it is read for every request. */
  readonly brief: () => Pick<StatusDocument, 'state' | 'worker'>;
  readonly status: () => StatusDocument;
  /** The last day; null: unknown. */
  readonly day: () => Summary | null;
  readonly tally: () => Tally;
}

/** How long to retry: the replaced supervisor has closed its port already, but another program may be about to end. */
const INSIST_MS = 1_000;
const INSIST_EVERY_MS = 100;

/** Opens the port if it is free. Throws SinglepollError 78 if it can never be opened. */
export async function openHttpService(config: Config, address: HttpAddress, report: Report) {
  const { token, botId, cwd } = config;
  const tokens = token === null ? [] : [token];
  const isLocal = isLoopback(address);
  const startedAt = new Date(performance.timeOrigin).toISOString();
  let boot: StatusDocument = {
    ...bareStatus(botId === null ? null : { id: botId, username: null }, 'starting'),
    healthy: true,
    supervisor: { pid: process.pid, startedAt, version: VERSION, command: [], cwd },
  };
  let source: HttpSource | null = null;
  let listening: Listening | null = null;
  const status = () => source?.status() ?? boot;
  const site = {
    loopback: isLocal,
    readiness: () => readiness(source?.brief() ?? boot, config.readyInStandby),
    // Masks any token that got in.
    metrics: () => maskText(metricsText(status(), source?.tally() ?? null), tokens),
    page(refreshes: boolean): string {
      const [doc, day] = [status(), source?.day() ?? null];
      const shown = isLocal ? ([doc, day] as const) : ([discreet(doc), day && discreetDay(day)] as const);
      return maskText(statusPage(...shown, Date.now(), refreshes), tokens);
    },
  };

  /** False: the port is taken. */
  async function open(): Promise<boolean> {
    try {
      listening = await listenHttp(address, (asked) => respond(asked, site));
      return true;
    } catch (error) {
      const { code = '', message } = error as NodeJS.ErrnoException;
      if (code === 'EADDRINUSE') return false;
      const known: Readonly<Record<string, string>> = {
        EACCES: 'this user may not open it (ports below 1024 are root’s)',
        EADDRNOTAVAIL: 'this machine has no such address',
      };
      throw new SinglepollError(
        EXIT.config,
        `the health endpoint can't be opened at ${showHttpAddress(address)} (--http): ${known[code] ?? (code || message)}`,
        'singlepoll start --http 8080 …    # on this machine only; 0.0.0.0:8080 on all of its networks',
      );
    }
  }

  /** Tells where it is open, after the first line of `start`, which names the bot. */
  function announce(): void {
    if (!listening) return;
    const place = `http://${showHttpAddress(listening.address)}: /, /healthz, /readyz, /metrics`;
    const seenBy = isLocal ? '' : '; whoever reaches this port can read the status, without a password';
    const { port } = listening.address;
    report.line('http', `open at ${place}${seenBy}`, isLocal ? 'good' : 'warn', { port });
  }

  await open();

  return {
    announce,
    isOpen: () => listening !== null,
    /** Shows this state until there is a supervisor. */
    boots(state: 'starting' | 'standby'): void {
      boot = { ...boot, state };
    },
    /** Shows the supervisor from now on. */
    shows(it: HttpSource): void {
      source = it;
    },
    /**
     * Opens the port once this is the only supervisor of the bot, so that no other one still has it. Throws SinglepollError 78
     * if the port stays taken; rejects when `signal` aborts.
     */
    async insists(signal: AbortSignal): Promise<void> {
      if (listening) return;
      const untilMs = performance.now() + INSIST_MS;
      while (!(await open())) {
        if (performance.now() > untilMs)
          throw new SinglepollError(
            EXIT.config,
            `the health endpoint can't be opened: port ${address.port} (--http ${showHttpAddress(address)}) is taken by ${holderWords(address.port)}`,
            'singlepoll start --http PORT …    # another port, or stop what has this one',
          );
        await pause(INSIST_EVERY_MS, undefined, { signal }).catch(() => {});
        signal.throwIfAborted();
      }
      announce();
    },
    close(): void {
      listening?.close();
      listening = null;
    },
  };
}

/** `pid 4711 (nginx -g …)`. */
function holderWords(port: number): string {
  const pid = portHolder(port);
  return pid === null ? 'another program' : `pid ${pid} (${plainCommand(argvOf(pid), 60)})`;
}
