/**
 * The worker's own tree: its descendants, and whatever else carries this run's SINGLEPOLL_RUN, wherever it has moved to.
 * Looks at it, sees whether it talks to the Bot API, stops it whole.
 */
import { surroundings } from '../core/family.ts';
import type { Target } from '../core/ladder.ts';
import { gather } from '../core/tree.ts';
import { plainCommand } from '../output/plain.ts';
import { holdsRequest } from './held-request.ts';
import { createProcReader, type ProcReader } from './proc.ts';
import type { Proc, Snapshot } from './process.ts';
import { apiRootOf, createConnectionFinder } from './sockets.ts';
import { type Hands, linuxHands, type StopResult, stopTargets } from './stop.ts';
import type { TreeRow } from './strays.ts';

export interface WorkerTree {
  /** The leader (null when it has ended) and all that belongs to it, parents first. */
  list(leader: number | null): readonly TreeRow[];
  /** Some process of the tree waits for an answer of the Bot API, as a poller does; null: the system does not tell. */
  holdsRequest(leader: number | null): Promise<boolean | null>;
  /** Some process of the tree has a connection to the Bot API now. */
  connected(leader: number | null): Promise<boolean>;
  /** Stops everything; `now` aborted means no more grace. */
  stop(leader: number | null, options: WorkerStopOptions): Promise<StopResult>;
}

export interface WorkerStopOptions {
  readonly stopTimeoutMs: number;
  readonly now: AbortSignal;
  /** Resolves when the leader has ended. */
  readonly ended?: Promise<void> | undefined;
}

const KILL_WAIT_MS = 5_000;

/** What it sees and acts with; the simulation puts its own in. */
export interface WorkerTreeInstruments {
  readonly reader: Pick<ProcReader, 'snapshot'>;
  readonly hands: Hands;
}

/** `run` is the random id of this supervisor run, in the environment of all that belongs to it. */
export function createWorkerTree(
  options: { run: string; botId: string; apiRoot: string | null },
  { reader, hands }: WorkerTreeInstruments = {
    reader: createProcReader({ tokens: [], botId: options.botId }),
    hands: linuxHands,
  },
): WorkerTree {
  const connections = options.apiRoot === null ? null : createConnectionFinder(apiRootOf(options.apiRoot));

  function members(leader: number | null, listed: readonly Target[]): Proc[] {
    const snapshot: Snapshot = reader.snapshot();
    const place = { botId: options.botId, selfPid: process.pid, worker: null, helperPids: new Set<number>() };
    const around = surroundings(snapshot, place);
    const before = new Map(listed.map((it) => [it.pid, it.startId]));
    const former = new Set<number>();
    for (const it of listed) {
      const proc = snapshot.procs.get(it.pid);
      if (!proc || proc.state === 'Z') former.add(it.pid);
    }
    const roots = [...snapshot.procs.values()].filter(
      (proc) =>
        proc.state !== 'Z' &&
        proc.pid !== process.pid &&
        (proc.pid === leader || proc.env?.run === options.run || before.get(proc.pid) === proc.startId),
    );
    // The leader first: it is the one to hear of the stop before its children vanish under it.
    roots.sort((a, b) => Number(b.pid === leader) - Number(a.pid === leader));
    return gather(snapshot, roots, former, place, around);
  }

  return {
    list: (leader) =>
      members(leader, []).map(({ pid, ppid, argv, comm }) => ({
        pid,
        ppid,
        command: plainCommand(argv.length > 0 ? argv : [comm]),
      })),
    async holdsRequest(leader) {
      if (options.apiRoot === null) return false;
      const pids = members(leader, []).map(({ pid }) => pid);
      return await holdsRequest(options.apiRoot, pids);
    },
    async connected(leader) {
      if (!connections) return false;
      await connections.refresh();
      return connections.connected(members(leader, []).map(({ pid }) => pid)).size > 0;
    },
    stop: (leader, { stopTimeoutMs, now, ended }) =>
      stopTargets(members(leader, []), {
        stopTimeoutMs,
        killWaitMs: KILL_WAIT_MS,
        // The leader is listed by now: its bare number would also name whoever gets its pid next.
        grown: (listed) => members(null, listed),
        hands,
        now,
        ended,
      }),
  };
}
