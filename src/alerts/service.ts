/**
 * Alerts and the daily digest of one run: looks when something may have changed, and hands what is to be told to the senders. Nothing
 * of the supervision waits for any of it.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AlertConfig, Daily } from '../config/targets.ts';
import { EXIT } from '../errors.ts';
import { writeWhole } from '../files.ts';
import { RIVAL_CURE } from '../gateway/words.ts';
import type { Changes } from '../output/listeners.ts';
import { createListeners } from '../output/listeners.ts';
import type { Report } from '../output/report.ts';
import { botName } from '../output/status-rows.ts';
import { count, duration, howItEnded } from '../output/words.ts';
import type { AlertsEntry, StatusDocument, StatusRecord } from '../supervisor/status.ts';
import type { Ending, State } from '../supervisor/table.ts';
import { createDaily } from './daily.ts';
import { openDeliveries } from './deliver.ts';
import { eventsBetween, isWell, type Look } from './events.ts';
import { type AlertEvent, createAlertGate } from './gate.ts';
import { alertMessage, digestMessage, type Sender } from './message.ts';

export interface AlertService {
  /** The run has ended for this reason: waits a moment for what is still to be told, not after an asked stop. */
  finish(ending: Ending): Promise<void>;
  /** Ends the wait of `finish` at once. */
  cut(): void;
}

/** The run, as alerts see it. */
export interface AlertedRun {
  readonly loop: { readonly state: Pick<State, 'phase' | 'headed' | 'pid' | 'lastExit'> };
  lastLines(): readonly string[];
  onStep(listener: () => void): void;
}

