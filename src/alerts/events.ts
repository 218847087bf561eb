/** Finds what has happened between two looks at a run, and what its end means: differences of two status documents and tallies. PURE. */
import { EXIT } from '../errors.ts';
import { RIVAL_CURE } from '../gateway/words.ts';
import { count, duration, howItEnded } from '../output/words.ts';
import type { StatusDocument, StatusRecord, Tally } from '../supervisor/status.ts';
import type { Ending } from '../supervisor/table.ts';
import type { AlertEvent, AlertKind } from './gate.ts';

export interface Look {
  readonly doc: StatusDocument;
  readonly tally: Tally;
  /** For how long the worker has polled, ms. */
  readonly pollingMs: number;
  /** Another poller takes the poll, or was met by the worker within the last minute. */
  readonly isContested: boolean;
  /** A 409 was named by the worker lately, and nobody found here; known without a gateway only. */
  readonly hasRivalElsewhere: boolean;
  readonly unixMs: number;
}

/** Problems that stand in the way now; others tell of the past, or are not about polling. */
const IN_THE_WAY = /^(rival|no-poll|crashing|stray|lease-unreachable|api-unreachable)$/;

/** True where the bot is polled as asked (by another machine, where this one stands by), and nothing is in the way. */
export function isWell({ doc, isContested }: Look): boolean {
  const { state, lease, webhook, problems } = doc;
  const runs = /^(polling|disabled)$/.test(state) || (state === 'standby' && lease?.holder != null);
  return runs && !isContested && !webhook?.url && !problems.some(({ code }) => IN_THE_WAY.test(code));
}

/** Counters whose rise is told: kind, how often, what is said of it, the cure. */
const COUNTED: readonly (readonly [
  AlertKind,
  (look: Look) => number,
  (risen: number, look: Look) => string,
  ((look: Look) => string | null)?,
])[] = [
  [
    'stray-stopped',
    ({ tally }) => tally.straysStopped,
    (risen, { tally }) =>
      `${risen === 1 ? 'a stray poller was' : `${risen} stray pollers were`} stopped: ${tally.lastStray ?? 'unknown'}${risen > 1 ? ' …' : ''}`,
    () => 'singlepoll who    # who had started it?',
  ],
  [
    'webhook-set',
    ({ tally }) => tally.webhookSetAgain,
    (_, { tally, doc }) =>
      `somebody set a webhook${tally.lastWebhook ? ` to ${tally.lastWebhook}` : ''} while we polled; ${doc.webhook?.url ? 'it comes back at once' : 'cleared again, updates kept'}`,
    () => 'find the program that calls setWebhook: singlepoll who',
  ],
  [
    'deaf',
    ({ tally }) => tally.deafReplaced,
    () => 'the worker lived without polling and was replaced',
    () => 'its own log says what it was doing',
  ],
  [
    'stolen',
    ({ doc }) => doc.polling?.stolen ?? 0,
    (risen) =>
      `${risen === 1 ? '1 update was' : `${risen} updates were`} probably taken by somebody who polls without waiting; nobody got a 409`,
    ({ doc }) => doc.problems.find(({ code }) => code === 'stolen')?.hint ?? null,
  ],
  // A run that ends because of the rival tells so in its last alert.
  [
    'rival',
    (look) => Number(rivalOf(look) !== null),
    (_, look) => rivalOf(look)!.message,
    (look) => rivalOf(look)!.hint ?? null,
  ],
  [
    'lease-lost',
    ({ tally }) => tally.leasesLost,
    (_, { tally }) => `the lease was lost: ${tally.lastLeaseLoss ?? 'unknown why'}`,
    () => 'singlepoll status',
  ],
  [
    'lease-taken',
    ({ tally }) => tally.leasesTaken,
    (_, { tally, doc }) =>
      `the lease was taken over from ${tally.lastHolder ?? 'another machine'}${doc.lease?.epoch ? ` (epoch ${doc.lease.epoch})` : ''}: this machine polls now`,
  ],
];

export function eventsBetween(before: Look, after: Look): AlertEvent[] {
  return COUNTED.flatMap(([kind, of, words, cure]) => {
    const risen = of(after) - of(before);
    return risen > 0
      ? [{ kind, text: words(risen, after), hint: cure?.(after) ?? null, atMs: after.unixMs }]
      : [];
  });
}

function rivalOf({ doc, hasRivalElsewhere }: Look): StatusDocument['problems'][number] | null {
  const isRival = (code: string) => code === 'rival' || (code === 'conflict' && hasRivalElsewhere);
  const ends = /^stop/.test(doc.state);
  return (!ends && doc.problems.find(({ code }) => isRival(code))) || null;
}

/** What is told of a run's end. `lines`: the worker's last ones. */
export function eventOfEnd(
  { code, reason }: Ending,
  { crashLoop, overlap, state }: Pick<StatusRecord, 'crashLoop' | 'overlap' | 'state'>,
  {
    hasLog,
    isStray,
    lines,
    atMs,
  }: { hasLog: boolean; isStray: boolean; lines: readonly string[]; atMs: number },
): AlertEvent {
  const hint = 'singlepoll reset    # starts it again with the same command';
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
  if (isStray) return { kind: 'stray-back', text, hint: 'singlepoll who', atMs };
  if (code === EXIT.otherPoller && overlap?.isRival) return { kind: 'rival', text, hint: RIVAL_CURE, atMs };
  if (reason !== 'the worker ended') return { kind: 'ended', text, hint, atMs };
  return {
    kind: 'ended',
    text: `the worker ended and is not started again (exit ${code})`,
    hint,
    lines,
    atMs,
  };
}
