/**
 * Turns the gateway's news into notes for `status`, lines for people, and calls to the supervisor: the first poll, a rival
 * that stays, a refused token, a deaf worker. rivals.ts and deafness.ts decide.
 */
import type { Config } from '../config/load.ts';
import { EXIT } from '../errors.ts';
import { useRoot } from '../intercept/past.ts';
import type { Bus } from '../output/listeners.ts';
import { pidWords } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration, WAYS } from '../output/words.ts';
import type { StatusEvent, StatusRecord } from '../supervisor/record.ts';
import type { Ask } from '../supervisor/table.ts';
import { CONFLICT_HOLD_MS } from '../telegram/bot-api.ts';
import type { ApiReach } from '../telegram/reach.ts';
import { tokenRefused } from '../telegram/reach.ts';
import { maskWebhookUrl } from '../telegram/webhook.ts';
import { deafAtMs, noSilence, type SilenceEvent, stepSilence } from './deafness.ts';
import type { PollWay, Way } from './front.ts';
import { programWords } from './peers.ts';
import * as rivals from './rivals.ts';
import * as words from './words.ts';

interface GatewayWatchOptions {
  readonly report: Report;
  readonly status: { readonly record: StatusRecord; note(event: StatusEvent): void };
  readonly config: Config;
  readonly reach: ApiReach;
  /** How long the poll upstream has been open; 0: none is. */
  readonly pollOpenMs: () => number;
  /** The log tells at most this often how many updates came: 0 in the sandbox, where newcomers see each. */
  readonly sayUpdatesEveryMs: number;
  readonly bus: Bus;
  readonly send: (event: Ask) => void;
}

export type GatewayWatch = ReturnType<typeof watchGateway>;

type Handlers = GatewayWatch['handlers'];
type Detail<H> = H extends (detail: infer D) => void ? (unknown extends D ? object : Readonly<D>) : never;
export type GatewayNews = {
  [K in keyof Handlers]: { readonly kind: K } & Detail<Handlers[K]>;
}[keyof Handlers];
type Pid = number | null;

/** After this time a 409 that the server holds back has come. */
const HELD_BACK_MS = CONFLICT_HOLD_MS + 1_000;
/** Time for two of our polls, each with the time in which a 409 is held back. */
const SUSPECT_MS = 15_000;
const LATENCIES_KEPT = 31;

