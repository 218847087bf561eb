/** Alerts and the daily digest of one run: looks at every change and tick, and passes messages on. Supervision never waits for it. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AlertConfig } from '../config/checks.ts';
import { jsonIn } from '../config/files.ts';
import { EXIT } from '../errors.ts';
import { mayWriteWhole } from '../files.ts';
import type { Bus, Changes } from '../output/listeners.ts';
import { botName } from '../output/status-rows.ts';
import type { Summary } from '../supervisor/history.ts';
import type { StatusRecord } from '../supervisor/record.ts';
import type { AlertsEntry, StatusDocument } from '../supervisor/status.ts';
import type { Ending } from '../supervisor/table.ts';
import { type DeliveriesOptions, openDeliveries } from './deliver.ts';
import { eventOfEnd, eventsBetween, isWell, type Look } from './events.ts';
import { type AlertEvent, createAlertGate, createDaily } from './gate.ts';
import { alertMessage, digestMessage, type Sender } from './message.ts';

interface AlertServiceOptions extends DeliveriesOptions {
  readonly secrets: readonly string[];
  readonly status: {
    readonly record: StatusRecord;
    readonly sources: { alerts?: { readonly cure: string; entry(): AlertsEntry; isFailing(): boolean } };
    document(): StatusDocument;
    onNote(listener: () => void): void;
  };
  readonly changes: Changes;
  readonly running: { readonly bus: Bus; lastLines(): readonly string[] };
  readonly botDir: string;
  readonly summary: (spanMs: number) => Summary;
  readonly isStray: (reason: string) => boolean;
}

/** How long an ending waits for its alert. */
const LAST_WORD_MS = 3_000;
const LAST_LINES = 3;

export function openAlerts(options: AlertServiceOptions) {
  const { alerts, status, running, report } = options;
  const file = join(options.botDir, 'alerts.json');
  const gate = createAlertGate(alerts.cooldownMs, jsonIn(file), Date.now());
  const deliveries = openDeliveries(options);
  const isDigestDue = alerts.digest && createDaily(alerts.digest, Date.now());
  const cut = new AbortController();
  let isEndTold = false;
  let before = look();
  let digestSince = before;

  function look(): Look {
    const { tally, rival } = status.record;
    return {
      ...{ doc: status.document(), tally, unixMs: Date.now() },
      hasRivalElsewhere: rival.elsewhere !== null,
    };
  }

  function observe(more: readonly AlertEvent[] = []): void {
    const after = look();
    const events = [...eventsBetween(before, after), ...more];
    before = after;
    const out = gate.step(after.unixMs, events, isWell(after));
    // The state is saved because a supervisor that is restarted again and again must not repeat alerts.
    if (events.length > 0 || out.length > 0) mayWriteWhole(file, `${JSON.stringify(gate.saved())}\n`);
    for (const alert of out) deliveries.post(alertMessage(alert, sender()));
    if (isDigestDue?.(after.unixMs)) tellDigest(after);
  }

  function sender(): Sender {
    const { bot } = before.doc;
    const name = bot?.username ? `@${bot.username}` : botName(before.doc);
    return { bot: name, botId: bot?.id ?? null, host: hostname(), secrets: options.secrets };
  }

  function tellDigest(now: Look): void {
    // Several machines may share the bot, so only the one that polled sends a digest.
    const { polledMs } = options.summary(now.unixMs - digestSince.unixMs);
    if (now.doc.state !== 'standby' || polledMs > 0)
      deliveries.post(digestMessage(digestSince, now, options.summary, sender()));
    digestSince = now;
  }

  /** Sends the alert about the end while the worker is being stopped; neither waits for the other. */
  function tellEnd(ending: Ending): void {
    if (isEndTold || ending.code === EXIT.ok) return;
    isEndTold = true;
    const lines = running.lastLines().slice(-LAST_LINES);
    observe([eventOfEnd(ending, before.doc.log !== null, status.record, options.isStray, lines, Date.now())]);
  }

  function step(): void {
    const { headed } = status.record.state;
    if (headed?.to === 'exit') tellEnd(headed);
  }

  report.line('alert', `problems are told ${placesOf(alerts)}`);
  status.sources.alerts = deliveries;
  status.onNote(step);
  const observeRun = () => void (isEndTold || observe());
  const leaves = [options.changes.listen(observeRun), running.bus.tick.add(observeRun)];
  step();
  observeRun();

  return {
    /** The run has ended: waits a moment for its messages, but not after a requested stop. */
    async finish(ending: Ending): Promise<void> {
      for (const leave of leaves) leave();
      // For an internal error this is the only alert.
      tellEnd(ending);
      if (ending.code !== EXIT.ok) await deliveries.finish(LAST_WORD_MS, cut.signal);
      deliveries.close();
    },
    cut: () => cut.abort(),
  };
}

/** The places that alerts go to, for the line at the start. */
function placesOf({ chat, url, digest }: AlertConfig): string {
  const places = [
    ...(chat === null ? [] : [`to chat ${chat}`]),
    ...(url ? [`to ${new URL(url.url).host}`] : []),
  ];
  return places.join(' and ') + (digest ? `; digest at ${digest.time} ${digest.zone}` : '');
}
