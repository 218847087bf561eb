/** `start --dry-run`: every step and every kill with its proof, and nothing changed. Returns the code that `start` would. */
import type { Config } from '../config/config.ts';
import { EXIT } from '../errors.ts';
import { lockHolder, lockKey } from '../machine/lock.ts';
import type { StrayFinder } from '../machine/strays.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import type { BotApi, WebhookInfo } from '../telegram/api.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import { describe } from './claim.ts';
import { createSweeper } from './sweep.ts';

export async function dryRun(
  config: Config,
  api: BotApi | null,
  report: Report,
  finder: StrayFinder,
  signal: AbortSignal,
): Promise<number> {
  let code: number = EXIT.ok;
  if (api && config.token !== null) {
    const holder = await lockHolder(lockKey(String(config.botId), config.token));
    if (!holder) report.line('lock', 'free: would take it');
    else if (config.takeover) report.line('lock', `would ask to hand over: ${describe(holder)}`);
    else if (config.wait) report.line('lock', `would stand by: ${describe(holder)}`);
    else {
      report.line('lock', `would yield (75): ${describe(holder)}`, 'warn');
      code = EXIT.otherPoller;
    }
    const sweeper = createSweeper({
      finder,
      report,
      stopTimeoutMs: config.stopTimeoutMs,
      dryRun: true,
      worker: () => null,
      onSurvey: () => {},
      signal,
    });
    const blocked = await sweeper.thorough(1_000);
    if (blocked) code ||= blocked.code;
    code ||= await webhook(config, api, report);
  }
  const command = config.command?.argv ?? [];
  report.line('worker', `would start: ${plainCommand(command)}`);
  report.line('stop', 'dry run: nothing was changed');
  return code;
}

async function webhook(config: Config, api: BotApi, report: Report): Promise<number> {
  const info = await api.call<WebhookInfo>('getWebhookInfo');
  if (info.kind !== 'ok') {
    report.line('webhook', `unknown: ${info.description}`, 'warn');
    return EXIT.unreachable;
  }
  const { url, pending_update_count: pending } = info.result;
  const updates = `${pending} waiting updates ${config.dropPending ? 'dropped' : 'kept'}`;
  if (url === '') report.line('webhook', `none set; ${updates}`);
  else if (config.keepWebhook) {
    report.line('webhook', `would refuse to start (78): ${maskWebhookUrl(url, config.token ?? '')}`, 'warn');
    return EXIT.config;
  } else report.line('webhook', `would clear ${maskWebhookUrl(url, config.token ?? '')}; ${updates}`);
  return EXIT.ok;
}
