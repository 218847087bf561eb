/**
 * `--http`: opens the port before anything else is asked or waited for, since platforms look for one, and shows what the supervisor
 * says of itself. Decides nothing, and is told nothing of what happens to its readers.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { type HttpAddress, isLoopback, showHttpAddress } from '../config/values.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { argvOf } from '../machine/procfs.ts';
import { portHolder } from '../machine/tcp-table.ts';
import { maskText } from '../output/mask.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import type { Summary } from '../supervisor/history.ts';
import { bareStatus, type RunState, type StatusDocument } from '../supervisor/status.ts';
import { VERSION } from '../version.ts';
import { type Figures, metricsText } from './metrics.ts';
import { statusPage } from './page.ts';
import { type Listening, listenHttp, respond } from './server.ts';
import { discreet, discreetDay, readiness } from './view.ts';

/** The running supervisor, as the endpoint reads it. */
interface HttpSource {
  /** Cheap: asked for at every question. */
  readonly brief: () => Pick<StatusDocument, 'state' | 'worker'>;
  readonly status: () => StatusDocument;
  /** The last day; null: it is not known. */
  readonly day: () => Summary | null;
  readonly counts: () => Pick<Figures, 'straysStopped' | 'webhooksCleared' | 'deafReplaced'>;
}

interface HttpServiceOptions {
  readonly config: Config;
  readonly address: HttpAddress;
  readonly report: Report;
}

/** The supervisor that was replaced closes its port before it frees the lock; another program may be about to end, too. */
const INSIST_MS = 1_000;
const INSIST_EVERY_MS = 100;

/** Opens the port, where it is free. Throws SinglepollError 78 where it can't be had at all. */
export async function openHttpService({ config, address, report }: HttpServiceOptions) {
  const tokens = config.token === null ? [] : [config.token];
  const isLocal = isLoopback(address);
  let boot = bootDocument(config, 'starting');
  let source: HttpSource | null = null;
  let listening: Listening | null = null;
  const status = (): StatusDocument => {
    const doc = source?.status() ?? boot;
    return isLocal ? doc : discreet(doc);
  };
  const day = () => {
    const it = source?.day() ?? null;
    return isLocal ? it : it && discreetDay(it);
  };
  const site = {
    loopback: isLocal,
    readiness: () => readiness(source?.brief() ?? boot, config.readyInStandby),
    // Whatever went into it, no token comes out.
    metrics: () => maskText(metricsText(status(), figures(source)), tokens),
    page: (refreshes: boolean) => maskText(statusPage(status(), day(), Date.now(), refreshes), tokens),
  };

  /** False: somebody has the port. */
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

  /** Says where it is open: not before the first line of `start`, which names the bot. */
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
    /** Before there is a supervisor: what is being waited for. */
    boots(state: 'starting' | 'standby'): void {
      boot = bootDocument(config, state);
    },
    /** From now on the supervisor is shown. */
    shows(it: HttpSource): void {
      source = it;
    },
    /**
     * This is the only supervisor of the bot: what holds the port now is not one that was about to leave. Throws
     * SinglepollError 78 where the port stays taken; rejects when `signal` aborts.
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

function figures(source: HttpSource | null): Figures {
  const { user, system } = process.cpuUsage();
  return {
    ...(source?.counts() ?? { straysStopped: 0, webhooksCleared: 0, deafReplaced: 0 }),
    nodeVersion: process.version,
    startedAtSeconds: performance.timeOrigin / 1_000,
    cpuSeconds: (user + system) / 1e6,
    residentBytes: process.memoryUsage.rss(),
  };
}

/** `pid 4711 (nginx -g …)`. */
function holderWords(port: number): string {
  const pid = portHolder(port);
  return pid === null ? 'another program' : `pid ${pid} (${plainCommand(argvOf(pid))})`;
}

function bootDocument({ botId, cwd }: Config, state: RunState): StatusDocument {
  const startedAt = new Date(performance.timeOrigin).toISOString();
  return {
    ...bareStatus(botId === null ? null : { id: botId, username: null }, state),
    healthy: true,
    supervisor: { pid: process.pid, startedAt, version: VERSION, command: [], cwd },
  };
}
