/**
 * What `status` answers, a contract (see docs/commands.md): the document, what an older supervisor leaves out, and the exit code.
 * Times are ISO 8601. PURE.
 */
import type { Summary } from './history.ts';

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
    /** Why the worker goes past the gateway, and the one thing to do; null: it has not been seen past it. */
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
export const BLANK = {
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
