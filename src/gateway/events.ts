/**
 * Turns what the gateway tells into facts for `status`, lines for people, and asks to the supervisor: the first poll, a rival
 * that stays, a refused token, a deaf worker. The judgement is in rivals.ts and deafness.ts.
 */
import { readFileSync } from 'node:fs';
import type { Config } from '../config/load.ts';
import { EXIT } from '../errors.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration } from '../output/words.ts';
import type { Facts } from '../supervisor/facts.ts';
import type { Ending } from '../supervisor/table.ts';
import type { ApiReach } from '../telegram/api-reach.ts';
import { CONFLICT_HOLD_MS } from '../telegram/bot-api.ts';
import { tokenRefused } from '../telegram/retry.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import {
  deafAtMs,
  noSilence,
  type PollSilence,
  type SilenceEvent,
  silenceMs,
  slept,
  stepSilence,
} from './deafness.ts';
import type { GatewayNews } from './polls.ts';
import {
  atPeace,
  interrupted,
  kicked,
  looked,
  median,
  quietAtMs,
  type Rivalry,
  type RivalryPolicy,
  type RivalryStep,
  undisturbed,
} from './rivals.ts';
import {
  RIVAL_CURE,
  rivalryWords,
  STOLEN_CURE,
  secondPollerWords,
  stolenWords,
  UNSEALED,
  WORKERS_WEBHOOK,
} from './words.ts';

/** Called when the supervisor has to act on what the gateway saw. */
export interface GatewayListeners {
  readonly onPolled: () => void;
  readonly onBlocked: (ending: Ending) => void;
  readonly onDeaf: (reason: string) => void;
  /** A webhook is in the way. */
  readonly onWebhook: () => void;
  /** Another poller took ours. */
  readonly onConflict: () => void;
  /** A poll goes out: who polls too on this machine reacts to it. */
  readonly onSent: () => void;
}

export interface GatewayWatchOptions extends GatewayListeners {
  readonly report: Report;
  readonly facts: Facts;
  readonly config: Pick<
    Config,
    'rivalAfterMs' | 'onRival' | 'deafAfterMs' | 'requireGateway' | 'token' | 'tokenSource' | 'apiRoot'
  >;
  readonly reach: Pick<ApiReach, 'answered' | 'failed' | 'askNow'>;
  /** Each batch of updates is a line: for a newcomer's eyes. */
  readonly sayUpdates: boolean;
}

export interface GatewayWatch {
  readonly news: (news: GatewayNews) => void;
  /** Tells whether the Bot API answers other questions: a worker that does not poll shows nothing of it. */
  reached(yes: boolean): void;
  spawned(): void;
  ended(): void;
  /** This run polled undisturbed for long enough before the other one came. */
  isIncumbent(): boolean;
  stop(): void;
}

/** A timer that comes this late was held up by a stop of our own process. */
const LATE_MS = 2_000;
/** By then a 409 that the server holds back has come. */
const HELD_BACK_MS = CONFLICT_HOLD_MS + 1_000;
/** Two polls of ours, each with the time in which a 409 is held back. */
const SUSPECT_MS = 15_000;
const LATENCIES_KEPT = 31;
/** A flood of strangers must not fill our memory. */
const SAID_MAX = 1_000;

type Handlers = { [K in GatewayNews['kind']]: (news: Extract<GatewayNews, { kind: K }>) => void };

