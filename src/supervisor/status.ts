/**
 * The answer of `status`: its shape (a contract, see the README), and what of it is a problem. Pure.
 * Times are ISO 8601; ages are the reader's to compute.
 */
import type { Grade, Respawner } from '../strays/process.ts';

export type RunState = 'starting' | 'standby' | 'polling' | 'backoff' | 'stopping' | 'disabled' | 'stopped';

export interface Problem {
  readonly code: string;
  readonly message: string;
  /** The next command to type, where one helps. */
  readonly hint?: string;
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
  /** When the holder's term began. */
  readonly since: string | null;
  /** `stop`: polling ends here then, unless the lease can be renewed; `take`: taken over then, unless its holder renews it. */
  readonly decision: { readonly what: 'stop' | 'take'; readonly at: string } | null;
  /** Null: not asked yet. */
  readonly reachable: boolean | null;
  /** Why the engine is out of reach. */
  readonly unreachable: string | null;
}

/** Messages, each counted once for each place that it goes to. */
export interface AlertsEntry {
  readonly sent: number;
  /** Given up. */
  readonly failed: number;
  /** Not delivered yet. */
  readonly waiting: number;
  /** Why the last try that failed did; null: none has. */
  readonly lastError: string | null;
}

export interface StatusDocument {
  readonly bot: { readonly id: number | null; readonly username: string | null } | null;
  readonly state: RunState;
  readonly healthy: boolean;
  readonly problems: readonly Problem[];
  readonly supervisor: {
    readonly pid: number;
    readonly startedAt: string | null;
    readonly version: string | null;
    readonly command: readonly string[];
    readonly cwd: string | null;
  } | null;
  readonly worker: {
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
  } | null;
  readonly polling: {
    readonly via: 'gateway' | 'direct';
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
    /** setWebhook of the worker, turned down. */
    readonly webhookAttempts: number;
  } | null;
  readonly webhook: {
    readonly url: string;
    readonly pendingUpdates: number;
    readonly lastError: string | null;
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
  /** Null: none are sent to anybody. */
  readonly alerts: AlertsEntry | null;
}

/** Of which nothing is known but the bot and the state. */
export function bareStatus(bot: StatusDocument['bot'], state: RunState): StatusDocument {
  return {
    bot,
    state,
    healthy: false,
    problems: [],
    supervisor: null,
    worker: null,
    polling: null,
    webhook: null,
    strays: [],
    lease: null,
    log: null,
    alerts: null,
  };
}

/** As a supervisor has told it, which may be of another version: what that one leaves out is not known. */
export function completeStatus(told: unknown): StatusDocument {
  const doc = { ...bareStatus(null, 'starting'), ...(told as Partial<StatusDocument>) };
  const { supervisor, worker, polling, webhook, lease } = doc;
  return {
    ...doc,
    supervisor: supervisor && { ...NO_SUPERVISOR, ...supervisor },
    worker: worker && { ...NO_WORKER, ...worker },
    polling: polling && { ...NO_POLLING, ...polling },
    webhook: webhook && { ...NO_WEBHOOK, ...webhook },
    lease: lease && { ...NO_LEASE, ...lease },
    strays: doc.strays.map((stray) => ({ ...NO_STRAY, ...stray })),
  };
}

const NO_SUPERVISOR = { startedAt: null, version: null, command: [], cwd: null };
const NO_WEBHOOK = { url: '', pendingUpdates: 0, lastError: null };
const NO_STRAY = { proof: [], cwd: null, respawner: null };
const NO_WORKER = { pid: null, startedAt: null, spawns: 0, restarts: 0, lastExit: null, tree: [] };
const NO_POLLING = {
  via: 'gateway',
  polls: 0,
  lastPollAt: null,
  offset: null,
  updates: 0,
  stolen: 0,
  conflicts: { poller: 0, webhook: 0 },
  latencyMs: null,
  pollers: [],
  refused: 0,
  webhookAttempts: 0,
} as const;
const NO_LEASE = {
  engine: 'lease',
  holder: null,
  mine: false,
  epoch: null,
  expiresAt: null,
  role: 'none',
  since: null,
  decision: null,
  reachable: null,
  unreachable: null,
} as const;

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
}

export const LIVE_LINES = 40;
