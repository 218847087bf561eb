/**
 * Alerts and the daily digest of one run: looks when something may have changed, and hands what is to be told to the senders, which are
 * loaded then only. Nothing of the supervision waits for any of it.
 */
import { hostname } from 'node:os';
import type { AlertConfig } from '../config/targets.ts';
import {
  type Alert,
  type AlertPolicy,
  alertsDueMs,
  type Happening,
  restoreAlerts,
  SETTLE_MS,
  saveAlerts,
  stepAlerts,
} from '../core/alerts.ts';
import { nextDaily } from '../core/daily.ts';
import { digestLines } from '../core/digest.ts';
import { happenings, isWell, type Look } from '../core/happenings.ts';
import type { AlertsEntry, StatusDocument } from '../core/status.ts';
import type { Ending } from '../core/supervisor.ts';
import { EXIT } from '../errors.ts';
import { RIVAL_CURE } from '../gateway/words.ts';
import type { Report } from '../output/report.ts';
import { botName } from '../output/status-screen.ts';
import { count, duration, howItEnded } from '../output/words.ts';
import type { Changes } from '../supervise/changes.ts';
import type { Facts } from '../supervise/facts.ts';
import { createListeners } from '../supervise/listeners.ts';
import type { Running } from '../supervise/run.ts';
import { type Deliveries, openDeliveries } from './deliver.ts';
import { recallAlerts, rememberAlerts } from './memory.ts';
import { alertMessage, digestMessage, type From, type Message } from './message.ts';

export interface AlertService {
  /** The run has ended for this reason: waits a moment for what is still to be told, not after an asked stop. */
  finish(ending: Ending): Promise<void>;
  /** Whoever waits for the end waits long enough. */
  cut(): void;
}

export interface AlertServiceOptions {
  readonly alerts: AlertConfig;
  readonly apiRoot: string;
  readonly token: string | null;
  /** Never to be shown. */
  readonly secrets: readonly string[];
  readonly report: Report;
  readonly facts: Facts;
  readonly changes: Changes;
  readonly running: Running;
  readonly doc: () => StatusDocument;
  /** The state folder of the bot. */
  readonly botDir: string;
  /** A stray is the reason. */
  readonly isStray: (reason: string) => boolean;
}

/** An ending waits this long for its alert. */
const LAST_WORD_MS = 3_000;
const LAST_LINES = 3;
/** While a "recovered" is owed, what becomes well silently is seen so soon. */
const OWED_LOOK_MS = 5_000;
const CONTESTED_MS = 60_000;
/** Clocks are set and machines are suspended: the time of the digest is looked at so often. */
const DIGEST_LOOK_MS = 300_000;
const TIMER_MAX_MS = 2 ** 31 - 1;