export function watchGateway(options: GatewayWatchOptions): GatewayWatch {
  const { report, facts, config, reach } = options;
  const { deafAfterMs, requireGateway } = config;
  const policy: RivalryPolicy = {
    rivalAfterMs: config.rivalAfterMs,
    incumbentAfterMs: incumbentAfterMs(config),
    onRival: config.onRival,
  };
  const said = new Set<string>();
  const latencies: number[] = [];
  let rivalry: Rivalry = atPeace;
  let pollSilence: PollSilence = noSilence;
  let quietTimer: NodeJS.Timeout | undefined;
  let deafTimer: NodeJS.Timeout | undefined;
  let suspectTimer: NodeJS.Timeout | undefined;
  facts.latencyMs = () => {
    const middle = median(latencies);
    return middle === null ? null : Math.round(middle * 10) / 10;
  };

  function warnOnce(key: string, text: string): void {
    if (said.has(key)) return;
    if (said.size < SAID_MAX) said.add(key);
    report.line('gateway', text, 'warn');
  }

  function follow([next, sayings]: RivalryStep): void {
    rivalry = next;
    facts.overlap = next.overlap && !next.overlap.over ? next.overlap : null;
    for (const saying of sayings) {
      const { text, level } = rivalryWords(saying, whereabouts());
      report.line(saying.what === 'rival' ? 'rival' : 'gateway', text, level, rounded(saying));
      if (saying.what !== 'rival' || !saying.yields) continue;
      // A suspect on this machine is proven, named or stopped by the next polls, so wait for that.
      if (facts.rivalSuspect === null || facts.rivalHere !== null) giveWay();
      else suspectTimer ??= setTimeout(() => facts.rivalSuspect !== null && giveWay(), SUSPECT_MS).unref();
    }
    clearTimeout(quietTimer);
    const dueMs = quietAtMs(rivalry);
    if (dueMs === null) return;
    const inMs = Math.ceil(dueMs - performance.now());
    // If the time is over already, wait until a poll has gone undisturbed.
    quietTimer = setTimeout(look, inMs > 0 ? inMs : HELD_BACK_MS).unref();
  }

  /** Null: nobody of this machine reacted to polls of ours that were watched. */
  function whereabouts(): string | null {
    const known = facts.rivalHere ?? facts.rivalSuspect;
    if (known !== null || facts.rivalElsewhere !== null) return known;
    return `Whether it polls from this machine is not known yet. ${RIVAL_CURE}`;
  }

  function giveWay(): void {
    const where =
      facts.rivalElsewhere === null
        ? 'another poller of this bot does not go away, and whether it is on this machine is not known yet (singlepoll who --probe tells)'
        : 'somebody elsewhere polls this bot and does not go away';
    const reason = facts.rivalHere ?? `${facts.rivalSuspect ?? where}; yielding`;
    options.onBlocked({ code: EXIT.otherPoller, reason });
  }

  function look(): void {
    if (facts.pollOpenMs() > HELD_BACK_MS) rivalry = undisturbed(rivalry, performance.now(), true);
    follow(looked(rivalry, performance.now(), policy));
  }

  function note(event: SilenceEvent): void {
    const nowMs = performance.now();
    skipOwnStop(nowMs);
    pollSilence = stepSilence(pollSilence, event, nowMs);
    armDeaf();
  }

  /** After a stop of our own process, events of sockets may come before the timer that is overdue. */
  function skipOwnStop(nowMs: number): boolean {
    const lateMs = nowMs - (deafAtMs(pollSilence, deafAfterMs) ?? nowMs);
    if (lateMs <= LATE_MS) return false;
    pollSilence = slept(pollSilence, lateMs + LATE_MS);
    return true;
  }

  function armDeaf(): void {
    clearTimeout(deafTimer);
    const dueMs = deafAtMs(pollSilence, deafAfterMs);
    if (dueMs === null) return;
    const inMs = Math.max(1, Math.ceil(dueMs - performance.now()));
    deafTimer = setTimeout(() => {
      const nowMs = performance.now();
      if (skipOwnStop(nowMs) || silenceMs(pollSilence, nowMs) < deafAfterMs) armDeaf();
      else replaceDeaf();
    }, inMs).unref();
  }

  function replaceDeaf(): void {
    const isPast = facts.via === 'direct';
    const reason = isPast
      ? 'the worker polls past the gateway, and --require-gateway was given'
      : `the worker has not completed a poll for ${duration(deafAfterMs)}`;
    facts.deafReplaced += 1;
    facts.lastDeafAtMs = performance.now();
    report.line('deaf', isPast ? reason : `${reason}, though it lives and the Bot API answers`, 'error');
    // The clock begins anew, in case the worker is not replaced at once (a stop is under way).
    note({ kind: 'completed' });
    options.onDeaf(reason);
  }

  /** While the Bot API lets no poll succeed, the worker is not deaf. */
  function apiLetsPoll(yes: boolean): void {
    if (pollSilence.apiDown === yes) note({ kind: 'api', down: !yes });
  }

  const handlers: Handlers = {
    asked({ offset }) {
      if (offset !== null) facts.offset = offset;
      note({ kind: 'asked' });
    },
    answered: () => note({ kind: 'answered' }),
    sent: () => options.onSent(),
    accepted({ answered }) {
      rivalry = undisturbed(rivalry, performance.now(), answered);
      if (rivalry.overlap !== null) look();
      if (answered) {
        reach.answered();
        apiLetsPoll(true);
      }
      // The poll is open now, and the outage may be over long before it is answered.
      else reach.askNow();
      facts.via = 'gateway';
      options.onPolled();
    },
    completed({ updates }) {
      facts.polls += 1;
      facts.updates += updates;
      facts.lastPollAt = new Date().toISOString();
      facts.lastPollAtMs = performance.now();
      note({ kind: 'completed' });
      if (options.sayUpdates && updates > 0) report.line('poll', `${count(updates, 'update')} received`);
    },
    stolen({ updates }) {
      facts.stolen += updates;
      facts.lastStolenAtMs = performance.now();
      const text = `${stolenWords(updates)}: their ids are missing, and nobody got a 409 (${facts.stolen} so far). Usual cure: ${STOLEN_CURE}`;
      report.line('gateway', text, 'warn', { updates, stolen: facts.stolen });
    },
    conflict({ livedMs }) {
      reach.answered();
      apiLetsPoll(false);
      facts.conflicts.poller += 1;
      follow(kicked(rivalry, performance.now(), livedMs, policy));
      options.onConflict();
    },
    webhook() {
      reach.answered();
      apiLetsPoll(false);
      facts.conflicts.webhook += 1;
      options.onWebhook();
    },
    outage({ problem }) {
      rivalry = interrupted(rivalry);
      apiLetsPoll(false);
      reach.failed(problem);
    },
    flood({ retryAfterMs }) {
      reach.answered();
      apiLetsPoll(false);
      facts.pausedUntilMs = performance.now() + retryAfterMs;
      const text = `the Bot API asks for a pause of ${duration(retryAfterMs)} (429): nobody polls until then`;
      report.line('api', text, 'warn');
    },
    refused: ({ description }) =>
      options.onBlocked(
        tokenRefused(
          { tokenSource: config.tokenSource ?? 'unknown', apiRoot: config.apiRoot },
          { status: 401, description },
        ),
      ),
    second: ({ owner, held }) => warnOnce(`second ${owner} ${held}`, secondPollerWords(owner, held)),
    stranger({ pid }) {
      facts.refused += 1;
      if (pid !== undefined)
        warnOnce(`stranger ${pid}`, `refused ${strangerName(pid)}: it is not in the worker's tree`);
    },
    'webhook-turned-down'() {
      facts.webhookAttempts += 1;
      facts.lastWebhookAttemptAtMs = performance.now();
      warnOnce('set-webhook', WEBHOOK_TURNED_DOWN);
    },
    'webhook-of-worker'({ url }) {
      // Libraries delete a webhook at each start, where none is set.
      if (url === '' && !facts.webhookOfWorker) return;
      facts.webhookOfWorker = url !== '';
      const shown = url === '' ? '' : maskWebhookUrl(url, config.token ?? '');
      facts.webhook = { url: shown, pendingUpdates: 0, lastError: null };
      const set = `${WORKERS_WEBHOOK}: it is left alone, and nobody polls`;
      report.line('gateway', url === '' ? 'the worker has deleted its webhook' : set);
    },
    unsealed() {
      facts.lastUnsealedAtMs = performance.now();
      warnOnce('unsealed', `${UNSEALED}; its calls are answered 401`);
    },
    farewell: ({ method }) => report.line('gateway', FAREWELLS[method], 'warn'),
    called({ tookMs }) {
      reach.answered();
      latencies.push(tookMs);
      if (latencies.length > LATENCIES_KEPT) latencies.shift();
    },
    'call-failed': ({ problem }) => reach.failed(problem),
  };

  return {
    news: (news) => (handlers[news.kind] as (news: GatewayNews) => void)(news),
    reached: apiLetsPoll,
    isIncumbent: () => rivalry.incumbent,
    spawned: () => note({ kind: 'spawned', required: requireGateway }),
    ended() {
      // Time without a worker is no calm.
      rivalry = interrupted(rivalry);
      note({ kind: 'ended' });
    },
    stop() {
      for (const timer of [quietTimer, deafTimer, suspectTimer]) clearTimeout(timer);
    },
  };
}

/** A run that has polled undisturbed for so long was here first. */
export function incumbentAfterMs({ rivalAfterMs }: Pick<Config, 'rivalAfterMs'>): number {
  return (rivalAfterMs * 2) / 3;
}

const WEBHOOK_TURNED_DOWN =
  'setWebhook of the worker was turned down (409): it would end its own polling; to let it: --allow-set-webhook';

/** Whole milliseconds, for those who read JSON. */
function rounded(saying: object): Record<string, unknown> {
  return JSON.parse(
    JSON.stringify(saying, (_key, value) => (typeof value === 'number' ? Math.round(value) : value)),
  );
}

const FAREWELLS = {
  logout: 'the worker calls logOut: this server will not know the bot any more',
  close: 'the worker calls close: the bot leaves this server for a while',
} as const;

function strangerName(pid: number | null): string {
  if (pid === null) return 'a process of this machine';
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
    return `pid ${pid} (${plainCommand(argv)})`;
  } catch {
    return `pid ${pid}`;
  }
}
