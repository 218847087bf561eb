/**
 * What can be seen of a bot without its supervisor: strays on this machine, the webhook, its name. Changes nothing, and
 * gives Telegram two seconds.
 */
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { findStateDir } from '../config/state-dir.ts';
import { bareStatus, type LeaseEntry, type Problem, type StatusDocument } from '../core/status.ts';
import type { Holder } from '../lock/lock.ts';
import { duration } from '../output/words.ts';
import type { Eyes, Stray } from '../strays/finder.ts';
import type { Prover } from '../strays/prover.ts';
import { eyesFor, finderFor, proverFor } from '../supervise/finder.ts';
import { recallEnd } from '../supervise/last-end.ts';
import { toEntry } from '../supervise/sweep.ts';
import { type BotApi, type Me, openBotApi, type WebhookInfo } from '../telegram/bot-api.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';

const API_TIMEOUT_MS = 2_000;

export async function lookAround(config: Config, holder: Holder | null): Promise<StatusDocument> {
  const [strays, telegram, lease] = await Promise.all([
    lookForStrays(config),
    askTelegram(config),
    lookForLease(config),
  ]);
  const problems: Problem[] = [...(holder ? [] : lastEnd(config)), ...telegram.problems];
  if (lease?.unreachable)
    problems.push({
      code: 'lease-unreachable',
      message: `${lease.engine} is out of reach: ${lease.unreachable}`,
    });
  const pollers = strays.filter(({ grade }) => grade === 'own' || grade === 'proven' || grade === 'declared');
  if (pollers.length > 0) {
    problems.push({
      code: 'stray',
      message: `without a supervisor: ${pollers.length} ${pollers.length === 1 ? 'process polls' : 'processes poll'} this bot (pid ${pollers.map(({ pid }) => pid).join(', ')})`,
      hint: 'singlepoll start -- COMMAND    # stops them and starts the one',
    });
  }
  if (!config.token) {
    problems.push({
      code: 'no-token',
      message: 'no bot token here, so nothing can be said about Telegram or strays',
      hint: 'cd to the folder of the bot, or give --env-file or --token-env',
    });
  }
  return {
    ...bareStatus(
      config.botId === null ? null : { id: config.botId, username: telegram.username },
      'stopped',
    ),
    problems,
    supervisor: holder?.pid
      ? {
          pid: holder.pid,
          startedAt: holder.startedAt,
          version: holder.version,
          command: [],
          cwd: holder.cwd,
        }
      : null,
    webhook: telegram.webhook,
    strays: strays.filter(({ grade }) => grade !== 'hint').map(toEntry),
    lease,
  };
}

/** Why nobody runs, where the last one had a reason of its own to end. */
function lastEnd({ botId }: Config): Problem[] {
  const state = botId === null ? null : findStateDir(process.env);
  const end = state && recallEnd(join(state.path, String(botId)));
  if (!end) return [];
  const { code, reason, at } = end;
  return [
    {
      code: 'ended',
      message: `the last supervisor ended ${duration(Math.max(0, Date.now() - Date.parse(at)))} ago: ${reason} (exit ${code})`,
      hint: 'singlepoll reset    # ends what is in the way, and starts again with the same command',
    },
  ];
}

/** Null where none is configured here. */
export async function lookForLease({ lease, botId }: Config): Promise<LeaseEntry | null> {
  if (lease === null || botId === null) return null;
  const { lookAtLease } = await import('../lease/look.ts');
  return await lookAtLease(lease.url, botId);
}

/** Every graded process, hints too. */
export async function lookForStrays(
  config: Config,
  worker: { pid: number; run: string; spawn: string } | null = null,
): Promise<readonly Stray[]> {
  return config.token === null ? [] : (await survey(config, worker)).strays;
}

/** Looks once, without asking anybody. `tools` add who is connected, and what their questions have shown so far. */
export async function survey(
  config: Config,
  worker: { pid: number; run: string; spawn: string } | null,
  tools: Tools | null = openTools(config, []),
) {
  if (!tools) return await finderFor(config).look({ worker });
  try {
    await tools.prover.look();
    return await finderFor(config, tools.eyes).look({ worker, evidence: tools.prover.evidence() });
  } finally {
    tools.eyes.inspector.close();
  }
}

export interface Tools {
  readonly eyes: Eyes;
  readonly prover: Prover;
  readonly api: BotApi;
}

/** Opens no connection yet. Null: without a token nobody can be asked. `ours`: pids of the worker's tree. */
export function openTools(config: Config, ours: readonly number[]): Tools | null {
  if (config.token === null) return null;
  const eyes = eyesFor(config);
  const api = openBotApi(config.apiRoot, config.token);
  const state = config.botId === null ? null : findStateDir(process.env);
  const botDir = state && join(state.path, String(config.botId));
  return { eyes, api, prover: proverFor(config, eyes, api, botDir, (pid) => ours.includes(pid)) };
}

async function askTelegram(config: Config): Promise<{
  username: string | null;
  webhook: StatusDocument['webhook'];
  problems: Problem[];
}> {
  if (config.token === null || !config.polling) return { username: null, webhook: null, problems: [] };
  const api = openBotApi(config.apiRoot, config.token);
  const options = { timeoutMs: API_TIMEOUT_MS };
  const problems: Problem[] = [];
  try {
    const me = await api.call<Me>('getMe', {}, options);
    if (me.kind !== 'ok') {
      const refused = me.kind === 'refused';
      problems.push({
        code: refused ? 'token-refused' : 'api-unreachable',
        message: refused
          ? `the token from ${config.tokenSource} is refused: ${me.description}`
          : `the Bot API is out of reach: ${me.description}`,
      });
      return { username: null, webhook: null, problems };
    }
    const info = await api.call<WebhookInfo>('getWebhookInfo', {}, options);
    const webhook =
      info.kind === 'ok'
        ? {
            url: maskWebhookUrl(info.result.url, config.token),
            pendingUpdates: info.result.pending_update_count,
            lastError: info.result.last_error_message ?? null,
          }
        : null;
    return { username: me.result.username ?? null, webhook, problems };
  } finally {
    api.close();
  }
}
