/**
 * `--http`: opens the port before anything else is asked or waited for, since platforms look for one, and shows what the supervisor
 * says of itself. Decides nothing, and is told nothing of what happens to its readers.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { type HttpAddress, isLoopback, showHttpAddress } from '../config/values.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { hasProcfs, listPids, readText } from '../machine/procfs.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';
import { maskText } from '../output/mask.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { bareStatus, type RunState, type StatusDocument } from '../supervisor/status.ts';
import { VERSION } from '../version.ts';
import { type Figures, metricsText } from './metrics.ts';
import { statusPage } from './page.ts';
import { type Listening, listenHttp, respond, type Site } from './server.ts';
import { discreet, readiness } from './view.ts';

/** The running supervisor, as the endpoint reads it. */
export interface HttpSource {
  /** Cheap: asked for at every question. */
  readonly brief: () => Pick<StatusDocument, 'state' | 'worker'>;
  readonly status: () => StatusDocument;
  readonly counts: () => Pick<Figures, 'straysStopped' | 'webhooksCleared' | 'deafReplaced'>;
}

export interface HttpService {
  /** Says where it is open: not before the first line of `start`, which names the bot. */
  announce(): void;
  /** Before there is a supervisor: what is being waited for. */
  boots(state: Extract<RunState, 'starting' | 'standby'>): void;
  /** From now on the supervisor is shown. */
  shows(source: HttpSource): void;
  /**
   * This is the only supervisor of the bot: what holds the port now is not one that was about to leave. Throws
   * SinglepollError 78 where the port stays taken; rejects when `signal` aborts.
   */
  insists(signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface HttpServiceOptions {
  readonly config: Config;
  readonly address: HttpAddress;
  readonly report: Report;
}

/** A flood of readers gets the same answer for so long. */
const SAME_ANSWER_MS = 250;
/** The supervisor that was replaced closes its port before it frees the lock; another program may be about to end, too. */
const INSIST_MS = 1_000;
const INSIST_EVERY_MS = 100;
/** The state of such a row in the kernel's table. */
const LISTENING = '0A';

/** Opens the port, where it is free. Throws SinglepollError 78 where it can't be had at all. */
export async function openHttpService(options: HttpServiceOptions): Promise<HttpService> {
  const { config, address, report } = options;
  const tokens = config.token === null ? [] : [config.token];
  const startedAtMs = performance.timeOrigin;
  let boot = bootDocument(config, 'starting', startedAtMs);
  let source: HttpSource | null = null;
  let listening: Listening | null = null;
  const kept = new Map<string, { readonly text: string; readonly atMs: number }>();

  const seen = (): StatusDocument => {
    const doc = source?.status() ?? boot;
    return isLoopback(address) ? doc : discreet(doc);
  };
  /** Whatever went into it, no token comes out. */
  const keep = (key: string, make: () => string): string => {
    const nowMs = performance.now();
    const last = kept.get(key);
    if (last && nowMs - last.atMs < SAME_ANSWER_MS) return last.text;
    const text = maskText(make(), tokens);
    kept.set(key, { text, atMs: nowMs });
    return text;
  };
  const figures = (): Figures => {
    const { user, system } = process.cpuUsage();
    return {
      ...(source?.counts() ?? { straysStopped: 0, webhooksCleared: 0, deafReplaced: 0 }),
      nodeVersion: process.version,
      startedAtSeconds: startedAtMs / 1_000,
      cpuSeconds: (user + system) / 1e6,
      residentBytes: process.memoryUsage.rss(),
    };
  };
  const site: Site = {
    loopback: isLoopback(address),
    readiness: () => readiness(source?.brief() ?? boot, config.readyInStandby),
    metrics: () => keep('metrics', () => metricsText(seen(), figures())),
    page: (refreshes) => keep(`page ${refreshes}`, () => statusPage(seen(), Date.now(), refreshes)),
  };

  /** False: somebody has the port. */
  async function open(): Promise<boolean> {
    try {
      listening = await listenHttp(address, (asked) => respond(asked, site));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
      throw notOpened(address, error as NodeJS.ErrnoException);
    }
  }

  function sayOpen(at: Listening): void {
    const { port } = at.address;
    const seenBy = site.loopback ? '' : '; whoever reaches this port can read the status, without a password';
    report.line(
      'http',
      `open at http://${showHttpAddress(at.address)}: /, /healthz, /readyz, /metrics${seenBy}`,
      site.loopback ? 'good' : 'warn',
      { port },
    );
  }

  await open();

  const service: HttpService = {
    announce() {
      if (listening) sayOpen(listening);
    },
    boots(state) {
      boot = bootDocument(config, state, startedAtMs);
    },
    shows(it) {
      source = it;
      kept.clear();
    },
    async insists(signal) {
      if (listening) return;
      const untilMs = performance.now() + INSIST_MS;
      while (!(await open())) {
        if (performance.now() > untilMs)
          throw new SinglepollError(
            EXIT.config,
            `the health endpoint can't be opened: port ${address.port} (--http ${showHttpAddress(address)}) is taken by ${portHolder(address.port) ?? 'another program'}`,
            'singlepoll start --http PORT …    # another port, or stop what has this one',
          );
        await pause(INSIST_EVERY_MS, undefined, { signal }).catch(() => {});
        signal.throwIfAborted();
      }
      service.announce();
    },
    close() {
      listening?.close();
      listening = null;
    },
  };
  return service;
}

/** `pid 4711 (nginx -g …)`; null where the system does not tell. */
function portHolder(port: number): string | null {
  if (!hasProcfs()) return null;
  const rows = [...tcpRows()].filter((row) => row.state === LISTENING && row.localPort === port);
  const inodes = new Set(rows.map(({ inode }) => inode));
  const pid = listPids().find((it) => socketInodes(it)?.some((inode) => inodes.has(inode)));
  if (pid === undefined) return null;
  const argv = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter(Boolean);
  return argv.length === 0 ? `pid ${pid}` : `pid ${pid} (${plainCommand(argv)})`;
}

function notOpened(address: HttpAddress, { code, message }: NodeJS.ErrnoException): SinglepollError {
  const why =
    code === 'EACCES'
      ? 'this user may not open it (ports below 1024 are root’s)'
      : code === 'EADDRNOTAVAIL'
        ? 'this machine has no such address'
        : (code ?? message);
  return new SinglepollError(
    EXIT.config,
    `the health endpoint can't be opened at ${showHttpAddress(address)} (--http): ${why}`,
    'singlepoll start --http 8080 …    # on this machine only; 0.0.0.0:8080 on all of its networks',
  );
}

function bootDocument(config: Config, state: RunState, startedAtMs: number): StatusDocument {
  return {
    ...bareStatus(config.botId === null ? null : { id: config.botId, username: null }, state),
    healthy: true,
    supervisor: {
      pid: process.pid,
      startedAt: new Date(startedAtMs).toISOString(),
      version: VERSION,
      command: [],
      cwd: config.cwd,
    },
  };
}
