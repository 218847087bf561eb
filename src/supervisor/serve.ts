/**
 * Shows a run to whoever asks or wants to be told: health endpoint, service manager, the program that owns it, and the control channel
 * with its orders (status, watch, stop, restart, handover, probe). An order is answered when the thing is done, not when it is begun.
 */
import { existsSync } from 'node:fs';
import { openBotDir, UNWRITABLE } from '../config/state-dir.ts';
import { EXIT } from '../errors.ts';
import type { Lease } from '../lease/lease.ts';
import { isThere, statOf } from '../machine/procfs.ts';
import { leaseWords } from '../output/words.ts';
import type { GivenGateway } from './ahead.ts';
import { type Answer, type Asker, type Handler, serveControl } from './control.ts';
import { DAY_MS } from './history.ts';
import type { Recorder } from './recorder.ts';
import type { Reload } from './reload.ts';
import { deferred, type Run } from './run.ts';
import type { LiveDocument, StatusDocument, TreeEntry } from './status.ts';
import type { Watch } from './watch.ts';

const TREE_FRESH_MS = 1_000;
const TREE_WATCHED_MS = 5_000;
/** The process list and the ages in problems change without an event; and an answer tells that we are awake. */
const BEAT_MS = 1_000;
/** These change all the time, and are shown with the next change of anything else. */
const steady = (key: string, value: unknown) =>
  key === 'cpuPercent' || key === 'memoryBytes' ? undefined : value;

interface Asked {
  readonly lease: Lease | null;
  readonly gateway: GivenGateway | null;
  readonly watching: Watch | null;
  readonly recorder: Recorder;
  readonly reload: Reload;
}

/** Null: there is no control channel, and that was said. */
export async function showRun(run: Run, asked: Asked) {
  const { link, report, http, socketPath } = run;
  const document = documentOf(run);
  http?.shows({
    status: () => document(TREE_FRESH_MS),
    day: () => lastDay(run, asked),
  });
  if (!run.hasFolder) {
    const text = `it runs without a state folder, as ${UNWRITABLE}: status, stop, restart, logs and --takeover do not reach it, --history and reset remember nothing`;
    const hint = `kill ${process.pid}    # ends it in order; --http PORT tells how it is`;
    report.line('control', text, 'warn', { hint });
    return null;
  }
  const served = await serveOrders(run, asked, document).catch((error: NodeJS.ErrnoException) => {
    const text = `no control channel at ${socketPath}: ${error.message}; stop this supervisor with kill ${process.pid}`;
    report.line('control', text, 'warn');
    return null;
  });
  if (served) link?.tell({ control: socketPath });
  return served;
}

type DocumentOf = (treeFreshMs: number) => StatusDocument;

/** Listing the tree goes over every process of the machine: a question within `treeFreshMs` of another gets the same list. */
function documentOf({ loop, status, tree }: Run): DocumentOf {
  let listed: { pid: number | null; atMs: number; rows: readonly TreeEntry[] } | null = null;
  return (treeFreshMs) => {
    const { pid } = loop.state;
    const nowMs = performance.now();
    if (listed?.pid !== pid || nowMs - listed.atMs > treeFreshMs)
      listed = { pid, atMs: nowMs, rows: tree.list(pid) };
    return status.document(listed.rows);
  };
}

