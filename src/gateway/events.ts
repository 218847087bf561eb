/**
 * Turns what the gateway tells into facts for `status`, lines for people, and asks to the supervisor: the first poll, a rival
 * that stays, a refused token, a deaf worker. The judgement is in rivals.ts and core/pollSilence.ts.
 */
import { readFileSync } from 'node:fs';
import type { Ending } from '../core/supervisor.ts';
import { EXIT } from '../errors.ts';
import { plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration } from '../output/words.ts';
import type { ApiReach } from '../supervise/api-reach.ts';
import type { Facts } from '../supervise/facts.ts';
import { tokenRefused } from '../supervise/identify.ts';
import { CONFLICT_HOLD_MS } from '../telegram/bot-api.ts';
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

/** Who is to act on what it sees. */
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
  /** A call of the worker went through; not a poll. */
  readonly onCalled: () => void;
}

export interface GatewayWatchOptions extends GatewayListeners {
  readonly report: Report;
  readonly facts: Facts;
  readonly policy: RivalryPolicy;
  readonly deafAfterMs: number;
  readonly requireGateway: boolean;
  readonly token: string;
  /** `TELEGRAM_BOT_TOKEN in .env`. */
  readonly tokenSource: string;
  readonly apiRoot: string;
  readonly reach: Pick<ApiReach, 'answered' | 'failed' | 'askNow'>;
  /** Each batch of updates is a line: for a newcomer's eyes. */
  readonly sayUpdates: boolean;
}