export interface AlertServiceOptions {
  readonly alerts: AlertConfig;
  readonly apiRoot: string;
  readonly token: string | null;
  /** Never to be shown. */
  readonly secrets: readonly string[];
  readonly report: Report;
  readonly status: {
    readonly record: StatusRecord;
    readonly sources: { alerts?: { entry(): AlertsEntry; isFailing(): boolean } };
    document(): StatusDocument;
  };
  readonly changes: Changes;
  readonly running: AlertedRun;
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
const MINUTE_MS = 60_000;
const TIMER_MAX_MS = 2 ** 31 - 1;

export function openAlerts(options: AlertServiceOptions): AlertService {
  const { alerts, status, running, report } = options;
  const { loop } = running;
  const file = join(options.botDir, 'alerts.json');
  const gate = createAlertGate(alerts.cooldownMs, readSaved(file), Date.now());
  const deliveries = openDeliveries(options);
  const cut = new AbortController();
  let timer: NodeJS.Timeout | null = null;
  let digestTimer: NodeJS.Timeout | null = null;
  let endTold = false;
  let pollingMs = 0;
  let pollingSinceMs: number | null = null;
  let before = look();
  let digestSince = before;

  report.line('alert', `problems are told ${alertsText(alerts)}`);
  status.sources.alerts = deliveries;

  function look(): Look {
    const nowMs = performance.now();
    const { tally, lastMs, overlap, rival } = status.record;
    const conflictAtMs = lastMs.conflict ?? Number.NEGATIVE_INFINITY;
    return {
      doc: status.document(),
      unixMs: Date.now(),
      tally: {
        ...tally,
        pollingMs: pollingMs + (pollingSinceMs === null ? 0 : nowMs - pollingSinceMs),
        contested: overlap !== null || nowMs - conflictAtMs < CONTESTED_MS,
        rivalElsewhere: rival.elsewhere !== null,
      },
    };
  }

  function observe(more: readonly AlertEvent[] = []): void {
    const after = look();
    const events = [...eventsBetween(before, after), ...more];
    before = after;
    const out = gate.step(after.unixMs, events, isWell(after));
    if (events.length > 0 || out.length > 0) save(file, gate.saved());
    for (const alert of out) deliveries.post(alertMessage(alert, sender()));
    arm();
  }

  const observing = createListeners<[]>('the look for what is to be alerted of', report);
  observing.add(() => observe());

  function arm(): void {
    if (timer !== null) clearTimeout(timer);
    const dueMs = (gate.dueMs() ?? Number.POSITIVE_INFINITY) - Date.now();
    const inMs = Math.min(dueMs, gate.isOwed() ? OWED_LOOK_MS : Number.POSITIVE_INFINITY);
    timer =
      endTold || inMs === Number.POSITIVE_INFINITY
        ? null
        : setTimeout(observing.tell, Math.min(TIMER_MAX_MS, Math.max(1, Math.ceil(inMs)))).unref();
  }

  function sender(): Sender {
    const { bot } = before.doc;
    const name = bot?.username ? `@${bot.username}` : botName(before.doc);
    return { bot: name, botId: bot?.id ?? null, host: hostname(), secrets: options.secrets };
  }

  function tellDigest(): void {
    const since = digestSince;
    digestSince = look();
    // Several machines may share the bot: only the one that polled sends a digest.
    const hasPolled = digestSince.tally.pollingMs > since.tally.pollingMs;
    if (digestSince.doc.state !== 'standby' || hasPolled)
      deliveries.post(digestMessage(since, digestSince, sender()));
  }

  /** Looks at each full minute. */
  function openDigest(daily: Daily): void {
    const isDue = createDaily(daily, Date.now());
    const telling = createListeners<[]>('the daily digest', report);
    telling.add(() => void (isDue(Date.now()) && tellDigest()));
    const wait = (): void => {
      digestTimer = setTimeout(
        () => {
          telling.tell();
          wait();
        },
        MINUTE_MS - (Date.now() % MINUTE_MS),
      ).unref();
    };
    wait();
  }

  /** Sent beside the stop of the worker, which does not wait for it. */
  function tellEnd(ending: Ending): void {
    if (endTold || ending.code === EXIT.ok) return;
    endTold = true;
    observe([eventOf(ending)]);
  }

  function eventOf({ code, reason }: Ending): AlertEvent {
    const event = { hint: 'singlepoll reset    # starts it again with the same command', atMs: Date.now() };
    const tail = () => running.lastLines().slice(-LAST_LINES);
    const text = `${reason} (exit ${code})`;
    const { crashLoop, overlap } = status.record;
    if (crashLoop) {
      const { exits, periodMs } = crashLoop;
      const { lastExit } = loop.state;
      const last = lastExit ? `, the last ${howItEnded(lastExit)}` : '';
      return {
        ...{ ...event, kind: 'crash-loop', lines: tail() },
        text: `${count(exits, 'exit')} of the worker within ${duration(periodMs)}${last}; singlepoll has given up (exit ${code})`,
        hint: `${status.document().log ? 'singlepoll logs -n 50, then: ' : ''}${event.hint}`,
      };
    }
    if (options.isStray(reason))
      return { ...event, kind: 'stray-back', text, hint: 'singlepoll who', lines: [] };
    if (code === EXIT.otherPoller && overlap?.isRival)
      return { ...event, kind: 'rival', text, hint: RIVAL_CURE, lines: [] };
    if (reason !== 'the worker ended') return { ...event, kind: 'ended', text, lines: [] };
    const ended = `the worker ended and is not started again (exit ${code})`;
    return { ...event, kind: 'ended', text: ended, lines: tail() };
  }

  function step(): void {
    const { phase, headed, pid } = loop.state;
    const polls = status.record.polls ? phase === 'polling' : pid !== null;
    if (polls) pollingSinceMs ??= performance.now();
    else if (pollingSinceMs !== null) {
      pollingMs += performance.now() - pollingSinceMs;
      pollingSinceMs = null;
    }
    if (headed?.to === 'exit') tellEnd(headed);
  }

  running.onStep(step);
  const leave = options.changes.listen(() => {
    if (!endTold) observe();
  });
  if (alerts.digest) openDigest(alerts.digest);
  step();
  arm();

  return {
    async finish(ending) {
      leave();
      // A bug is told of nowhere else.
      tellEnd(ending);
      if (timer !== null) clearTimeout(timer);
      if (digestTimer !== null) clearTimeout(digestTimer);
      if (ending.code !== EXIT.ok) await deliveries.finish(LAST_WORD_MS, cut.signal);
      deliveries.close();
    },
    cut: () => cut.abort(),
  };
}

function readSaved(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}

/** A supervisor that is started again and again must not tell the same each time. What can't be written is done without. */
function save(file: string, saved: unknown): void {
  try {
    writeWhole(file, `${JSON.stringify(saved)}\n`);
  } catch {
    // The next one may tell the same again.
  }
}

/** Says where alerts go, for the line at the start. */
function alertsText({ chat, url, digest }: AlertConfig): string {
  const places = [
    ...(chat === null ? [] : [`to chat ${chat}`]),
    ...(url === null ? [] : [`to ${new URL(url.url).host}`]),
  ];
  const two = (n: number) => String(n).padStart(2, '0');
  const at = digest ? `; digest at ${two(digest.hour)}:${two(digest.minute)} ${digest.zone}` : '';
  return places.join(' and ') + at;
}
