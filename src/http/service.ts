/** `--http`: opens the port before anything else, since platforms check for one, and shows the supervisor's own data. */
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
import type { StatusDocument } from '../supervisor/status.ts';
import { metricsText, readiness } from './metrics.ts';
import { discreet, discreetDay, statusPage } from './page.ts';
import { type Listening, listenHttp, respond } from './server.ts';

interface HttpSource {
  readonly status: () => StatusDocument;
  /** The last day; null: unknown. */
  readonly day: () => Summary | null;
}

/** Opens the port if it is free. Throws SinglepollError 78 if it can never be opened. */
export async function openHttpService(
  config: Config,
  address: HttpAddress,
  report: Report,
  brief: { readonly record: { readonly tally: Tally }; document(): StatusDocument },
) {
  const { token } = config;
  const tokens = token === null ? [] : [token];
  const isLocal = isLoopback(address);
  /** Before the run nothing but the brief status is to be seen. */
  let source: HttpSource = { status: () => brief.document(), day: () => null };
  let listening: Listening | null = null;
  const site = {
    loopback: isLocal,
    readiness: () => readiness(brief.document(), config.readyInStandby),
    // Masks any token that got in.
    metrics: () => maskText(metricsText(source.status(), brief.record.tally), tokens),
    page(refreshes: boolean): string {
      const [doc, day] = [source.status(), source.day()];
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
    shows(it: HttpSource): void {
      source = it;
    },
    /**
     * Opens the port once this is the only supervisor of the bot: one that was replaced has closed it. Throws SinglepollError 78 if
     * another program has it.
     */
    async insists(): Promise<void> {
      if (listening) return;
      if (!(await open()))
        throw new SinglepollError(
          EXIT.config,
          `the health endpoint can't be opened: port ${address.port} (--http ${showHttpAddress(address)}) is taken by ${holderWords(address.port)}`,
          'singlepoll start --http PORT …    # another port, or stop what has this one',
        );
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
