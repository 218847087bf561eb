/** The daily digest: what was counted since the last one, as lines for people. Pure. */
import { count, duration, leaseWords, ON_REQUEST } from '../output/words.ts';
import type { Look } from './happenings.ts';

export interface DigestEnd extends Look {
  /** Of Node. */
  readonly nodeVersion: string;
}

/** `since`: the look of the last digest or of the start. */
export function digestLines(since: Look, now: DigestEnd): string[] {
  const { doc, tally } = now;
  const periodMs = Math.max(1, now.unixMs - since.unixMs);
  const lines = [
    `in the last ${duration(periodMs)}: ${doc.polling ? 'polled' : 'ran'} ${share(tally.pollingMs - since.tally.pollingMs, periodMs)} of the time${upText(now)}`,
  ];
  if (doc.polling) {
    const before = since.doc.polling;
    const polls = doc.polling.polls - (before?.polls ?? 0);
    const updates = doc.polling.updates - (before?.updates ?? 0);
    lines.push(
      doc.polling.via === 'direct' && doc.polling.polls === 0
        ? 'polls and updates: past the gateway, so not seen'
        : `polls: ${polls}, updates: ${updates}`,
    );
  }
  lines.push(`restarts: ${restarts(since, now)}`);
  if (doc.polling) {
    const before = since.doc.polling?.conflicts;
    const poller = doc.polling.conflicts.poller - (before?.poller ?? 0);
    const webhook = doc.polling.conflicts.webhook - (before?.webhook ?? 0);
    lines.push(`conflicts (409): ${poller} with another poller, ${webhook} with a webhook`);
    const stolen = doc.polling.stolen - (since.doc.polling?.stolen ?? 0);
    if (stolen > 0) lines.push(`updates taken by somebody else: ${stolen}`);
    lines.push(`strays stopped: ${tally.straysStopped - since.tally.straysStopped}`);
    const set = count(tally.webhookSetAgain - since.tally.webhookSetAgain, 'time');
    const url = doc.webhook?.url ?? '';
    const pending = doc.webhook ? `, ${count(doc.webhook.pendingUpdates, 'update')} waiting` : '';
    lines.push(`webhook: set again ${set}, now ${url === '' ? 'none' : url}${pending}`);
  }
  if (doc.lease) lines.push(`lease: ${leaseWords(doc.lease, now.unixMs)}`);
  lines.push(
    doc.problems.length === 0
      ? 'problems now: none'
      : `problems now: ${doc.problems.map(({ message }) => message).join('; ')}`,
  );
  if (doc.alerts)
    lines.push(`alerts since the start: ${doc.alerts.sent} delivered, ${doc.alerts.failed} failed`);
  lines.push(`singlepoll ${doc.supervisor?.version ?? 'unknown'}, Node ${now.nodeVersion.replace(/^v/, '')}`);
  return lines;
}

function upText({ doc, unixMs }: Look): string {
  const at = doc.supervisor?.startedAt;
  return at ? `, supervisor up ${duration(Math.max(0, unixMs - Date.parse(at)))}` : '';
}

/** Never rounded up to 100 %. */
function share(partMs: number, wholeMs: number): string {
  const percent = Math.min(100, Math.max(0, (partMs / wholeMs) * 100));
  return percent >= 99.995 ? '100 %' : `${(Math.floor(percent * 100) / 100).toFixed(percent < 99 ? 1 : 2)} %`;
}

function restarts(since: Look, { doc, tally }: Look): string {
  const times = (doc.worker?.restarts ?? 0) - (since.doc.worker?.restarts ?? 0);
  const deaf = tally.deafReplaced - since.tally.deafReplaced;
  const ends = Object.entries(tally.ends)
    .map(([how, n]) => [how, n - (since.tally.ends[how] ?? 0) - (how === ON_REQUEST ? deaf : 0)] as const)
    .filter(([, n]) => n > 0)
    .sort(([, a], [, b]) => b - a);
  const why = ends.map(([how, n]) => `${n} ended ${how}`);
  if (deaf > 0) why.push(`${deaf} replaced as deaf`);
  return `${times}${why.length > 0 ? ` (workers: ${why.join(', ')})` : ''}`;
}
