/**
 * What can be said of a bot whose supervisor does not answer at the usual place: the word of the one that holds its lock, else what
 * can be seen from here: strays on this machine, the webhook, its name. Changes nothing, and gives Telegram two seconds.
 */
import type { Config } from '../config/load.ts';
import { findBotDir } from '../config/state-dir.ts';
import { duration } from '../output/words.ts';
import { eyesFor, type Stray } from '../strays/finder.ts';
import { isStopped } from '../strays/grade.ts';
import { createProver } from '../strays/prover.ts';
import { WHY_IT_ENDED } from '../supervisor/announce.ts';
import { cannotAsk, controlPath, userOf } from '../supervisor/holder.ts';
import { recallEnd, recallStart } from '../supervisor/memory.ts';
import {
  bareStatus,
  type LeaseEntry,
  NO_USAGE,
  type Problem,
  type StatusDocument,
} from '../supervisor/status.ts';
import { toEntry } from '../supervisor/sweep.ts';
import { type Me, openBotApi, type WebhookInfo } from '../telegram/bot-api.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import { requireProcesses } from './context.ts';
import { type Bot, findSupervisor, type Supervisor } from './find.ts';

const API_TIMEOUT_MS = 2_000;

export async function thoroughStatus(config: Config): Promise<StatusDocument> {
  requireProcesses();
  const supervisor = await findSupervisor(config);
  return supervisor?.doc ?? (await lookAround(config, supervisor));
}

/** Gives a status for each supervisor of the bot; where none runs, one that says so. A deploy-mode run that has ended gives none: nothing names it any more. */
export function statusesOf({ id, username, runs }: Bot): StatusDocument[] {
  const bot = id === 0 ? null : { id, username };
  if (runs.length > 0) return runs.map(({ doc }) => doc ?? hung(bareStatus(bot, 'starting')));
  return bot ? [bareStatus(bot, 'stopped')] : [];
}

/** Something listens at its control socket, and does not answer: what is known of it, with that as the first problem. */
export function hung(doc: StatusDocument): StatusDocument {
  const who = doc.supervisor ? `the supervisor (pid ${doc.supervisor.pid})` : 'the supervisor';
  const problem = {
    code: 'supervisor-hung',
    message: `${who} does not answer: hung or stopped`,
    hint: 'singlepoll reset    # in the folder of the bot: ends it, if need be with SIGKILL, and starts again',
  };
  return { ...doc, healthy: false, problems: [problem, ...doc.problems] };
}

async function lookAround(config: Config, supervisor: Supervisor | null): Promise<StatusDocument> {
  const [{ strays }, telegram, lease] = await Promise.all([
    config.token === null ? { strays: [] } : survey(config),
    askTelegram(config),
    lookForLease(config),
  ]);
  const isOfSupervisor = (stray: Stray) => supervisor !== null && stray.supervisor !== null;
  const others = strays.filter((stray) => !isOfSupervisor(stray));
  const polling = others.filter(({ grade }) => isStopped(grade));
  const holder = supervisor?.holder ?? null;
  const problems: Problem[] = [];
  const add = (code: string, message: string, hint?: string) => problems.push({ code, message, hint });
  const { message, hint } = cannotAsk(holder, controlPath(config.botId));
  if (supervisor) add('supervisor-hung', message, hint);
  if (!holder) problems.push(...lastEnd(config));
  if (telegram.problem) problems.push(telegram.problem);
  if (lease?.unreachable) add('lease-unreachable', `${lease.engine} is out of reach: ${lease.unreachable}`);
  if (polling.length > 0) {
    const many = polling.length === 1 ? 'a process polls' : `${polling.length} processes poll`;
    const pids = polling.map(({ pid }) => pid).join(', ');
    const managed = polling.flatMap(({ respawner }) => respawner?.stopCommand ?? []);
    const start = 'singlepoll start -- COMMAND    # stops them and starts the one';
    const cure = [...new Set(managed)].join('\n') || (supervisor ? 'singlepoll who' : start);
    add('stray', `${supervisor ? '' : 'without a supervisor: '}${many} this bot (pid ${pids})`, cure);
  }
  if (config.token === null) {
    const blind = 'no bot token here, so nothing can be said about Telegram or strays';
    add('no-token', blind, 'cd to the folder of the bot, or give --env-file or --token-env');
  }
  const { botId } = config;
  const username = telegram.username ?? recallStart(findBotDir(botId) ?? '')?.username ?? null;
  const bot = botId === null ? null : { id: botId, username };
  return {
    ...bareStatus(bot, supervisor ? 'starting' : 'stopped'),
    problems,
    supervisor: holder?.pid
      ? {
          ...{ pid: holder.pid, startedAt: holder.startedAt, version: holder.version, command: [] },
          ...{ cwd: holder.cwd, ...userOf(holder.uid) },
        }
      : null,
    worker: workerAmong(strays.filter(isOfSupervisor)),
    webhook: telegram.webhook,
    strays: others.filter(({ grade }) => grade !== 'hint').map(toEntry),
    lease,
  };
}

