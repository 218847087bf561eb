/**
 * What is known of a run. StatusDocument is the answer of `status`, a contract (see docs/commands.md); StatusRecord is what the supervisor
 * keeps, and only `noted` changes it. Times in documents are ISO 8601, in the record also monotonic ms, for ages. PURE.
 */
import type { Summary } from './history.ts';
import { initial, type State } from './table.ts';

export type Grade = 'own' | 'proven' | 'declared' | 'likely' | 'hint';

/** A process manager that would start a stray again, and how to stop the stray there for good. */
export interface Respawner {
  /** `systemd`, `systemd --user`, `pm2`, `supervisord`, `docker`, `docker compose`, `runit`, `s6`, `cron`, or a program's name. */
  readonly kind: string;
  /** What the manager calls it: unit, app, program, container, service folder. */
  readonly name: string;
  readonly stopCommand: string;
}

export type RunState = 'starting' | 'standby' | 'polling' | 'backoff' | 'stopping' | 'disabled' | 'stopped';

export interface Problem {
  readonly code: string;
  readonly message: string;
  /** What belongs to it, line by line: the last words of a worker. */
  readonly details?: readonly string[];
  /** The next command to type, where one helps; several, one a line. */
  readonly hint?: string | undefined;
}

/** What is over: it makes nobody unhealthy. */
export interface PastEvent extends Problem {
  /** ISO 8601, of the last time. */
  readonly at: string;
}

export interface StrayEntry {
  readonly pid: number;
  readonly user: string;
  readonly command: string;
  readonly cwd: string | null;
  readonly startedAt: string | null;
  readonly grade: Grade;
  readonly proof: readonly string[];
  readonly respawner: Respawner | null;
}

export interface TreeEntry {
  readonly pid: number;
  readonly ppid: number;
  readonly command: string;
}

export interface UsageEntry {
  /** Of the last seconds, 100 is one core; null: not known yet. */
  readonly cpuPercent: number | null;
  readonly memoryBytes: number | null;
}

export interface LeaseEntry {
  /** `redis`, `postgres`, `etcd`, `kubernetes`. */
  readonly engine: string;
  /** `host:pid` of the supervisor that may poll; null: nobody, or not known. */
  readonly holder: string | null;
  readonly mine: boolean;
  /** The fencing number of the present or last term; null: not known. */
  readonly epoch: number | null;
  /** When another may take it, unless it is renewed before. */
  readonly expiresAt: string | null;
  /** Of this machine; `none`: no supervisor runs here. */
  readonly role: 'holder' | 'standby' | 'none';
  readonly since: string | null;
  /** `stop`: polling ends here then, unless the lease can be renewed; `take`: taken over then, unless its holder renews it. */
  readonly decision: { readonly what: 'stop' | 'take'; readonly at: string } | null;
  /** Null: not asked yet. */
  readonly reachable: boolean | null;
  readonly unreachable: string | null;
}

/** Messages, each counted once for each place that it goes to. */
export interface AlertsEntry {
  readonly sent: number;
  readonly failed: number;
  readonly waiting: number;
  /** Why the last try that failed did; null: none has. */
  readonly lastError: string | null;
}

