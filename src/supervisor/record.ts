/**
 * What a supervisor keeps of its run: only `noted` changes it. Times are ISO 8601 for people, and monotonic ms for ages. What everybody is
 * shown derives from it (status-document.ts). PURE.
 */
import { BLANK, type StatusDocument, type StrayEntry } from './status.ts';
import { initial, type State } from './table.ts';

/** What the document is made of, and what a problem of the recent past is known by. */
export interface StatusRecord {
  readonly bot: StatusDocument['bot'];
  readonly supervisor: NonNullable<StatusDocument['supervisor']>;
  readonly polls: boolean;
  readonly polling: NonNullable<StatusDocument['polling']>;
  readonly webhook: StatusDocument['webhook'];
  readonly strays: readonly StrayEntry[];
  readonly state: State;
  /** When its present phase began. */
  readonly stepMs: number;
  readonly deafAfterMs: number;
  readonly last: Readonly<Partial<Record<Moment, Time>>>;
  /** A 429 asked for a pause until then. */
  readonly pausedUntilMs: number;
  /** The last try to reach the Bot API failed with this. */
  readonly apiProblem: string | null;
  /** Another poller takes the poll by turns. */
  readonly overlap: Overlap | null;
  readonly rival: {
    /** One that was found here and can't be stopped from here. */
    readonly here: string | null;
    /** What to do about it, wherever it is. */
    readonly hint: string | null;
    /** One of this machine that has reacted to a poll of ours, which is no proof yet. */
    readonly suspect: string | null;
    /** What is said of one that was not found on this machine. */
    readonly elsewhere: string | null;
  };
  /** The worker has set a webhook of its own, as it was allowed to. */
  readonly webhookOfWorker: boolean;
  /** Exits within a period; null: no crash loop. */
  readonly crashLoop: { readonly exits: number; readonly periodMs: number } | null;
  readonly tally: Tally;
}

/** The kinds of events, and the present worker's start: when each was last is kept. */
export type Moment = Kind | 'worker-start';

export interface Overlap {
  readonly sinceMs: number;
  readonly kicks: number;
  readonly isRival: boolean;
}

/** The numbers only rise. Of each kind the last one is kept for people. */
export interface Tally {
  readonly straysStopped: number;
  readonly lastStray: string | null;
  readonly webhooksCleared: number;
  readonly webhookSetAgain: number;
  readonly lastWebhook: string | null;
  readonly deafReplaced: number;
  /** Terms of the lease that were won from another machine. */
  readonly leasesTaken: number;
  readonly lastHolder: string | null;
  /** Terms of the lease that ended against our will. */
  readonly leasesLost: number;
  readonly lastLeaseLoss: string | null;
  /** How each worker ended, and how often: `with code 1`, `by SIGKILL`, `on request`. */
  readonly ends: Readonly<Record<string, number>>;
}

/** The record of a run that has not begun. `via`: null in deploy mode. */
export function newRecord(
  known: Pick<StatusRecord, 'bot' | 'supervisor' | 'deafAfterMs'>,
  via: 'gateway' | 'direct' | null,
): StatusRecord {
  return {
    ...known,
    polls: via !== null,
    polling: { ...BLANK.polling, via: via ?? 'direct' },
    rival: { here: null, hint: null, suspect: null, elsewhere: null },
    ...{ state: initial, stepMs: 0, webhook: null, strays: [] },
    ...{ last: {}, pausedUntilMs: 0, apiProblem: null, overlap: null },
    ...{ webhookOfWorker: false, crashLoop: null },
    tally: {
      ...{ straysStopped: 0, lastStray: null, webhooksCleared: 0, webhookSetAgain: 0, lastWebhook: null },
      ...{ deafReplaced: 0, leasesTaken: 0, lastHolder: null, leasesLost: 0, lastLeaseLoss: null, ends: {} },
    },
  };
}

interface Time {
  /** Monotonic. */
  readonly atMs: number;
  /** ISO 8601. */
  readonly at: string;
}

type SeenWebhook = Omit<NonNullable<StatusDocument['webhook']>, 'checkedAt'>;

/** A poll takes waiting updates; an empty answer says that none waits. */
function fewerPending(
  webhook: NonNullable<StatusDocument['webhook']>,
  updates: number,
  { at }: Time,
): StatusDocument['webhook'] {
  if (updates === 0) return { ...webhook, pendingUpdates: 0, checkedAt: at };
  return { ...webhook, pendingUpdates: Math.max(0, webhook.pendingUpdates - updates) };
}

type Change = Partial<StatusRecord>;
type Old = StatusRecord;

const polling = ({ polling: it }: Old, change: Partial<StatusRecord['polling']>): Change => ({
  polling: { ...it, ...change },
});
const conflict = (old: Old, cause: 'poller' | 'webhook'): Change => {
  const { conflicts } = old.polling;
  return polling(old, { conflicts: { ...conflicts, [cause]: conflicts[cause] + 1 } });
};
const tally = ({ tally: it }: Old, change: Partial<Tally>): Change => ({ tally: { ...it, ...change } });