export interface GatewayWatch {
  readonly news: (news: GatewayNews) => void;
  /** What others have seen of the Bot API: a worker that does not poll tells nothing of it. */
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

export function watchGateway(options: GatewayWatchOptions): GatewayWatch {
  const { report, facts, policy, reach } = options;
  const said = new Set<string>();
  const latencies: number[] = [];
  let rivalry: Rivalry = atPeace;
  let pollSilence: PollSilence = noSilence;
  let quietTimer: NodeJS.Timeout | null = null;
  let deafTimer: NodeJS.Timeout | null = null;
  let suspectTimer: NodeJS.Timeout | null = null;
  facts.latencyMs = () => {
    const middle = median(latencies);
    return middle === null ? null : Math.round(middle * 10) / 10;
  };

  function once(key: string, text: string): void {
    if (said.has(key)) return;
    // A flood of strangers must not fill our memory.
    if (said.size < 1_000) said.add(key);
    report.line('gateway', text, 'warn');
  }

  function follow([next, sayings]: RivalryStep): void {
    rivalry = next;
    facts.overlap = next.overlap && !next.overlap.over ? next.overlap : null;
    for (const saying of sayings) {
      const { text, level } = rivalryWords(saying, whereabouts());
      report.line(saying.what === 'rival' ? 'rival' : 'gateway', text, level, rounded(saying));
      if (saying.what !== 'rival' || !saying.yields) continue;
      // One of this machine that is under suspicion is proven, named or stopped by the next polls.
      if (facts.rivalSuspect === null || facts.rivalHere !== null) giveWay();
      else suspectTimer ??= setTimeout(() => facts.rivalSuspect !== null && giveWay(), SUSPECT_MS).unref();
    }
    if (quietTimer !== null) clearTimeout(quietTimer);
    const dueMs = quietAtMs(rivalry);
    const inMs = dueMs === null ? 0 : Math.ceil(dueMs - performance.now());
    // One that is overdue waits until a poll has gone undisturbed.
    quietTimer = dueMs === null ? null : setTimeout(look, inMs > 0 ? inMs : HELD_BACK_MS).unref();
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

  /** What our sockets have brought may be seen before the timer that is overdue. */
  function skipOwnStop(nowMs: number): boolean {
    const lateMs = nowMs - (deafAtMs(pollSilence, options.deafAfterMs) ?? nowMs);
    if (lateMs <= LATE_MS) return false;
    pollSilence = slept(pollSilence, lateMs + LATE_MS);
    return true;
  }

  function armDeaf(): void {
    if (deafTimer !== null) clearTimeout(deafTimer);
    const dueMs = deafAtMs(pollSilence, options.deafAfterMs);
    deafTimer = null;
    if (dueMs === null) return;
    deafTimer = setTimeout(
      () => {
        const nowMs = performance.now();
        if (skipOwnStop(nowMs) || silenceMs(pollSilence, nowMs) < options.deafAfterMs) return armDeaf();
        sayDeaf();
      },
      Math.max(1, Math.ceil(dueMs - performance.now())),
    ).unref();
  }

  function sayDeaf(): void {
    const reason =
      facts.via === 'direct'
        ? 'the worker polls past the gateway, and --require-gateway was given'
        : `the worker has not completed a poll for ${duration(options.deafAfterMs)}`;
    facts.deafReplaced += 1;
    facts.lastDeafAtMs = performance.now();
    report.line(
      'deaf',
      facts.via === 'direct' ? reason : `${reason}, though it lives and the Bot API answers`,
      'error',
    );
    // Should it not be replaced at once (a stop is under way), the clock begins anew.
    note({ kind: 'completed' });
    options.onDeaf(reason);
  }

  function apiIsBack(): void {
    reach.answered();
    if (pollSilence.apiDown) note({ kind: 'api', down: false });
  }

  /** A poll that the Bot API does not let succeed: until one does, a worker is not deaf. */
  function notItsFault(): void {
    if (!pollSilence.apiDown) note({ kind: 'api', down: true });
  }

  function outage(problem: string): void {
    rivalry = interrupted(rivalry);
    notItsFault();
    reach.failed(problem);
  }

  function news(it: GatewayNews): void {
    switch (it.kind) {
      case 'asked':
        if (it.offset !== null) facts.offset = it.offset;
        note({ kind: 'asked' });
        return;
      case 'answered':
        note({ kind: 'answered' });
        return;
      case 'sent':
        options.onSent();
        return;
      case 'accepted':
        rivalry = undisturbed(rivalry, performance.now(), it.answered);
        if (rivalry.overlap !== null) look();
        if (it.answered) apiIsBack();
        // A poll that is open as polls are: the outage may be over long before it is answered.
        else reach.askNow();
        facts.via = 'gateway';
        options.onPolled();
        return;
      case 'completed':
        facts.polls += 1;
        facts.updates += it.updates;
        facts.lastPollAt = new Date().toISOString();
        facts.lastPollAtMs = performance.now();
        note({ kind: 'completed' });
        if (options.sayUpdates && it.updates > 0)
          report.line('poll', `${count(it.updates, 'update')} received`);
        return;
      case 'stolen':
        facts.stolen += it.updates;
        facts.lastStolenAtMs = performance.now();
        report.line(
          'gateway',
          `${stolenWords(it.updates)}: their ids are missing, and nobody got a 409 (${facts.stolen} so far). Usual cure: ${STOLEN_CURE}`,
          'warn',
          { updates: it.updates, stolen: facts.stolen },
        );
        return;
      case 'conflict':
        apiIsBack();
        notItsFault();
        facts.conflicts.poller += 1;
        follow(kicked(rivalry, performance.now(), it.livedMs, policy));
        options.onConflict();
        return;
      case 'webhook':
        apiIsBack();
        notItsFault();
        facts.conflicts.webhook += 1;
        options.onWebhook();
        return;
      case 'outage':
        outage(it.problem);
        return;
      case 'flood':
        reach.answered();
        notItsFault();
        facts.pausedUntilMs = performance.now() + it.retryAfterMs;
        report.line(
          'api',
          `the Bot API asks for a pause of ${duration(it.retryAfterMs)} (429): nobody polls until then`,
          'warn',
        );
        return;
      case 'refused':
        options.onBlocked(tokenRefused(options, { status: 401, description: it.description }));
        return;
      case 'second':
        once(`second ${it.owner} ${it.held}`, secondPollerWords(it.owner, it.held));
        return;
      case 'stranger':
        facts.refused += 1;
        if (it.pid !== undefined)
          once(`stranger ${it.pid}`, `refused ${strangerName(it.pid)}: it is not in the worker's tree`);
        return;
      case 'webhook-turned-down':
        facts.webhookAttempts += 1;
        facts.lastWebhookAttemptAtMs = performance.now();
        once('set-webhook', WEBHOOK_TURNED_DOWN);
        return;
      case 'webhook-of-worker':
        // Libraries delete a webhook at each start, where none is set.
        if (it.url === '' && !facts.webhookOfWorker) return;
        facts.webhookOfWorker = it.url !== '';
        facts.webhook = {
          url: it.url === '' ? '' : maskWebhookUrl(it.url, options.token),
          pendingUpdates: 0,
          lastError: null,
        };
        report.line(
          'gateway',
          it.url === ''
            ? 'the worker has deleted its webhook'
            : `${WORKERS_WEBHOOK}: it is left alone, and nobody polls`,
        );
        return;
      case 'unsealed':
        facts.lastUnsealedAtMs = performance.now();
        once('unsealed', `${UNSEALED}; its calls are answered 401`);
        return;
      case 'farewell':
        report.line('gateway', FAREWELLS[it.method], 'warn');
        return;
      case 'call-failed':
        reach.failed(it.problem);
        return;
      case 'called':
        reach.answered();
        latencies.push(it.tookMs);
        if (latencies.length > LATENCIES_KEPT) latencies.shift();
        options.onCalled();
    }
  }

  return {
    news,
    reached(yes) {
      if (pollSilence.apiDown === yes) note({ kind: 'api', down: !yes });
    },
    isIncumbent: () => rivalry.incumbent,
    spawned: () => note({ kind: 'spawned', required: options.requireGateway }),
    ended() {
      // Time without a worker is no calm.
      rivalry = interrupted(rivalry);
      note({ kind: 'ended' });
    },
    stop() {
      if (quietTimer !== null) clearTimeout(quietTimer);
      if (deafTimer !== null) clearTimeout(deafTimer);
      if (suspectTimer !== null) clearTimeout(suspectTimer);
    },
  };
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