export interface StatusDocument {
  readonly bot: { readonly id: number | null; readonly username: string | null } | null;
  readonly state: RunState;
  readonly healthy: boolean;
  readonly problems: readonly Problem[];
  /** What was wrong within the last minutes and is over. */
  readonly earlier: readonly PastEvent[];
  readonly supervisor: {
    readonly pid: number;
    readonly startedAt: string | null;
    readonly version: string | null;
    readonly command: readonly string[];
    readonly cwd: string | null;
    /** Of a run of another user's than the one who asks. */
    readonly user?: string;
  } | null;
  /** CPU and memory are those of the tree. */
  readonly worker:
    | ({
        readonly pid: number | null;
        readonly startedAt: string | null;
        readonly spawns: number;
        readonly restarts: number;
        readonly lastExit: {
          readonly code: number | null;
          readonly signal: string | null;
          readonly at: string;
        } | null;
        readonly tree: readonly TreeEntry[];
      } & UsageEntry)
    | null;
  readonly polling: {
    readonly via: 'gateway' | 'direct';
    /** How its polls reach the gateway: led by a hook, by a proxy variable (CONNECT or whole URLs), or with its address; null: none has. */
    readonly by: 'hook' | 'connect' | 'absolute' | 'plain' | null;
    /** Why the worker goes past the gateway, and the one thing to do; null: it is not seen to. */
    readonly past: { readonly why: string; readonly cure: string } | null;
    readonly polls: number;
    readonly lastPollAt: string | null;
    readonly offset: number | null;
    readonly updates: number;
    /** Updates that somebody else has taken by polls that do not wait; see gateway/theft.ts. */
    readonly stolen: number;
    readonly conflicts: { readonly poller: number; readonly webhook: number };
    /** Of the worker's recent calls through the gateway, the median; null before any. */
    readonly latencyMs: number | null;
    /** Who polls, and who is made to wait. Pid null where the system does not tell. */
    readonly pollers: readonly { readonly pid: number | null; readonly role: 'owner' | 'held' }[];
    /** Polls of processes outside of the worker's tree, turned away. */
    readonly refused: number;
    readonly webhookAttempts: number;
  } | null;
  readonly webhook: {
    readonly url: string;
    readonly pendingUpdates: number;
    readonly lastError: string | null;
    /** When the Bot API was asked, or a poll was answered empty. */
    readonly checkedAt: string | null;
  } | null;
  readonly strays: readonly StrayEntry[];
  readonly lease: LeaseEntry | null;
  /** Null: none is written. */
  readonly log: {
    readonly path: string;
    /** Why nothing is written at present; null: all is well. */
    readonly problem: string | null;
    readonly droppedBytes: number;
  } | null;
  readonly alerts: AlertsEntry | null;
}

export function bareStatus(bot: StatusDocument['bot'], state: RunState): StatusDocument {
  return {
    ...{ bot, state, healthy: false, problems: [], earlier: [], strays: [] },
    ...{ supervisor: null, worker: null, polling: null, webhook: null, lease: null, log: null, alerts: null },
  };
}

export const NO_USAGE: UsageEntry = { cpuPercent: null, memoryBytes: null };

/** Each part as it is where nothing is known of it. */
const BLANK = {
  supervisor: { startedAt: null, version: null, command: [], cwd: null },
  worker: {
    ...{ pid: null, startedAt: null, spawns: 0, restarts: 0, lastExit: null, tree: [] },
    ...NO_USAGE,
  },
  polling: {
    ...{ via: 'gateway', by: null, past: null, polls: 0, lastPollAt: null, offset: null, updates: 0 },
    ...{ stolen: 0, conflicts: { poller: 0, webhook: 0 }, latencyMs: null, pollers: [], refused: 0 },
    webhookAttempts: 0,
  },
  webhook: { url: '', pendingUpdates: 0, lastError: null, checkedAt: null },
  lease: {
    ...{ engine: 'lease', holder: null, mine: false, epoch: null, expiresAt: null, role: 'none' },
    ...{ since: null, decision: null, reachable: null, unreachable: null },
  },
} as const;

const NO_STRAY = { proof: [], cwd: null, respawner: null };

/** As a supervisor has told it, which may be of another version: what that one leaves out is not known. */
export function completeStatus(told: unknown): StatusDocument {
  const doc = { ...bareStatus(null, 'starting'), ...(told as Partial<StatusDocument>) };
  const parts = (Object.keys(BLANK) as (keyof typeof BLANK)[]).map((name) => [
    name,
    doc[name] && { ...BLANK[name], ...doc[name] },
  ]);
  const strays = doc.strays.map((stray) => ({ ...NO_STRAY, ...stray }));
  return { ...doc, ...Object.fromEntries(parts), strays };
}

