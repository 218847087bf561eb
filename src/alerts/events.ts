/**
 * Finds what has happened between two looks at a run: the difference of two status documents and of some counters. PURE.
 */
import type { StatusDocument, Tally as StatusTally } from '../supervisor/status.ts';
import type { AlertEvent, AlertKind } from './gate.ts';

/** Of a run, what the status document does not show. The numbers only rise. */
export interface Tally extends StatusTally {
  /** For how long the worker has polled, ms. */
  readonly pollingMs: number;
  /** Another poller takes the poll, or was met by the worker within the last minute. */
  readonly contested: boolean;
  /** A 409 was named by the worker lately, and nobody found here; known without a gateway only. */
  readonly rivalElsewhere: boolean;
}

export interface Look {
  readonly doc: StatusDocument;
  readonly tally: Tally;
  readonly unixMs: number;
}

/** Problems that stand in the way now; others tell of the past, or are not about polling. */
const IN_THE_WAY: ReadonlySet<string> = new Set([
  'rival',
  'no-poll',
  'crashing',
  'stray',
  'lease-unreachable',
  'api-unreachable',
]);

/** True where the bot is polled as asked (by another machine, where this one stands by), and nothing is in the way. */
export function isWell({ doc, tally }: Look): boolean {
  const running =
    doc.state === 'polling' ||
    doc.state === 'disabled' ||
    (doc.state === 'standby' && doc.lease?.holder != null);
  return (
    running &&
    !tally.contested &&
    (doc.webhook?.url ?? '') === '' &&
    !doc.problems.some(({ code }) => IN_THE_WAY.has(code))
  );
}

export function eventsBetween(before: Look, after: Look): AlertEvent[] {
  const found: AlertEvent[] = [];
  const tell = (kind: AlertKind, text: string, hint: string | null) =>
    void found.push({ kind, text, hint, lines: [], atMs: after.unixMs });
  const risen = (name: 'straysStopped' | 'webhookSetAgain' | 'deafReplaced' | 'leasesTaken' | 'leasesLost') =>
    Math.max(0, after.tally[name] - before.tally[name]);

  const strays = risen('straysStopped');
  if (strays > 0) {
    const which = after.tally.lastStray ? `: ${after.tally.lastStray}` : '';
    const text =
      strays === 1 ? `a stray poller was stopped${which}` : `${strays} stray pollers were stopped${which} …`;
    tell('stray-stopped', text, 'singlepoll who    # who had started it?');
  }
  if (risen('webhookSetAgain') > 0) {
    const url = after.tally.lastWebhook ? ` to ${after.tally.lastWebhook}` : '';
    const end =
      (after.doc.webhook?.url ?? '') === '' ? 'cleared again, updates kept' : 'it comes back at once';
    tell(
      'webhook-set',
      `somebody set a webhook${url} while we polled; ${end}`,
      'find the program that calls setWebhook: singlepoll who',
    );
  }
  if (risen('deafReplaced') > 0)
    tell('deaf', 'the worker lived without polling and was replaced', 'its own log says what it was doing');
  const stolen = (after.doc.polling?.stolen ?? 0) - (before.doc.polling?.stolen ?? 0);
  if (stolen > 0) {
    const problem = after.doc.problems.find(({ code }) => code === 'stolen');
    const updates = stolen === 1 ? '1 update was' : `${stolen} updates were`;
    const text = `${updates} probably taken by somebody who polls without waiting; nobody got a 409`;
    tell('stolen', text, problem?.hint ?? null);
  }
  // A run that ends because of the rival tells so in its last alert.
  if (!rivalOf(before) && after.doc.state !== 'stopping' && after.doc.state !== 'stopped') {
    const rival = rivalOf(after);
    if (rival) tell('rival', rival.text, rival.hint);
  }
  if (risen('leasesLost') > 0)
    tell(
      'lease-lost',
      `the lease was lost: ${after.tally.lastLeaseLoss ?? 'unknown why'}`,
      'singlepoll status',
    );
  if (risen('leasesTaken') > 0) {
    const epoch = after.doc.lease?.epoch ? ` (epoch ${after.doc.lease.epoch})` : '';
    const from = after.tally.lastHolder ?? 'another machine';
    tell('lease-taken', `the lease was taken over from ${from}${epoch}: this machine polls now`, null);
  }
  return found;
}

function rivalOf({ doc, tally }: Look): { text: string; hint: string | null } | null {
  const problem =
    doc.problems.find(({ code }) => code === 'rival') ??
    (tally.rivalElsewhere ? doc.problems.find(({ code }) => code === 'conflict') : undefined);
  return problem ? { text: problem.message, hint: problem.hint ?? null } : null;
}
