/** Shows a run to whoever asks or wants to be told: control channel, health endpoint, service manager, the program that owns it. */
import { openBotDir, openStateDir } from '../config/state-dir.ts';
import type { Lease } from '../lease/lease.ts';
import { leaseWords } from '../output/words.ts';
import type { Answer } from './control.ts';
import type { GivenGateway } from './open-gateway.ts';
import type { Running } from './run.ts';
import { type Served, serve } from './serve.ts';
import type { Startup } from './startup.ts';
import type { StatusDocument } from './status.ts';
import type { Status } from './status-document.ts';
import type { Watch } from './watch.ts';
import type { WorkerTree } from './worker-tree.ts';

const TREE_FRESH_MS = 1_000;
const TREE_WATCHED_MS = 5_000;

export interface ShownRun {
  readonly running: Running;
  readonly status: Status;
  readonly tree: WorkerTree;
  readonly lease: Lease | null;
  readonly gateway: GivenGateway | null;
  readonly watching: Watch | null;
  readonly socketPath: string;
}

/** Null: the control channel could not be opened, which is said. */
export async function showRun(startup: Startup, run: ShownRun): Promise<Served | null> {
  const { config, owner, report, output, http, service } = startup;
  const { changes, recent } = output;
  const { running, status: known, socketPath } = run;
  const status = statusOf(run);
  const brief = () => known.document();
  const tellState = () => owner?.tell({ state: known.runState() });
  running.onStep(tellState);
  http?.shows({
    brief,
    status: () => status(TREE_FRESH_MS),
    counts: () => known.record.tally,
  });
  service?.follow({ listen: changes.listen, seen: known.seen, status: brief });
  const served = await serve({
    ...{ socketPath, running, changes },
    status: () => status(TREE_FRESH_MS),
    makeFolder: () => void openBotDir(openStateDir(process.env), config.botId ?? 0),
    live: () => ({ status: status(TREE_WATCHED_MS), lines: recent.lines() }),
    question: () => question(run),
  }).catch((error: NodeJS.ErrnoException) => {
    report.line(
      'control',
      `no control channel at ${socketPath}: ${error.message}; stop this supervisor with kill ${process.pid}`,
      'warn',
    );
    return null;
  });
  if (served) owner?.tell({ control: socketPath });
  tellState();
  return served;
}

/** Renews the worker's poll and tells who of this machine lost it. */
async function question({ status, lease, gateway, watching }: ShownRun): Promise<Answer> {
  if (lease) {
    const entry = status.sources.lease?.status();
    const known = entry && `the lease tells who polls: ${leaseWords(entry, Date.now())}`;
    return { ok: true, text: known ?? 'the lease is not known yet' };
  }
  if (!gateway || !watching || status.record.polling.via === 'direct')
    return {
      ok: false,
      error: 'its polls do not pass a gateway, so asking would take the poll from its own worker',
    };
  const text = await watching.question(gateway.port.renewPoll);
  if (text === null) return { ok: false, error: 'no poll went out, or ss of iproute2 does not work here' };
  const { elsewhere } = status.record.rival;
  return { ok: true, text, ...(elsewhere === null ? {} : { elsewhere }) };
}

/** Listing the tree goes over every process of the machine: a question within `treeFreshMs` of another gets the same list. */
function statusOf({ running, status, tree }: ShownRun): (treeFreshMs: number) => StatusDocument {
  let listed = {
    pid: null as number | null,
    atMs: Number.NEGATIVE_INFINITY,
    rows: [] as ReturnType<typeof tree.list>,
  };
  return (treeFreshMs) => {
    const { pid } = running.loop.state;
    const nowMs = performance.now();
    if (listed.pid !== pid || nowMs - listed.atMs > treeFreshMs)
      listed = { pid, atMs: nowMs, rows: tree.list(pid) };
    return status.document(listed.rows);
  };
}
