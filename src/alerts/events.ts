/** Finds what happened between two looks at a run by comparing status documents and tallies, and judges its end. PURE. */
import { EXIT } from '../errors.ts';
import { STOLEN_CURE, WEBHOOK_CURE } from '../gateway/words.ts';
import { count, duration, howItEnded, RIVAL_CURE } from '../output/words.ts';
import type { StatusDocument, StatusRecord, Tally } from '../supervisor/status.ts';
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
  const { straysStopped, webhookSetAgain, deafReplaced, leasesLost, leasesTaken } = before.tally;
  const strays = tally.straysStopped - straysStopped;
  const stolen = (doc.polling?.stolen ?? 0) - (before.doc.polling?.stolen ?? 0);
  const rival = rivalOf(after);
  const url = tally.lastWebhook ? ` to ${tally.lastWebhook}` : '';
  const cleared = doc.webhook?.url ? 'it comes back at once' : 'cleared again, updates kept';
  const epoch = doc.lease?.epoch ? ` (epoch ${doc.lease.epoch})` : '';
  const found: readonly (readonly [AlertKind, isNew: boolean, text: string, hint?: string | undefined])[] = [
    [
      'stray-stopped',
      strays > 0,
      `${strays === 1 ? 'a stray poller was' : `${strays} stray pollers were`} stopped: ${tally.lastStray}`,
      'singlepoll who    # who had started it?',
    ],
    [
      'webhook-set',
      tally.webhookSetAgain > webhookSetAgain,
      `somebody set a webhook${url} while we polled; ${cleared}`,
      WEBHOOK_CURE,
    ],
    [
      'deaf',
      tally.deafReplaced > deafReplaced,
      'the worker lived without polling and was replaced',
      'its own log says what it was doing',
    ],
    [
      'stolen',
      stolen > 0,
      `${count(stolen, 'update')} probably taken by somebody who polls without waiting; nobody got a 409`,
      STOLEN_CURE,
    ],
    // A run that ends because of the rival says so in its last alert.
    ['rival', rival !== null && rivalOf(before) === null, rival?.message ?? '', rival?.hint],
    [
      'lease-lost',
      tally.leasesLost > leasesLost,
      `the lease was lost: ${tally.lastLeaseLoss ?? 'unknown why'}`,
      'singlepoll status',
    ],
    [
      'lease-taken',
      tally.leasesTaken > leasesTaken,
      `the lease was taken over from ${tally.lastHolder ?? 'another machine'}${epoch}: this machine polls now`,
    ],
  ];
  return found.flatMap(([kind, isNew, text, hint = null]) => (isNew ? [{ kind, text, hint, atMs }] : []));
}

function rivalOf({ doc, hasRivalElsewhere }: Look): StatusDocument['problems'][number] | null {
  const isRival = (code: string) => code === 'rival' || (code === 'conflict' && hasRivalElsewhere);
  const ends = /^stop/.test(doc.state);
  return (!ends && doc.problems.find(({ code }) => isRival(code))) || null;
}

/** The alert about the end of a run. `lines` are the worker's last lines. */
export function eventOfEnd(
  { code, reason, hint: own }: Ending,
  { crashLoop, overlap, state }: Pick<StatusRecord, 'crashLoop' | 'overlap' | 'state'>,
  {
    hasLog,
    isStray,
    lines,
    atMs,
  }: { hasLog: boolean; isStray: boolean; lines: readonly string[]; atMs: number },
): AlertEvent {
  const hint = own ?? 'singlepoll reset    # starts it again with the same command';
  const text = `${reason} (exit ${code})`;
  if (crashLoop) {
    const last = state.lastExit ? `, the last ${howItEnded(state.lastExit)}` : '';
    const exits = `${count(crashLoop.exits, 'exit')} of the worker within ${duration(crashLoop.periodMs)}${last}`;
    const given = `${exits}; singlepoll has given up (exit ${code})`;
    return {
      kind: 'crash-loop',
      text: given,
      hint: `${hasLog ? 'singlepoll logs -n 50, then: ' : ''}${hint}`,
      lines,
      atMs,
    };
  }
  if (isStray) return { kind: 'stray-back', text, hint: own ?? 'singlepoll who', atMs };
  if (code === EXIT.otherPoller && overlap?.isRival)
    return { kind: 'rival', text, hint: own ?? RIVAL_CURE, atMs };
  if (reason !== 'the worker ended') return { kind: 'ended', text, hint, atMs };
  return {
    kind: 'ended',
    text: `the worker ended and is not started again (exit ${code})`,
    hint,
    lines,
    atMs,
  };
}
