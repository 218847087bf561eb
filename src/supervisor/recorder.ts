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
  type Recording,
  resumed,
  type Summary,
  step,
  summarise,
} from './history.ts';
import type { Moment, StatusRecord } from './record.ts';
import type { Status, StatusSources } from './status-document.ts';

/** A long poll may last a minute; then another should have begun. */
const SILENT_MS = 75_000;
const CONTESTED_MS = 10_000;
const FILE = 'history.json';
// `mv` makes it whole at once; a disk without room leaves what was there. A link or FIFO in its place is not written to.
const SCRIPT = 'umask 077; rm -f "$1.new"; cat >"$1.new" && mv -f "$1.new" "$1" || rm -f "$1.new"';

export type Recorder = ReturnType<typeof openRecorder>;

/** `botDir`: null where nothing is to be kept (the sandbox, deploy mode). */
export function openRecorder(status: Status, botDir: string | null, report: Report) {
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

  // What goes wrong here must not keep the lock from being released.
  const leaving = createListeners<[]>('the history', report);
  leaving.add(() => {
    look();
    save();
  });
  status.onNote(noticed);
  return {
    history(): History {
      look();
      return recording.history;
    },
    summary(spanMs: number): Summary {
      look();
      return summarise(recording.history, spanMs);
    },
    /** The file is another's from now on. */
    close(): void {
      leaving.tell();
      isOurs = false;
    },
    /** It is ours again, with what the other has written. */
    open(): void {
      const written = botDir === null ? null : readHistory(botDir);
      recording = resumed(written ?? recording.history, moment(), condition());
      isOurs = true;
    },
    /** To be called every few seconds. */
    tick(): void {
      look();
      if (performance.now() - savedMs >= MINUTE_MS) save();
    },
  };
}

/** Null: there is none, or nothing that makes sense. */
export function readHistory(botDir: string): History | null {
  return historyOf(jsonIn(join(botDir, FILE)));
}

function moment(): Recording['at'] {
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
  const { state, apiProblem, overlap, webhook, webhookOfWorker, pausedUntilMs, polling, last } = record;
  const { phase, headed, lastExit, fresh, obstacle } = state;
  const is = (state: Condition['state'], cause: string | null): Condition => ({ state, cause });
  const agoMs = (moment: Moment) => nowMs - (last[moment]?.atMs ?? Number.NEGATIVE_INFINITY);
  const lately = (moment: Moment) => agoMs(moment) < CONTESTED_MS;
  if (headed && headed.to !== 'respawn') {
    // Of a handover the next supervisor goes on with it.
    const why = `${headed.to === 'exit' ? 'no supervisor ran: ' : ''}${plain(headed.reason, 160)}`;
    return { ...is('restart', why), isOver: true };
  }
  const lease = sources.lease?.status();
  if (phase === 'standby') {
    if (obstacle !== null) return is('standby', plain(obstacle.reason, 160));
    if (lease?.unreachable) return is('outage', `${lease.engine} is out of reach`);
    // Not asked yet, or free: nobody polls.
    return lease?.holder ? is('standby', `${plain(lease.holder)} may poll`) : is('restart', null);
  }
  if (apiProblem !== null) return is('outage', apiProblem);
  if (pausedUntilMs > nowMs) return is('outage', 'the Bot API asked for a pause (429)');
  if (overlap || lately('named-conflict'))
    return is('conflict', `${overlap?.isRival ? 'a rival' : 'another poller'} took the poll (409)`);
  if (lately('stolen')) return is('conflict', 'somebody else took updates');
  if (webhookOfWorker) return is('gap', 'the worker has set a webhook');
  if (webhook?.url || lately('webhook-set')) return is('conflict', 'somebody set a webhook');
  if (phase !== 'polling') {
    const begun = lease ? 'the lease was won' : 'a supervisor was started';
    const ended = lastExit && !fresh ? `the worker ended ${howItEnded(lastExit)}` : begun;
    return is('restart', headed?.reason ?? ended);
  }
  const silentMs = Math.min(agoMs('completed'), agoMs('worker-start'), calmMs);
  if (polling.via !== 'gateway' || silentMs <= SILENT_MS || sources.gateway?.pollOpenMs())
    return is('polled', null);
  return { ...is('gap', 'the worker lived and did not poll'), agoMs: silentMs };
}