/** The worker of a supervisor that does not answer, as far as its processes show it. */
export function workerAmong(members: readonly Stray[]): StatusDocument['worker'] {
  const leader = members.find(({ parent, supervisor }) => parent?.pid === supervisor) ?? members[0];
  if (!leader) return null;
  const { pid, startedAt } = leader;
  const tree = members.flatMap((it) => it.tree).map(({ pid, ppid, command }) => ({ pid, ppid, command }));
  const unique = [...new Map(tree.map((it) => [it.pid, it])).values()];
  return { pid, startedAt, spawns: 0, restarts: 0, lastExit: null, tree: unique, ...NO_USAGE };
}

/** Why nobody runs, where the last one had a reason of its own to end. */
function lastEnd(config: Config): Problem[] {
  const folder = findBotDir(config.botId);
  const end = folder === null ? null : recallEnd(folder);
  if (end === null) return [];
  const { lines: details, log } = end;
  const ago = duration(Math.max(0, Date.now() - Date.parse(end.at)));
  const ended = `the last supervisor ended ${ago} ago: ${end.reason} (exit ${end.code})`;
  const again = recallStart(folder ?? '') ? 'singlepoll reset' : 'singlepoll start -- COMMAND';
  const hint = end.hint ?? `${again}    # ends what is in the way, and starts again`;
  if (details.length === 0) return [{ code: 'ended', message: ended, hint }];
  // A worker that ended by itself would end again, so the log comes before a new start.
  const mend = log === null ? `mend the bot, then: ${again}` : WHY_IT_ENDED;
  const message = log === null ? ended : `${ended}; log ${log}`;
  return [{ code: 'ended', message, hint: end.hint ?? mend, details }];
}

/** Null where none is configured here. */
export async function lookForLease({ lease, botId }: Config): Promise<LeaseEntry | null> {
  if (lease === null || botId === null) return null;
  const { lookAtLease } = await import('../lease/glance.ts');
  return await lookAtLease(lease.url, botId);
}

/** Every graded process, hints too, without asking anybody. `tools` add who is connected, and what their questions have shown. */
export async function survey(config: Config, tools = openTools(config, [])) {
  if (!tools) return await eyesFor(config).finder.look({ worker: null });
  try {
    await tools.prover.look();
    return await tools.eyes.finder.look({ worker: null, evidence: tools.prover.evidence() });
  } finally {
    tools.eyes.close();
  }
}

export type Tools = NonNullable<ReturnType<typeof openTools>>;

/** Opens no connection yet. Null: without a token nobody can be asked. `ours`: pids of the worker's tree. */
export function openTools(config: Config, ours: readonly number[]) {
  if (config.token === null) return null;
  const eyes = eyesFor(config);
  const api = openBotApi(config.apiRoot, config.token);
  return {
    eyes,
    api,
    prover: createProver({
      ...{ api, processes: eyes.processes, apiRoot: config.apiRoot },
      ours: () => ours,
    }),
  };
}

async function askTelegram({ token, polling, apiRoot, tokenSource }: Config) {
  const nothing = { username: null, webhook: null, problem: null };
  if (token === null || !polling) return nothing;
  const api = openBotApi(apiRoot, token);
  const options = { timeoutMs: API_TIMEOUT_MS };
  try {
    const me = await api.call<Me>('getMe', {}, options);
    if (me.kind !== 'ok') {
      const [code, what] =
        me.kind === 'refused'
          ? ['token-refused', `the token from ${tokenSource} is refused`]
          : ['api-unreachable', 'the Bot API is out of reach'];
      return { ...nothing, problem: { code, message: `${what}: ${me.description}` } };
    }
    const { username = null } = me.result;
    const info = await api.call<WebhookInfo>('getWebhookInfo', {}, options);
    if (info.kind !== 'ok') return { ...nothing, username };
    const { pending_update_count: pendingUpdates, last_error_message: lastError = null } = info.result;
    const url = maskWebhookUrl(info.result.url);
    const webhook = { url, pendingUpdates, lastError, checkedAt: new Date().toISOString() };
    return { ...nothing, username, webhook };
  } finally {
    api.close();
  }
}