async function serveOrders(run: Run, asked: Asked, document: DocumentOf) {
  const { config, output, report, socketPath, loop, bus, status, hold, standbys } = run;
  const { changes, recent } = output;
  const look = (): LiveDocument => {
    const it = lastDay(run, asked);
    const day = it && { minutes: it.minutes, notPolledMs: it.notPolledMs };
    return { status: document(TREE_WATCHED_MS), lines: recent.lines(), day };
  };
  const ended = deferred<string>();
  const hasStopped = () => ended.promise.then((stopped) => ({ ok: true, stopped }));
  const over = new AbortController();

  function changeOrBeat(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        leave();
        over.signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, BEAT_MS).unref();
      const leave = changes.listen(done);
      over.signal.addEventListener('abort', done);
    });
  }

  /** For `status --watch`: all that there is to be seen, at each change, until the run ends or another one has the lock. */
  async function follow({ tell, isSlow, isGone }: Asker): Promise<Answer> {
    let last = '';
    for (;;) {
      // A slow reader is not waited for: it gets the newest when it reads again.
      if (!isSlow()) {
        const live = look();
        const text = JSON.stringify(live, steady);
        tell(text === last ? { say: '' } : { live });
        last = text;
      }
      const isHandedOver = !hold.isHeld() && loop.state.headed?.to !== 'exit';
      if (over.signal.aborted || isHandedOver || isGone()) return { ok: true };
      await changeOrBeat();
    }
  }

  function end(reason: string): Promise<Answer> {
    // Two that ask at once (a second `stop`, five takeovers) both want an end in order: only signals mean "now".
    if (loop.state.headed?.to !== 'exit') loop.send({ kind: 'ask-stop', reason });
    return hasStopped();
  }

  async function restart(sameEnv: boolean, say: (line: string) => void): Promise<Answer> {
    const { headed, spawn, pid: old } = loop.state;
    if (run.status.runState() === 'standby' || headed?.to === 'standby')
      return { ok: false, error: 'it stands by: no worker runs here that could be replaced' };
    if (headed?.to === 'exit') return { ok: false, error: 'it is stopping' };
    try {
      if (!sameEnv) for (const line of await asked.reload()) say(line);
    } catch (error) {
      return { ok: false, error: (error as Error).message, code: EXIT.config };
    }
    const spawned = new Promise<Answer>((done) => {
      const leave = status.onNote(() => {
        const { pid, spawn: present } = loop.state;
        if (present <= spawn || pid === null) return;
        leave();
        done({ ok: true, restarted: `worker ${pid} in place of ${old ?? 'none'}`, pid });
      });
    });
    loop.send({ kind: 'ask-restart', reason: 'asked to by singlepoll restart' });
    const hasEnded = ended.promise.then(() => ({ ok: false, error: 'the supervisor has ended' }));
    return await Promise.race([spawned, hasEnded]);
  }

  async function handOver(to: number, say: (line: string) => void): Promise<Answer> {
    if (!isThere(to)) return { ok: false, error: `no process has the pid ${to}` };
    const reason = `handing over to pid ${to}`;
    say(`pid ${process.pid} hands over, and goes on if no worker polls here`);
    if (loop.state.headed?.to === 'exit') return await end(reason);
    if (!hold.isHeld()) return { ok: true, standsBy: true };
    const isFree = hold.ask(to).then(() => ({ ok: true, standsBy: true }));
    loop.send({ kind: 'ask-handover', reason });
    return await Promise.race([hasStopped(), isFree]);
  }

  const handler: Handler = async (request, asker) => {
    const say = (line: string) => asker.tell({ say: line });
    switch (request.cmd) {
      case 'status':
        return { ok: true, status: document(TREE_FRESH_MS) };
      case 'watch':
        return await follow(asker);
      case 'stop':
        // They would go on in our place.
        for (const { pid, startId } of standbys)
          if (pid !== null && statOf(pid)?.startId === startId) process.kill(pid, 'SIGTERM');
        return await end('asked to by singlepoll stop');
      case 'handover':
        return await handOver(Number(request.to), say);
      case 'history':
        return { ok: true, history: run.config.polling ? asked.recorder.history() : null };
      case 'probe':
        return await question(run, asked);
      case 'restart':
        return await restart(request.sameEnv === true, say);
      default:
        return { ok: false, error: `no such command: ${request.cmd.slice(0, 40)}` };
    }
  };

  let server = await serveControl(socketPath, handler);
  let isOpen = true;
  // A state folder that somebody has cleaned away must not leave a supervisor that nobody can reach.
  const unwatch = bus.tick.add(async () => {
    if (!isOpen || existsSync(socketPath)) return;
    server.close();
    try {
      openBotDir(config.botId);
      server = await serveControl(socketPath, handler);
    } catch {}
  });
  const close = () => {
    // The socket may be another's by now.
    if (isOpen) server.close();
    isOpen = false;
  };
  hold.add({
    async open() {
      const failed = (error: Error) => report.line('control', `no control channel: ${error.message}`, 'warn');
      server = (await serveControl(socketPath, handler).catch(failed)) ?? server;
      isOpen = true;
    },
    close,
  });
  return {
    /** Takes no more requests; answers that are under way still go out. */
    close(): void {
      unwatch();
      close();
    },
    /** Gives those who wait for the end their answer; resolves when it has gone out. */
    async tellEnd(stopped: string): Promise<void> {
      ended.resolve(stopped);
      over.abort();
      await server.drained(300);
    },
  };
}

const lastDay = ({ config }: Run, { recorder }: Asked) => (config.polling ? recorder.summary(DAY_MS) : null);

/** Renews the worker's poll and tells who of this machine lost it. */
async function question({ status }: Run, { lease, gateway, watching }: Asked): Promise<Answer> {
  if (lease)
    return { ok: true, text: `the lease tells who polls: ${leaseWords(lease.status(), Date.now())}` };
  if (!gateway || !watching || status.record.polling.via === 'direct')
    return {
      ok: false,
      error: 'its polls do not pass a gateway, so asking would take the poll from its own worker',
    };
  const text = await watching.question(gateway.port.renewPoll);
  if (text === null)
    return { ok: false, error: 'no poll went out, the run ended, or ss of iproute2 does not work here' };
  const { overlap, rival } = status.record;
  const elsewhere = rival.elsewhere ?? 'another poller takes the poll (409), and was not found here so far';
  return { ok: true, text, ...(overlap ? { elsewhere } : {}) };
}