/** What can happen, and what of the record it changes. */
const CHANGES = {
  step(old: Old, { state }: { state: State }, time: Time): Change {
    const isNew = state.pid !== null && state.pid !== old.state.pid;
    return {
      state,
      ...(state.phase === old.state.phase ? {} : { stepMs: time.atMs }),
      ...(isNew ? { last: { ...old.last, 'worker-start': time } } : {}),
    };
  },
  identified: (_old: Old, { bot }: { bot: StatusDocument['bot'] }) => ({ bot }),
  command: (old: Old, { command }: { command: readonly string[] }) => ({
    supervisor: { ...old.supervisor, command },
  }),
  'worker-ended': (old: Old, { how }: { how: string }) =>
    tally(old, { ends: { ...old.tally.ends, [how]: (old.tally.ends[how] ?? 0) + 1 } }),
  'crash-loop': (_old: Old, { exits, periodMs }: { exits: number; periodMs: number }) => ({
    crashLoop: { exits, periodMs },
  }),
  /** The worker's output names another poller. */
  'named-conflict': (old: Old) => conflict(old, 'poller'),
  'past-gateway': (old: Old, { past }: { past: StatusRecord['polling']['past'] }) =>
    polling(old, { via: 'direct', past }),
  deaf: (old: Old) => tally(old, { deafReplaced: old.tally.deafReplaced + 1 }),
  rival: (old: Old, { rival }: { rival: Partial<StatusRecord['rival']> }) => ({
    rival: { ...old.rival, ...rival },
  }),
  overlap: ({ rival }: Old, { overlap }: { overlap: Overlap | null }) =>
    // What was said of who caused it, and its cure, are no answer to the next one.
    overlap
      ? { overlap }
      : { overlap, rival: { ...rival, hint: rival.here && rival.hint, suspect: null, elsewhere: null } },
  api: (_old: Old, { problem }: { problem: string | null }) => ({ apiProblem: problem }),
  strays: (_old: Old, { strays }: { strays: readonly StrayEntry[] }) => ({ strays }),
  'strays-stopped': (old: Old, { count, lastStray }: { count: number; lastStray: string }) =>
    tally(old, { straysStopped: old.tally.straysStopped + count, lastStray }),
  'webhook-seen': (_old: Old, { webhook }: { webhook: SeenWebhook }, { at }: Time) => ({
    webhook: { ...webhook, checkedAt: at },
  }),
  'webhook-cleared': (old: Old) => tally(old, { webhooksCleared: old.tally.webhooksCleared + 1 }),
  /** Somebody set it while we polled; `url` is masked. */
  'webhook-set': (old: Old, { url }: { url: string }) =>
    tally(old, { webhookSetAgain: old.tally.webhookSetAgain + 1, lastWebhook: url }),
  'lease-taken': (old: Old, { from }: { from: string }) =>
    tally(old, { leasesTaken: old.tally.leasesTaken + 1, lastHolder: from }),
  'lease-lost': (old: Old, { reason }: { reason: string }) =>
    tally(old, { leasesLost: old.tally.leasesLost + 1, lastLeaseLoss: reason }),
  // News of the gateway.
  came: (old: Old, { by }: { by: StatusRecord['polling']['by'] }) => polling(old, { by }),
  asked: (old: Old, { offset }: { offset: number | null }) =>
    offset === null ? {} : polling(old, { offset }),
  accepted: (old: Old) => polling(old, { via: 'gateway', past: null }),
  completed: (old: Old, { updates }: { updates: number }, time: Time) => ({
    ...polling(old, {
      polls: old.polling.polls + 1,
      updates: old.polling.updates + updates,
      lastPollAt: time.at,
    }),
    webhook: old.webhook && fewerPending(old.webhook, updates, time),
  }),
  stolen: (old: Old, { updates }: { updates: number }) =>
    polling(old, { stolen: old.polling.stolen + updates }),
  conflict: (old: Old) => conflict(old, 'poller'),
  webhook: (old: Old) => conflict(old, 'webhook'),
  flood: (_old: Old, { retryAfterMs }: { retryAfterMs: number }, { atMs }: Time) => ({
    pausedUntilMs: atMs + retryAfterMs,
  }),
  stranger: (old: Old) => polling(old, { refused: old.polling.refused + 1 }),
  'webhook-turned-down': (old: Old) => polling(old, { webhookAttempts: old.polling.webhookAttempts + 1 }),
  /** `url` is masked; empty: deleted. */
  'webhook-of-worker': (_old: Old, { url }: { url: string }) => ({
    webhookOfWorker: url !== '',
    webhook: { url, pendingUpdates: 0, lastError: null, checkedAt: null },
  }),
  unsealed: () => ({}),
};

type Kind = keyof typeof CHANGES;
type Detail<K extends Kind> = (typeof CHANGES)[K] extends (old: Old, detail: infer D, time: Time) => Change
  ? unknown extends D
    ? object
    : D
  : never;
export type StatusEvent = { readonly [K in Kind]: { readonly kind: K } & Readonly<Detail<K>> }[Kind];

export function noted(old: StatusRecord, event: StatusEvent, time: Time): StatusRecord {
  const change = CHANGES[event.kind] as (old: Old, event: StatusEvent, time: Time) => Change;
  const last = { ...old.last, [event.kind]: time };
  return { ...old, last, ...change({ ...old, last }, event, time) };
}
