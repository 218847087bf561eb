/**
 * Keeps the history of a run: tells history.ts what is so, and writes it to a file in the state folder, at most once a minute and at the
 * end. A shell writes it, not this process: a disk that hangs holds up whoever writes, and Node can't end while one of its threads
 * hangs. Where there is no shell, or no room, there is no file, and that is no error. Only the holder of the lock may write.
 */
import { spawn } from 'node:child_process';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { jsonIn } from '../config/files.ts';
import { createListeners } from '../output/listeners.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { howItEnded } from '../output/words.ts';
import {
  type Condition,
  type History,
  historyOf,
  MINUTE_MS,
  type Moment,
  type Recording,
  resumed,
  type Summary,
  step,
  summarise,
} from './history.ts';
import type { StatusRecord } from './status.ts';
import type { Status, StatusSources } from './status-document.ts';

/** A long poll may last a minute; then another should have begun. */
const SILENT_MS = 75_000;
const CONTESTED_MS = 10_000;
const FILE = 'history.json';
// `mv` makes it whole at once; a disk without room leaves what was there. A link or FIFO in its place is not written to.
const SCRIPT = 'umask 077; rm -f "$1.new"; cat >"$1.new" && mv -f "$1.new" "$1" || rm -f "$1.new"';

export interface Recorder {
  history(): History;
  summary(spanMs: number): Summary;
  /** The file is another's from now on. */
  close(): void;
  /** It is ours again, with what the other has written. */
  open(): void;
  /** To be called every few seconds. */
  tick(): void;
}

/** `botDir`: null where nothing is to be kept (the sandbox, deploy mode). */
export function openRecorder(status: Status, botDir: string | null, report: Report): Recorder {
  /** When something else than silence was in the way, and when it was last looked. */
  let [troubledMs, lookedMs] = [0, 0];
  function condition(): Condition {
    const nowMs = performance.now();
    // Stopped by a signal, it has seen no poll either.
    if (nowMs - lookedMs > SILENT_MS) troubledMs = nowMs;
    lookedMs = nowMs;
    const now = conditionOf(status.record, status.sources, nowMs, nowMs - troubledMs);
    if (now.state !== 'polled' && now.agoMs === undefined) troubledMs = nowMs;
    return now;
  }
  let recording: Recording = resumed(botDir === null ? null : readHistory(botDir), moment(), condition());
  let savedMs = Number.NEGATIVE_INFINITY;
  let isWriting = false;
  let isOurs = true;

  function look(): void {
    recording = step(recording, moment(), condition());
  }

  function noticed(): void {
    const { state, isOver = false } = condition();
    if (state === recording.now.state && isOver === (recording.now.isOver ?? false)) return;
    look();
    if (isOver) save();
  }

  function save(): void {
    if (botDir === null || isWriting || !isOurs) return;
    savedMs = performance.now();
    writeAside(join(botDir, FILE), `${JSON.stringify(recording.history)}\n`, () => {
      isWriting = false;
    });
    isWriting = true;
  }

  /** What goes wrong here must never reach the loop that decides about the worker. */
  function safely(work: () => void): () => void {
    const { add, tell } = createListeners<[]>('the history', report);
    add(work);
    return tell;
  }

  const leave = safely(() => {
    look();
    save();
  });
  status.onNote(safely(noticed));
  return {
    history() {
      look();
      return recording.history;
    },
    summary(spanMs) {
      look();
      return summarise(recording.history, spanMs);
    },
    close() {
      leave();
      isOurs = false;
    },
    open() {
      const written = botDir === null ? null : readHistory(botDir);
      recording = resumed(written ?? recording.history, moment(), condition());
      isOurs = true;
    },
    tick() {
      look();
      if (performance.now() - savedMs >= MINUTE_MS) save();
    },
  };
}

/** Null: there is none, or nothing that makes sense. */
export function readHistory(botDir: string): History | null {
  return historyOf(jsonIn(join(botDir, FILE)));
}

function moment(): Moment {
  const isLinux = process.platform === 'linux';
  return { unixMs: Date.now(), elapsedMs: isLinux ? uptime() * 1_000 : performance.now() };
}

/** `done` is called when it has been written, or can't be. It goes on when this process ends. */
function writeAside(file: string, text: string, done: () => void): void {
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'singlepoll-history', file], {
    ...{ stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/', env: { PATH: process.env.PATH } },
  });
  child.on('error', done).on('exit', done).unref();
  child.stdin?.on('error', () => {}).end(text);
}

/** What is so by the record: the first that applies. `calmMs`: for how long nothing was in the way. */
export function conditionOf(
  record: StatusRecord,
  sources: StatusSources,
  nowMs: number,
  calmMs: number,
): Condition {
  const { state, apiProblem, overlap, webhook, webhookOfWorker, pausedUntilMs, polling, lastMs } = record;
  const { phase, headed, lastExit, fresh, obstacle } = state;
  const agoMs = (moment: keyof StatusRecord['lastMs']) =>
    nowMs - (lastMs[moment] ?? Number.NEGATIVE_INFINITY);
  if (headed && headed.to !== 'respawn') {
    // Of a handover the next supervisor goes on with it.
    const cause = plain(headed.reason, 160);
    return {
      state: 'restart',
      cause: headed.to === 'exit' ? `no supervisor ran: ${cause}` : cause,
      isOver: true,
    };
  }
  if (phase === 'standby') {
    if (obstacle !== null) return { state: 'standby', cause: plain(obstacle.reason, 160) };
    const lease = sources.lease?.status();
    if (lease?.unreachable) return { state: 'outage', cause: `${lease.engine} is out of reach` };
    // Not asked yet, or free: nobody polls.
    if (!lease?.holder) return { state: 'restart', cause: null };
    return { state: 'standby', cause: `${plain(lease.holder)} may poll` };
  }
  if (apiProblem !== null) return { state: 'outage', cause: apiProblem };
  if (pausedUntilMs > nowMs) return { state: 'outage', cause: 'the Bot API asked for a pause (429)' };
  if (overlap || agoMs('conflict') < CONTESTED_MS)
    return {
      state: 'conflict',
      cause: `${overlap?.isRival ? 'a rival' : 'another poller'} took the poll (409)`,
    };
  if (agoMs('stolen') < CONTESTED_MS) return { state: 'conflict', cause: 'somebody else took updates' };
  if (webhookOfWorker) return { state: 'gap', cause: 'the worker has set a webhook' };
  if (webhook?.url || agoMs('webhook-set') < CONTESTED_MS)
    return { state: 'conflict', cause: 'somebody set a webhook' };
  if (phase !== 'polling') {
    const begun = sources.lease ? 'the lease was won' : 'a supervisor was started';
    const ended = lastExit && !fresh ? `the worker ended ${howItEnded(lastExit)}` : begun;
    return { state: 'restart', cause: headed?.reason ?? ended };
  }
  const silentMs = Math.min(agoMs('poll'), agoMs('worker-start'), calmMs);
  const isSilent = polling.via === 'gateway' && silentMs > SILENT_MS && !sources.gateway?.pollOpenMs();
  return isSilent
    ? { state: 'gap', cause: 'the worker lived and did not poll', agoMs: silentMs }
    : { state: 'polled', cause: null };
}
