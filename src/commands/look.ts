/**
 * What can be said of a bot whose supervisor does not answer at the usual place: the word of the one that holds its lock, else what
 * can be seen from here: strays on this machine, the webhook, its name. Changes nothing, and gives Telegram two seconds.
 */
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { findStateDir } from '../config/state-dir.ts';
import type { Holder } from '../lock/lock.ts';
import { duration } from '../output/words.ts';
import type { Eyes } from '../strays/finder.ts';
import { isStopped } from '../strays/grade.ts';
import type { Prover } from '../strays/prover.ts';
import { NoAnswer } from '../supervisor/control.ts';
import { eyesFor, finderFor, proverFor } from '../supervisor/finder.ts';
import { unreachable } from '../supervisor/holder-words.ts';
import { recallEnd } from '../supervisor/memory.ts';
import { controlPath } from '../supervisor/present.ts';
import type { LeaseEntry, Problem, StatusDocument } from '../supervisor/status.ts';
import { toEntry } from '../supervisor/sweep.ts';
import { type BotApi, type Me, openBotApi, type WebhookInfo } from '../telegram/bot-api.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import { hung, statusOf, stopped } from './answers.ts';
import { requireProcesses } from './context.ts';
import { findNamed, findSupervisor, isDenied, type Located, usernameOf } from './find.ts';

const API_TIMEOUT_MS = 2_000;

/** Of a bot that --bot names: without its token only its supervisor can tell. */
export async function namedStatus(name: string): Promise<StatusDocument> {
  const { bot, run } = await findNamed(name);
  const who = bot.id === 0 ? null : { id: bot.id, username: usernameOf(bot, run ? [run] : []) };
  return run ? (run.doc ?? hung(who)) : stopped(who);
}

/** Of the configured bot, wherever its supervisor listens. */
export async function thoroughStatus(config: Config): Promise<StatusDocument> {
  requireProcesses();
  const { doc, located } = await supervisorOf(config);
  if (doc) return doc;
  const seen = await lookAround(config, located?.holder ?? null);
  if (!located) return seen;
  const { message, hint } = unreachable(located.holder, controlPath(config.botId));
  const problem = { code: 'supervisor-hung', message, ...(hint ? { hint } : {}) };
  return { ...seen, state: 'starting', healthy: false, problems: [problem, ...seen.problems] };
}

/** The supervisor of the configured bot and its own word; neither where none runs. */
export async function supervisorOf(
  config: Config,
): Promise<{ readonly doc: StatusDocument | null; readonly located: Located | null }> {
  let located: Located | null = null;
  try {
    located = await findSupervisor(config);
    return { doc: located?.control ? await statusOf(located.control) : null, located };
  } catch (error) {
    if (!(error instanceof NoAnswer) && !isDenied(error)) throw error;
    return { doc: null, located };
  }
}

async function lookAround(config: Config, holder: Holder | null): Promise<StatusDocument> {
  const [{ strays }, telegram, lease] = await Promise.all([
    config.token === null ? { strays: [] } : survey(config),
    askTelegram(config),
    lookForLease(config),
  ]);
  const problems: Problem[] = [...(holder ? [] : lastEnd(config)), ...telegram.problems];
  if (lease?.unreachable)
    problems.push({
      code: 'lease-unreachable',
      message: `${lease.engine} is out of reach: ${lease.unreachable}`,
    });
  const pollers = strays.filter(({ grade }) => isStopped(grade));
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
  const bot = config.botId === null ? null : { id: config.botId, username: telegram.username };
  return {
    ...stopped(bot),
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
  const { lookAtLease } = await import('../lease/glance.ts');
  return await lookAtLease(lease.url, botId);
}

/** Every graded process, hints too, without asking anybody. `tools` add who is connected, and what their questions have shown. */
export async function survey(config: Config, tools: Tools | null = openTools(config, [])) {
  if (!tools) return await finderFor(config).look({ worker: null });
  try {
    await tools.prover.look();
    return await finderFor(config, tools.eyes).look({ worker: null, evidence: tools.prover.evidence() });
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
  try {
    const me = await api.call<Me>('getMe', {}, options);
    if (me.kind !== 'ok') {
      const problem =
        me.kind === 'refused'
          ? {
              code: 'token-refused',
              message: `the token from ${config.tokenSource} is refused: ${me.description}`,
            }
          : { code: 'api-unreachable', message: `the Bot API is out of reach: ${me.description}` };
      return { username: null, webhook: null, problems: [problem] };
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
    return { username: me.result.username ?? null, webhook, problems: [] };
  } finally {
    api.close();
  }
}