/** `status` exits 0 healthy, 1 degraded, 3 not running. */
export function statusExitCode(doc: Pick<StatusDocument, 'state' | 'healthy'>): 0 | 1 | 3 {
  if (doc.state === 'stopped') return 3;
  return doc.healthy ? 0 : 1;
}

export interface LiveLine {
  /** ISO 8601. */
  readonly at: string;
  /** singlepoll's own word, or the worker's stdout or stderr. */
  readonly from: 'singlepoll' | 'out' | 'err';
  /** Of singlepoll's own: what it is about. */
  readonly tag: string | null;
  readonly level: 'info' | 'good' | 'warn' | 'error';
  /** As printed, tokens masked. */
  readonly text: string;
}

export interface LiveDocument {
  readonly status: StatusDocument;
  /** Oldest first, at most LIVE_LINES. */
  readonly lines: readonly LiveLine[];
  /** The last day; null: it is not known. */
  readonly day: Pick<Summary, 'minutes' | 'notPolledMs'> | null;
}

export const LIVE_LINES = 40;

/** What the document is made of, and what a problem of the recent past is known by. */
export interface StatusRecord {
  readonly bot: StatusDocument['bot'];
  readonly supervisor: NonNullable<StatusDocument['supervisor']>;
  readonly startedAt: string | null;
  readonly lastExit: NonNullable<StatusDocument['worker']>['lastExit'];
  readonly polls: boolean;
  readonly polling: NonNullable<StatusDocument['polling']>;
  readonly webhook: StatusDocument['webhook'];
  readonly strays: readonly StrayEntry[];
  readonly state: State;
  /** When its present phase began. */
  readonly stepMs: number;
  readonly deafAfterMs: number;
  readonly lastMs: Readonly<Partial<Record<Moment, number>>>;
  readonly lastAt: Readonly<Partial<Record<Moment, string>>>;
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

export type Moment =
  | 'worker-start'
  | 'poll'
  | 'stolen'
  | 'conflict'
  | 'webhook-set'
  | 'webhook-turned-down'
  | 'unsealed'
  | 'deaf'
  | 'stray-stopped'
  | 'lease-lost';

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

/** Of a run that has not begun. `via`: null in deploy mode. */
export function newRecord(
  known: Pick<StatusRecord, 'bot' | 'supervisor' | 'deafAfterMs'>,
  via: 'gateway' | 'direct' | null,
): StatusRecord {
  return {
    ...known,
    polls: via !== null,
    polling: { ...BLANK.polling, via: via ?? 'direct' },
    rival: { here: null, hint: null, suspect: null, elsewhere: null },
    ...{ state: initial, stepMs: 0, startedAt: null, lastExit: null, webhook: null, strays: [] },
    ...{ lastMs: {}, lastAt: {}, pausedUntilMs: 0, apiProblem: null, overlap: null },
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

const last = ({ lastMs, lastAt }: Old, moment: Moment, { atMs, at }: Time): Change => ({
  lastMs: { ...lastMs, [moment]: atMs },
  lastAt: { ...lastAt, [moment]: at },
});
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
    const exit = state.lastExit === old.state.lastExit ? null : state.lastExit;
    return {
      state,
      ...(state.phase === old.state.phase ? {} : { stepMs: time.atMs }),
      ...(exit ? { lastExit: { code: exit.code, signal: exit.signal, at: time.at } } : {}),
      ...(isNew ? { startedAt: time.at, ...last(old, 'worker-start', time) } : {}),
    };
  },
  command: (old: Old, { command }: { command: readonly string[] }) => ({
    supervisor: { ...old.supervisor, command },
  }),
  'worker-ended': (old: Old, { how }: { how: string }) =>
    tally(old, { ends: { ...old.tally.ends, [how]: (old.tally.ends[how] ?? 0) + 1 } }),
  'crash-loop': (_old: Old, { exits, periodMs }: { exits: number; periodMs: number }) => ({
    crashLoop: { exits, periodMs },
  }),
  'named-conflict': (old: Old, { cause }: { cause: 'poller' | 'webhook' }, time: Time) => ({
    ...conflict(old, cause),
    ...(cause === 'poller' ? last(old, 'conflict', time) : {}),
  }),
  'past-gateway': (old: Old, { past }: { past: StatusRecord['polling']['past'] }) =>
    polling(old, { via: 'direct', past }),
  deaf: (old: Old, _event: object, time: Time) => ({
    ...last(old, 'deaf', time),
    ...tally(old, { deafReplaced: old.tally.deafReplaced + 1 }),
  }),
  rival: (old: Old, { rival }: { rival: Partial<StatusRecord['rival']> }) => ({
    rival: { ...old.rival, ...rival },
  }),
  overlap: (_old: Old, { overlap }: { overlap: Overlap | null }) => ({ overlap }),
  api: (_old: Old, { problem }: { problem: string | null }) => ({ apiProblem: problem }),
  strays: (_old: Old, { strays }: { strays: readonly StrayEntry[] }) => ({ strays }),
  'strays-stopped': (
    old: Old,
    { count, lastStray }: { count: number; lastStray: string | null },
    time: Time,
  ) => ({
    ...tally(old, { straysStopped: old.tally.straysStopped + count, lastStray }),
    ...last(old, 'stray-stopped', time),
  }),
  /** `setAgain`: what somebody set while we polled, masked. */
  'webhook-seen'(
    old: Old,
    event: { webhook: SeenWebhook | null; cleared: boolean; setAgain: string | null },
    time: Time,
  ): Change {
    const { cleared, setAgain } = event;
    const webhook = event.webhook && { ...event.webhook, checkedAt: time.at };
    const webhooksCleared = old.tally.webhooksCleared + (cleared ? 1 : 0);
    if (setAgain === null) return { webhook, ...tally(old, { webhooksCleared }) };
    const webhookSetAgain = old.tally.webhookSetAgain + 1;
    const counted = tally(old, { webhooksCleared, webhookSetAgain, lastWebhook: setAgain });
    return { webhook, ...counted, ...last(old, 'webhook-set', time) };
  },
  'lease-taken': (old: Old, { from }: { from: string }) =>
    tally(old, { leasesTaken: old.tally.leasesTaken + 1, lastHolder: from }),
  'lease-lost': (old: Old, { reason }: { reason: string }, time: Time) => ({
    ...tally(old, { leasesLost: old.tally.leasesLost + 1, lastLeaseLoss: reason }),
    ...last(old, 'lease-lost', time),
  }),
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
    ...last(old, 'poll', time),
    webhook: old.webhook && fewerPending(old.webhook, updates, time),
  }),
  stolen: (old: Old, { updates }: { updates: number }, time: Time) => ({
    ...polling(old, { stolen: old.polling.stolen + updates }),
    ...last(old, 'stolen', time),
  }),
  conflict: (old: Old) => conflict(old, 'poller'),
  webhook: (old: Old) => conflict(old, 'webhook'),
  flood: (_old: Old, { retryAfterMs }: { retryAfterMs: number }, { atMs }: Time) => ({
    pausedUntilMs: atMs + retryAfterMs,
  }),
  stranger: (old: Old) => polling(old, { refused: old.polling.refused + 1 }),
  'webhook-turned-down': (old: Old, _event: object, time: Time) => ({
    ...polling(old, { webhookAttempts: old.polling.webhookAttempts + 1 }),
    ...last(old, 'webhook-turned-down', time),
  }),
  /** `url` is masked; empty: deleted. */
  'webhook-of-worker': (_old: Old, { url }: { url: string }) => ({
    webhookOfWorker: url !== '',
    webhook: { url, pendingUpdates: 0, lastError: null, checkedAt: null },
  }),
  unsealed: (old: Old, _event: object, time: Time) => last(old, 'unsealed', time),
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
  return { ...old, ...change(old, event, time) };
}
