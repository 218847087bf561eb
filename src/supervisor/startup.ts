/** What a run opens before it asks for the lock, each thing on the teardown stack, for the steps of `start` to work with. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import type { RawFlags } from '../config/options.ts';
import { isNowhere, openBotDir } from '../config/state-dir.ts';
import { leaveInterception } from '../intercept/variables.ts';
import type { Report, RunOutput } from '../output/report.ts';
import type { Link } from '../service/link.ts';
import type { Service } from '../service/notify.ts';
import { eyesFor } from '../strays/finder.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { distFile } from '../tools.ts';
import { checkCommand } from './announce.ts';
import { CONTROL_SOCKET, deploySocket } from './control.ts';
import type { Asks } from './signals.ts';
import { createStatus, type Status } from './status-document.ts';
import { createNextWorker } from './worker.ts';

export interface StartRequest {
  readonly config: Config;
  readonly warnings: readonly string[];
  readonly flags: RawFlags;
  /** Null: nobody waits for this run. */
  readonly link: Link | null;
}

export type Teardown = ReturnType<typeof createTeardown>;

/** What a run has opened, closed in the reverse order, whatever goes wrong with one of them. */
export function createTeardown() {
  const open: ((why?: unknown) => unknown)[] = [];
  return {
    /** `why`: the error that ends the run early. */
    add: (close: (why?: unknown) => unknown): void => void open.push(close),
    mark: (): number => open.length,
    /** Closes what was added after the mark, the last first. Rejects with the first error, after all have had their turn. */
    async closeTo(mark: number, why?: unknown): Promise<void> {
      const errors: unknown[] = [];
      while (open.length > mark) {
        try {
          await open.pop()?.(why);
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length > 0) throw errors[0];
    },
  };
}

export type Startup = Awaited<ReturnType<typeof prepare>>;

/** All that must be known to be good before the Bot API is asked anything; what takes its time is begun here, and waited for later. */
export async function prepare(request: StartRequest, asks: Asks, output: RunOutput, teardown: Teardown) {
  const { report } = output;
  leaveInterception(process.env);
  const service = await openService(request.config, report);
  teardown.add((why) => service?.end(why));
  checkCommand(request.config);
  const sandbox = request.config.sandbox ? await openSandbox(request.config) : null;
  teardown.add(() => sandbox?.close());
  /** The run's own: a restart reads some of it again. */
  const config: Config = { ...(sandbox?.config ?? request.config) };
  const { polling, dryRun, cwd } = config;
  const command = [...(config.command?.argv ?? [])];
  const eyes = eyesFor(config);
  teardown.add(() => eyes.close());
  if (polling && !dryRun) {
    // Its process takes longest of all to begin, so it comes first. Who is new by the look for strays is read then.
    eyes.processes.snapshot().catch(() => {});
  }
  const gatewayModule = config.gateway && !dryRun ? import('../gateway/server.ts') : null;
  const alertModule = config.alerts && !dryRun ? import('../alerts/service.ts') : null;
  // A state folder that can't be trusted ends us before Telegram is asked anything; a dry run makes none.
  const botDir = dryRun ? '' : openBotDir(config.botId);
  const hasFolder = !isNowhere(botDir);
  // The sandbox's bot is gone for ever; so should be its folder.
  if (sandbox && !dryRun) teardown.add(() => rmSync(botDir, { recursive: true, force: true }));
  // Read once: asking the system for a hundred variables takes longer than to copy them.
  const environment = { ...process.env };
  const nextWorker = createNextWorker(command, cwd, config.stdin, botDir);
  teardown.add(() => nextWorker.discard());
  const startedAt = new Date().toISOString();
  const status = createStatus(config, command, startedAt, report);
  status.sources.log = output.logFacts;
  const http = await openHttp(config, report, status);
  teardown.add(() => http?.close());
  const api = polling ? openBotApi(config.apiRoot, () => config.token as string) : null;
  teardown.add(() => api?.close());
  return {
    ...{ config, flags: request.flags, link: request.link },
    ...{ asks, output, report, teardown, service, http, api, eyes },
    ...{ gatewayModule, alertModule, botDir, hasFolder, command, environment },
    ...{ nextWorker, startedAt, status },
    sandboxText: sandbox?.text ?? null,
    socketPath: join(botDir, polling ? CONTROL_SOCKET : deploySocket(process.pid)),
  };
}

/** What service managers say to this process alone (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)). */
const SERVICE_VARIABLES = [
  ...['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'],
  ...['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'],
];

/** Takes them out of the environment: neither the worker nor a tool may speak for us. Null: no service manager wants to be told. */
async function openService({ deafAfterMs, dryRun }: Config, report: Report): Promise<Service | null> {
  try {
    if (!('NOTIFY_SOCKET' in process.env)) return null;
    const { openService: open } = await import('../service/notify.ts');
    const service = open(process.env, { report, deafAfterMs });
    return dryRun ? null : service;
  } finally {
    for (const name of SERVICE_VARIABLES) delete process.env[name];
  }
}

async function openHttp(config: Config, report: Report, status: Status) {
  if (!config.http || config.dryRun) return null;
  const { openHttpService } = await import('../http/service.ts');
  return await openHttpService(config, config.http, report, status);
}

/** The built-in Bot API with a bot in trouble, and a sample worker where no command is given. */
async function openSandbox(asked: Config) {
  const { prepareDemo } = await import('../sandbox/demo.ts');
  const { root, token, strayPid, close } = await prepareDemo(distFile('legacy-polling-bot.js'));
  const source = 'the built-in sandbox';
  const sample = { argv: [process.execPath, distFile('sample-bot.js')], source: 'the built-in sample bot' };
  const config: Config = Object.freeze({
    ...asked,
    ...{ token, botId: Number(token.split(':')[0]), tokenSource: source },
    ...{ apiRoot: root, apiRootSource: source, command: asked.command ?? sample },
  });
  const text = `the Bot API at ${root} is built in, and the bot is in trouble: a webhook is set, 3 updates wait, a forgotten poller (pid ${strayPid}) runs`;
  return { config, text, close };
}
