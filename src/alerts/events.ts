/** Finds what happened between two looks at a run by comparing status documents and tallies, and judges its end. PURE. */
import { EXIT } from '../errors.ts';
import { STOLEN_CURE, WEBHOOK_CURE } from '../gateway/words.ts';
import { count, duration, howItEnded, RIVAL_CURE } from '../output/words.ts';
import type { StatusRecord, Tally } from '../supervisor/record.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import type { Ending } from '../supervisor/table.ts';
import type { AlertEvent, AlertKind } from './gate.ts';

export interface Look {
  readonly doc: StatusDocument;
  readonly tally: Tally;
  /** The worker lately printed a 409, and no poller was found here; known only without a gateway. */
  readonly hasRivalElsewhere: boolean;
  readonly unixMs: number;
}

/** Problems that prevent polling. */
const IN_THE_WAY = /^(rival|conflict|webhook-set|no-poll|crashing|stray|lease-unreachable|api-unreachable)$/;

/** True if the bot is polled as configured (by another machine if this one stands by) without problems. */
export function isWell({ doc }: Look): boolean {
  const { state, lease, problems } = doc;
  const runs = /^(polling|disabled)$/.test(state) || (state === 'standby' && lease?.holder != null);
  return runs && !problems.some(({ code }) => IN_THE_WAY.test(code));
}

export function eventsBetween(before: Look, after: Look): AlertEvent[] {
  const { doc, tally, unixMs: atMs } = after;
  const events: AlertEvent[] = [];
  const add = (kind: AlertKind, text: string, hint: string | null = null) =>
    void events.push({ kind, text, hint, atMs });
  const strays = tally.straysStopped - before.tally.straysStopped;
  const were = strays === 1 ? 'a stray poller was' : `${strays} stray pollers were`;
  if (strays > 0)
    add('stray-stopped', `${were} stopped: ${tally.lastStray}`, 'singlepoll who    # who had started it?');
  const cleared = doc.webhook?.url ? 'it comes back at once' : 'cleared again, updates kept';
  const set = `somebody set a webhook to ${tally.lastWebhook} while we polled; ${cleared}`;
  if (tally.webhookSetAgain > before.tally.webhookSetAgain) add('webhook-set', set, WEBHOOK_CURE);
  const deaf = 'the worker lived without polling and was replaced';
  if (tally.deafReplaced > before.tally.deafReplaced) add('deaf', deaf, 'its own log says what it was doing');
  const stolen = (doc.polling?.stolen ?? 0) - (before.doc.polling?.stolen ?? 0);
  const taken = `${count(stolen, 'update')} probably taken by somebody who polls without waiting; nobody got a 409`;
  if (stolen > 0) add('stolen', taken, STOLEN_CURE);
  // A run that ends because of the rival says so in its last alert.
  const rival = rivalOf(before) === null ? rivalOf(after) : null;
  if (rival) add('rival', rival.message, rival.hint);
  if (tally.leasesLost > before.tally.leasesLost)
    add('lease-lost', `the lease was lost: ${tally.lastLeaseLoss}`, 'singlepoll status');
  const from = `${tally.lastHolder}${doc.lease?.epoch ? ` (epoch ${doc.lease.epoch})` : ''}`;
  if (tally.leasesTaken > before.tally.leasesTaken)
    add('lease-taken', `the lease was taken over from ${from}: this machine polls now`);
  return events;
}

function rivalOf({ doc, hasRivalElsewhere }: Look): StatusDocument['problems'][number] | null {
  const isRival = (code: string) => code === 'rival' || (code === 'conflict' && hasRivalElsewhere);
  const ends = /^stop/.test(doc.state);
  return (!ends && doc.problems.find(({ code }) => isRival(code))) || null;
}

/** The alert about the end of a run. `lines` are the worker's last lines. */
export function eventOfEnd(
  { code, reason, hint: own }: Ending,
  hasLog: boolean,
  { crashLoop, overlap, state }: Pick<StatusRecord, 'crashLoop' | 'overlap' | 'state'>,
  isStray: (reason: string) => boolean,
  lines: readonly string[],
  atMs: number,
): AlertEvent {
  const hint = own ?? 'singlepoll reset    # starts it again with the same command';
  const text = `${reason} (exit ${code})`;
  if (crashLoop) {
    const last = state.lastExit ? `, the last ${howItEnded(state.lastExit)}` : '';
    const exits = `${count(crashLoop.exits, 'exit')} of the worker within ${duration(crashLoop.periodMs)}${last}`;
    const given = `${exits}; singlepoll has given up (exit ${code})`;
    const next = `${hasLog ? 'singlepoll logs -n 50, then: ' : ''}${hint}`;
    return { kind: 'crash-loop', text: given, hint: next, lines, atMs };
  }
  if (isStray(reason)) return { kind: 'stray-back', text, hint: own ?? 'singlepoll who', atMs };
  if (code === EXIT.otherPoller && overlap?.isRival)
    return { kind: 'rival', text, hint: own ?? RIVAL_CURE, atMs };
  if (reason !== 'the worker ended') return { kind: 'ended', text, hint, atMs };
  const ended = `the worker ended and is not started again (exit ${code})`;
  return { kind: 'ended', text: ended, hint, lines, atMs };
}