export function openAlerts(options: AlertServiceOptions): AlertService {
  const { alerts, facts, running, botDir } = options;
  const policy: AlertPolicy = { cooldownMs: alerts.cooldownMs, settleMs: SETTLE_MS };
  const { loop } = running;
  const cut = new AbortController();
  let state = restoreAlerts(recallAlerts(botDir), performance.now(), Date.now(), policy);
  /** Messages are on their way to the senders. */
  let telling: Promise<unknown> = Promise.resolve();
  let opened: Deliveries | null = null;
  let timer: NodeJS.Timeout | null = null;
  let digestTimer: NodeJS.Timeout | null = null;
  let endTold = false;
  let pollingMs = 0;
  let pollingSinceMs: number | null = null;

  facts.alerts = () => ({ entry: entry(), failing: opened?.failing() ?? false });

  function entry(): AlertsEntry {
    return opened?.entry() ?? { sent: 0, failed: 0, waiting: 0, lastError: null };
  }

  function look(): Look {
    const nowMs = performance.now();
    const conflictMs =
      facts.lastConflictAtMs === null ? Number.POSITIVE_INFINITY : nowMs - facts.lastConflictAtMs;
    return {
      doc: options.doc(),
      unixMs: Date.now(),
      tally: {
        straysStopped: facts.straysStopped,
        webhookSetAgain: facts.webhookSetAgain,
        deafReplaced: facts.deafReplaced,
        ...{ leasesTaken: facts.leasesTaken, leasesLost: facts.leasesLost, lastHolder: facts.lastHolder },
        ends: { ...facts.ends },
        pollingMs: pollingMs + (pollingSinceMs === null ? 0 : nowMs - pollingSinceMs),
        ...{ lastStray: facts.lastStray, lastWebhook: facts.lastWebhook, lastLeaseLoss: facts.lastLeaseLoss },
        contested: facts.overlap !== null || conflictMs < CONTESTED_MS,
        rivalElsewhere: facts.rivalElsewhere !== null,
      },
    };
  }

  let before = look();
  let digestSince = before;
  const observing = createListeners<[]>('the look for what is to be alerted of', options.report);
  observing.add(() => observe());

  function observe(more: readonly Happening[] = []): void {
    const after = look();
    const found = [...happenings(before, after), ...more];
    before = after;
    const nowMs = performance.now();
    const [next, out] = stepAlerts(
      state,
      { atMs: nowMs, unixMs: after.unixMs, happenings: found, well: isWell(after) },
      policy,
    );
    state = next;
    if (found.length > 0 || out.length > 0) rememberAlerts(botDir, saveAlerts(state, nowMs, after.unixMs));
    if (out.length > 0) telling = Promise.all([telling, tell(out)]);
    arm(nowMs);
  }

  function arm(nowMs: number): void {
    if (timer !== null) clearTimeout(timer);
    const dueMs = alertsDueMs(state, policy) ?? Number.POSITIVE_INFINITY;
    const inMs = Math.min(dueMs - nowMs, state.owed ? OWED_LOOK_MS : Number.POSITIVE_INFINITY);
    timer =
      endTold || inMs === Number.POSITIVE_INFINITY
        ? null
        : setTimeout(observing.tell, Math.min(TIMER_MAX_MS, Math.max(1, Math.ceil(inMs)))).unref();
  }

  function open(): Deliveries {
    opened ??= openDeliveries(options);
    return opened;
  }

  async function tell(out: readonly Alert[]): Promise<void> {
    for (const alert of out) open().post(alertMessage(alert, from()));
  }

  function from(): From {
    const { bot } = before.doc;
    const name = bot?.username ? `@${bot.username}` : botName(before.doc);
    return { bot: name, botId: bot?.id ?? null, host: hostname(), secrets: options.secrets };
  }

  async function digest(): Promise<void> {
    const now = look();
    const since = digestSince;
    digestSince = now;
    // Of several machines, the one that polls tells.
    const polled = now.tally.pollingMs > since.tally.pollingMs;
    if (now.doc.state === 'standby' && !polled) return;
    const message: Message = digestMessage(
      digestLines(since, { ...now, nodeVersion: process.version }),
      now.unixMs,
      from(),
    );
    open().post(message);
  }

  function armDigest(atUnixMs: number): void {
    const { digest: daily } = alerts;
    if (!daily) return;
    const leftMs = atUnixMs - Date.now();
    digestTimer = setTimeout(
      () => {
        if (Date.now() < atUnixMs) return armDigest(atUnixMs);
        void digest();
        armDigest(nextDaily(daily, Math.max(Date.now(), atUnixMs)));
      },
      Math.min(DIGEST_LOOK_MS, Math.max(1, leftMs)),
    ).unref();
  }

  /** Sent beside the stop of the worker, which does not wait for it. */
  function tellEnd(ending: Ending): void {
    if (endTold || ending.code === EXIT.ok) return;
    endTold = true;
    observe([describeEnd(ending)]);
  }

  function describeEnd({ code, reason }: Ending): Happening {
    const atUnixMs = Date.now();
    const tail = () => running.lastLines().slice(-LAST_LINES);
    if (facts.crashLoop) {
      const { exits, periodMs } = facts.crashLoop;
      const { lastExit } = loop.state;
      const last = lastExit ? `, the last ${howItEnded(lastExit)}` : '';
      const text = `${count(exits, 'exit')} of the worker within ${duration(periodMs)}${last}; singlepoll has given up (exit ${code})`;
      const hint = `${facts.log() ? 'singlepoll logs -n 50, then: ' : ''}singlepoll reset    # starts it again with the same command`;
      return { kind: 'crash-loop', text, hint, lines: tail(), atUnixMs };
    }
    if (options.isStray(reason))
      return {
        kind: 'stray-back',
        text: `${reason} (exit ${code})`,
        hint: 'singlepoll who',
        lines: [],
        atUnixMs,
      };
    if (code === EXIT.otherPoller && facts.overlap?.isRival)
      return { kind: 'rival', text: `${reason} (exit ${code})`, hint: RIVAL_CURE, lines: [], atUnixMs };
    const worker = reason === 'the worker ended';
    return {
      kind: 'ended',
      text: `${worker ? 'the worker ended and is not started again' : reason} (exit ${code})`,
      hint: 'singlepoll reset    # starts it again with the same command',
      lines: worker ? tail() : [],
      atUnixMs,
    };
  }

  function step(): void {
    const { phase, headed, pid } = loop.state;
    const polls = facts.polling ? phase === 'polling' : pid !== null;
    if (polls && pollingSinceMs === null) pollingSinceMs = performance.now();
    else if (!polls && pollingSinceMs !== null) {
      pollingMs += performance.now() - pollingSinceMs;
      pollingSinceMs = null;
    }
    if (headed?.to === 'exit') tellEnd(headed);
  }

  running.onStep(step);
  const leave = options.changes.listen(() => {
    if (!endTold) observe();
  });
  if (alerts.digest) armDigest(nextDaily(alerts.digest, Date.now()));
  step();
  arm(performance.now());

  return {
    async finish(ending) {
      leave();
      // A bug is told of nowhere else.
      tellEnd(ending);
      if (timer !== null) clearTimeout(timer);
      if (digestTimer !== null) clearTimeout(digestTimer);
      if (ending.code !== EXIT.ok && opened) {
        await telling;
        await opened.finish(LAST_WORD_MS, cut.signal);
      }
      opened?.close();
    },
    cut: () => cut.abort(),
  };
}

/** Where alerts go, for the line at the start. */
export function alertsText({ chat, url, digest }: AlertConfig): string {
  const places = [
    ...(chat === null ? [] : [`to chat ${chat}`]),
    ...(url === null ? [] : [`to ${new URL(url.url).host}`]),
  ];
  const at = digest
    ? `; digest at ${String(digest.hour).padStart(2, '0')}:${String(digest.minute).padStart(2, '0')} ${digest.zone}`
    : '';
  return places.join(' and ') + at;
}
