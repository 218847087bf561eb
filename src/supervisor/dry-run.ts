/** `start --dry-run`: every step and every kill with its proof, and nothing changed. Returns the code that `start` would. */
import type { Config } from '../config/load.ts';
import { EXIT } from '../errors.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, leaseWords } from '../output/words.ts';
import type { Eyes, Stray, StrayFinder } from '../strays/finder.ts';
import { createProver } from '../strays/prover.ts';
import type { BotApi, WebhookInfo } from '../telegram/bot-api.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import { describe, presentSupervisor } from './holder.ts';
import { createSweeper } from './sweep.ts';

interface DryRun {
  readonly config: Config;
  readonly api: BotApi | null;
  readonly report: Report;
  readonly eyes: Pick<Eyes, 'finder' | 'processes'>;
  readonly signal: AbortSignal;
  /** `reset` ends the holder of the lock; `start` yields to it, unless told otherwise. */
  readonly ending: boolean;
  readonly command: readonly string[] | null;
}

export async function dryRun(request: DryRun): Promise<number> {
  const { config, api, report, command } = request;
  const code = api && config.token !== null ? await rehearsePolling(request, api) : EXIT.ok;
  if (command && code === EXIT.ok) report.line('worker', `would start: ${plainCommand(command)}`);
  report.line('stop', 'dry run: nothing was changed');
  return code;
}

async function rehearsePolling(request: DryRun, api: BotApi): Promise<number> {
  const { config, report, eyes, signal, ending } = request;
  const { finder, processes } = eyes;
  const holder = await presentSupervisor(config);
  if (!holder) report.line('lock', 'free: would take it');
  else {
    const [what, stays] = ending
      ? ['would end the supervisor and its worker', false]
      : config.takeover
        ? ['would ask to hand over, worker and all', false]
        : config.wait
          ? ['would stand by until it leaves', false]
          : ['would yield (75)', true];
    report.line('lock', `${what}: ${describe(holder)}`, stays ? 'warn' : 'info');
    if (stays) return EXIT.otherPoller;
  }
  if (!(await lease(config, report))) return EXIT.otherPoller;
  // What the supervisor that would end has started goes with it.
  const isIts = ({ supervisor, grade }: Stray) => holder !== null && (supervisor !== null || grade === 'own');
  const look: StrayFinder['look'] = async (asked) => {
    const seen = await finder.look(asked);
    return { ...seen, strays: seen.strays.filter((stray) => !isIts(stray)) };
  };
  const sweeper = createSweeper({
    ...{ report, signal, dryRun: true, stopTimeoutMs: config.stopTimeoutMs },
    // It sees who is connected; a dry run asks nothing by it.
    prover: createProver({ api, processes, apiRoot: config.apiRoot, ours: () => [] }),
    finder: { ...finder, look },
    silencesOthers: config.takeover || ending,
    leased: config.lease !== null,
  });
  const { ending: blocked } = await sweeper.first(signal);
  report.line(
    'stray',
    'start asks getUpdates once where another process is connected to the Bot API, and stops whoever reacts; a dry run asks nobody',
  );
  return blocked ? blocked.code : await webhook(config, api, report);
}

async function lease({ lease: wanted, botId, takeover, noWait }: Config, report: Report): Promise<boolean> {
  if (wanted === null || botId === null) return true;
  const { lookAtLease } = await import('../lease/glance.ts');
  const seen = await lookAtLease(wanted.url, botId);
  if (seen.unreachable !== null) {
    report.line('lease', `would stand by: ${seen.engine} is out of reach: ${seen.unreachable}`, 'warn');
    return true;
  }
  const now = leaseWords(seen, Date.now());
  if (seen.holder === null) report.line('lease', `would take it: ${now}`);
  else if (takeover) report.line('lease', `would ask to hand over: ${now}`);
  else if (noWait) report.line('lease', `would yield (75): ${now}`, 'warn');
  else report.line('lease', `would stand by, and do the rest once it is ours: ${now}`);
  return seen.holder === null || takeover || !noWait;
}

async function webhook(config: Config, api: BotApi, report: Report): Promise<number> {
  const info = await api.call<WebhookInfo>('getWebhookInfo');
  if (info.kind !== 'ok') {
    report.line('webhook', `unknown: ${info.description}`, 'warn');
    return EXIT.unreachable;
  }
  const { url, pending_update_count: pending } = info.result;
  const fate = config.dropPending ? 'would be dropped' : 'kept';
  const updates = pending === 0 ? 'no updates waiting' : `${count(pending, 'update')} waiting, ${fate}`;
  if (url === '') report.line('webhook', `none set; ${updates}`);
  else if (config.keepWebhook) {
    report.line('webhook', `would refuse to start (78): ${maskWebhookUrl(url)}`, 'warn');
    return EXIT.config;
  } else report.line('webhook', `would clear ${maskWebhookUrl(url)}; ${updates}`);
  return EXIT.ok;
}