export function watchGateway(options: GatewayWatchOptions) {
  const { report, status, config, reach, bus, send } = options;
  const { deafAfterMs, requireGateway } = config;
  const policy: rivals.RivalryPolicy = {
    rivalAfterMs: config.rivalAfterMs,
    incumbentAfterMs: incumbentAfterMs(config),
    onRival: config.onRival,
  };
  const said = new Set<string>();
  const latencies: number[] = [];
  let rivalry = rivals.atPeace;
  let pollSilence = noSilence;
  /** Updates that no line tells of yet; when the last one did. */
  let [unsaid, saidMs] = [0, Number.NEGATIVE_INFINITY];
  let quietTimer: NodeJS.Timeout | undefined;
  let deafTimer: NodeJS.Timeout | undefined;
  let suspectTimer: NodeJS.Timeout | undefined;

  function warnOnce(key: string, text: string, hint?: string): void {
    if (!said.has(key)) report.line('gateway', text, 'warn', { hint });
    said.add(key);
  }

  async function sayDistrust(program: string, way: Way): Promise<void> {
    if (said.has(program)) return;
    said.add(program);
    const passes = way !== 'hook' && !config.sealed && !config.sandbox;
    const then = passes
      ? 'it talks straight to the Bot API from now on'
      : 'its calls to api.telegram.org fail';
    const past = { why: words.distrustWords(program), cure: await useRoot(program.split(' '), config.cwd) };
    if (passes) status.note({ kind: 'past-gateway', past });
    report.line('gateway', `${past.why}: ${then}. To do: ${past.cure}`, 'warn');
  }

  function follow([next, sayings]: rivals.RivalryStep): void {
    rivalry = next;
    status.note({ kind: 'overlap', overlap: next.overlap && !next.overlap.over ? next.overlap : null });
    for (const saying of sayings) {
      const { text, level, hint, more } = words.rivalryWords(saying, whereabouts());
      const tag = saying.what === 'rival' ? 'rival' : 'gateway';
      if (more) report.line(tag, more);
      report.line(tag, text, level, { hint });
      if (saying.what !== 'rival' || !saying.yields) continue;
      // A suspect on this machine is proven, named or stopped by the next polls, so wait for that.
      const { here, suspect } = status.record.rival;
      if (suspect === null || here !== null) giveWay();
      else suspectTimer ??= setTimeout(() => status.record.rival.suspect && giveWay(), SUSPECT_MS).unref();
    }
    clearTimeout(quietTimer);
    const dueMs = rivals.quietAtMs(rivalry);
    if (dueMs === null) return;
    const inMs = Math.ceil(dueMs - performance.now());
    // If that time has passed already, wait until a poll was undisturbed.
    quietTimer = setTimeout(look, inMs > 0 ? inMs : HELD_BACK_MS).unref();
  }

  /** Null: no process of this machine reacted to the polls that were watched. */
  function whereabouts(): string | null {
    const { here, suspect, elsewhere } = status.record.rival;
    const known = here ?? suspect;
    if (known !== null || elsewhere !== null) return known;
    return 'Whether it polls from this machine is not known yet';
  }

  function giveWay(): void {
    const { here, suspect, elsewhere, hint } = status.record.rival;
    const unknown =
      'another poller of this bot does not go away, and whether it is on this machine is not known yet';
    const reason = here ?? `${suspect ?? elsewhere ?? unknown}; yielding`;
    const ending = { code: EXIT.otherPoller, reason, hint: hint ?? 'singlepoll who --probe' };
    send({ kind: 'blocked', ending });
  }

  function look(): void {
    if (options.pollOpenMs() > HELD_BACK_MS) rivalry = rivals.undisturbed(rivalry, performance.now(), true);
    follow(rivals.looked(rivalry, performance.now(), policy));
  }

  function note(event: SilenceEvent): void {
    const nowMs = performance.now();
    pollSilence = stepSilence(pollSilence, event, nowMs, deafAfterMs);
    clearTimeout(deafTimer);
    const dueMs = deafAtMs(pollSilence, deafAfterMs);
    if (dueMs === null) return;
    if (event.kind === 'due' && dueMs <= nowMs) replaceDeaf();
    else deafTimer = setTimeout(note, Math.max(1, Math.ceil(dueMs - nowMs)), { kind: 'due' }).unref();
  }

  function replaceDeaf(): void {
    const isPast = status.record.polling.via === 'direct';
    const reason = isPast
      ? 'the worker polls past the gateway, and --require-gateway was given'
      : `the worker has not completed a poll for ${duration(deafAfterMs)}`;
    status.note({ kind: 'deaf' });
    report.line('deaf', isPast ? reason : `${reason}, though it lives and the Bot API answers`, 'error');
    // The clock restarts, in case the worker is not replaced at once (a stop is under way).
    note({ kind: 'completed' });
    send({ kind: 'ask-restart', reason });
  }

  /** The worker does not count as deaf while the Bot API lets no poll succeed. */
  function apiLetsPoll(yes: boolean): void {
    if (pollSilence.apiDown === yes) note({ kind: 'api', down: !yes });
  }

  /** Pids are null if the system does not tell. */
  const handlers = {
    came({ by, pid }: { by: PollWay; pid: Pid }) {
      if (status.record.polling.by === by) return;
      status.note({ kind: 'came', by });
      if (by !== 'plain')
        report.line(
          'gateway',
          `${programWords(pid)} polls through it, as it is (${WAYS[by]}; TELEGRAM_API_ROOT is not used)`,
          'good',
        );
    },
    /** A program does not trust the gateway's certificate; `program` is its first words. */
    distrust: ({ program, way }: { program: string; way: Way }) => void sayDistrust(program, way),
    asked: (_: { offset: number | null }) => note({ kind: 'asked' }),
    answered: () => note({ kind: 'answered' }),
    sent: () => bus.pollSent.tell(),
    /** The Bot API has answered a poll, or lets it wait. */
    accepted({ answered }: { answered: boolean }) {
      rivalry = rivals.undisturbed(rivalry, performance.now(), answered);
      if (rivalry.overlap !== null) look();
      if (answered) {
        reach.answered();
        apiLetsPoll(true);
      }
      // The outage may be over long before the poll, which is open now, is answered.
      else reach.askNow();
      send({ kind: 'polled' });
    },
    /** A poll has succeeded and its answer was sent to the worker. */
    completed({ updates }: { updates: number }) {
      note({ kind: 'completed' });
      unsaid += updates;
      const nowMs = performance.now();
      if (unsaid === 0 || nowMs - saidMs < options.sayUpdatesEveryMs) return;
      report.line('poll', `${count(unsaid, 'update')} received`);
      [unsaid, saidMs] = [0, nowMs];
    },
    /** Another poller has taken updates while none of our polls was open: theft.ts. */
    stolen({ updates }: { updates: number }) {
      const { stolen } = status.record.polling;
      const text = `${words.stolenWords(updates)}: their ids are missing, and nobody got a 409 (${stolen} so far). Usual cure: ${words.STOLEN_CURE}`;
      report.line('gateway', text, 'warn', { updates, stolen });
    },
    conflict({ livedMs }: { livedMs: number }) {
      reach.answered();
      apiLetsPoll(false);
      follow(rivals.kicked(rivalry, performance.now(), livedMs, policy));
      bus.conflict.tell(false);
    },
    webhook() {
      reach.answered();
      apiLetsPoll(false);
      bus.webhookSeen.tell();
    },
    outage({ problem }: { problem: string }) {
      rivalry = rivals.interrupted(rivalry);
      apiLetsPoll(false);
      reach.failed(problem);
    },
    flood({ retryAfterMs }: { retryAfterMs: number }) {
      reach.answered();
      apiLetsPoll(false);
      const text = `the Bot API asks for a pause of ${duration(retryAfterMs)} (429): nobody polls until then`;
      report.line('api', text, 'warn');
    },
    refused: ({ description }: { description: string }) =>
      send({ kind: 'blocked', ending: tokenRefused(config, { status: 401, description }) }),
    /** A second poller of the worker still has to wait for the first. */
    second: ({ owner, held }: { owner: Pid; held: Pid }) =>
      warnOnce(`second ${owner} ${held}`, words.secondPollerWords(owner, held)),
    stranger: ({ pid }: { pid: Pid }) =>
      warnOnce(`stranger ${pid}`, `refused ${strangerName(pid)}: it is not in the worker's tree`),
    'webhook-turned-down': () => warnOnce('set-webhook', WEBHOOK_TURNED_DOWN),
    /** The worker has set or deleted its own webhook, as the configuration allows. */
    'webhook-of-worker'({ url }: { url: string }) {
      // Libraries delete a webhook at each start, even if none is set.
      if (url === '' && !status.record.webhookOfWorker) return;
      status.note({ kind: 'webhook-of-worker', url: maskWebhookUrl(url) });
      const set = `${words.WORKERS_WEBHOOK}: it is left alone, and nobody polls`;
      report.line('gateway', url === '' ? 'the worker has deleted its webhook' : set);
    },
    /** The worker uses the real token although it was given a sealed one. */
    unsealed: () =>
      warnOnce('unsealed', `${words.UNSEALED}; its calls are answered 401`, words.UNSEALED_CURE),
    farewell: ({ method }: { method: keyof typeof FAREWELLS }) =>
      report.line('gateway', FAREWELLS[method], 'warn'),
    called({ tookMs }: { tookMs: number }) {
      reach.answered();
      latencies.push(tookMs);
      if (latencies.length > LATENCIES_KEPT) latencies.shift();
    },
    'call-failed': ({ problem }: { problem: string }) => reach.failed(problem),
  };

  // What other calls show, a worker that does not poll can't.
  bus.apiReached.add(apiLetsPoll);
  return {
    handlers,
    news(news: { readonly kind: keyof typeof handlers }): void {
      if (NOTED.has(news.kind)) status.note(news as StatusEvent);
      (handlers[news.kind] as (news: object) => void)(news);
    },
    /** This run had polled undisturbed for long enough before the rival came. */
    isIncumbent: () => rivalry.incumbent,
    latencyMs(): number | null {
      const middle = [...latencies].sort((a, b) => a - b)[latencies.length >> 1];
      return middle === undefined ? null : Math.round(middle * 10) / 10;
    },
    /** The worker has printed that it got a 401, as its sealed token does everywhere but at the gateway. */
    unauthorized(): void {
      const { polling, last } = status.record;
      if (polling.by === null && last.unsealed === undefined) warnOnce('sealed', words.SEALED_PAST);
    },
    spawned: () => note({ kind: 'spawned', required: requireGateway }),
    ended() {
      // Time without a worker does not count as calm.
      rivalry = rivals.interrupted(rivalry);
      note({ kind: 'ended' });
    },
    stop() {
      for (const timer of [quietTimer, deafTimer, suspectTimer]) clearTimeout(timer);
    },
  };
}

/** News that are notes for the status as they are. */
const NOTED = new Set([
  ...['asked', 'accepted', 'completed', 'stolen', 'conflict', 'webhook'],
  ...['flood', 'stranger', 'webhook-turned-down', 'unsealed'],
]);

/** A run that has polled undisturbed for this long counts as the incumbent. */
export function incumbentAfterMs({ rivalAfterMs }: Pick<Config, 'rivalAfterMs'>): number {
  return (rivalAfterMs * 2) / 3;
}

const WEBHOOK_TURNED_DOWN =
  'setWebhook of the worker was turned down (409): it would end its own polling; to let it: --allow-set-webhook';

const FAREWELLS = {
  logout: 'the worker calls logOut: this server will not know the bot any more',
  close: 'the worker calls close: the bot leaves this server for a while',
} as const;

function strangerName(pid: number | null): string {
  return pid === null ? 'a process of this machine' : pidWords(pid);
}
