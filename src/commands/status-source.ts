/**
 * What there is to watch: the supervisor's own word as it comes, and where none runs or it hangs, what can be seen from here. Survives the
 * end of a supervisor and follows the next.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { SinglepollError } from '../errors.ts';
import { askControl, NoAnswer } from '../supervisor/control.ts';
import {
  completeStatus,
  type LiveDocument,
  type LiveLine,
  type StatusDocument,
} from '../supervisor/status.ts';
import { currentStatus } from './current-status.ts';
import { findSupervisor, type Located } from './find.ts';

export interface Source {
  /** Where the supervisor listens that is watched now. */
  control(): string | null;
  close(): void;
  /** Rejects with what ends the watching: a SinglepollError of the first look, or a bug. */
  readonly failed: Promise<never>;
}

/** A supervisor tells once a second that it is awake. It may be we who have slept: asked again once, it answers then. */
const SILENT_MS = 1_500;
const HUNG_AFTER = 2;
/** Where none runs, it is looked for so often; and whatever else there is to be seen (strays, the webhook) more rarely. */
const LOOK_EVERY_MS = 400;
const LOOK_AROUND_EVERY_MS = 5_000;

/** Calls `show` whenever there may be something new. */
export function followStatus(config: Config, bot: string | null, show: (live: LiveDocument) => void): Source {
  const over = new AbortController();
  /** Of --bot, or the only one that ran when the watching began: no other is followed later. */
  let name = bot;
  let control: string | null = null;
  let looking: Promise<void> | null = null;
  let isShown = false;
  let lines: readonly LiveLine[] = [];

  function showStatus(status: StatusDocument): void {
    if (over.signal.aborted) return;
    if (config.token === null && status.bot?.id) name ??= String(status.bot.id);
    isShown = true;
    show({ status, lines });
  }

  async function follow(): Promise<void> {
    let lookedAtMs = Number.NEGATIVE_INFINITY;
    while (!over.signal.aborted) {
      control = (await find())?.control ?? null;
      const hasTold = control !== null && (await listen(control));
      control = null;
      // One that has ended tells so with its last document; what is left there is to be seen at once.
      if (hasTold) lookedAtMs = Number.NEGATIVE_INFINITY;
      else {
        if (!looking && performance.now() - lookedAtMs > LOOK_AROUND_EVERY_MS) {
          lookedAtMs = performance.now();
          looking = lookAround();
          // The first look may end the watching; later ones must not keep the next supervisor waiting.
          if (!isShown) await looking;
        }
        await pause(LOOK_EVERY_MS, undefined, { signal: over.signal }).catch(() => {});
      }
    }
  }

  async function lookAround(): Promise<void> {
    try {
      const status = await currentStatus(config, name);
      if (control === null) showStatus(status);
    } catch (error) {
      if (!isShown) throw error;
    } finally {
      looking = null;
    }
  }

  /** Null: none runs, or it says nothing. */
  async function find(): Promise<Located | null> {
    try {
      return await findSupervisor(config, name);
    } catch (error) {
      // The status itself finds the words for a supervisor that hangs, or is another user's.
      if (error instanceof SinglepollError && !isShown) throw error;
      return null;
    }
  }

  /** True: it has told something before it ended. */
  async function listen(socketPath: string): Promise<boolean> {
    let last: StatusDocument | null = null;
    for (let failures = 0; ; failures++) {
      const heard = (value: Readonly<Record<string, unknown>>) => {
        const isHung = failures >= HUNG_AFTER;
        failures = 0;
        if (isLive(value)) {
          last = completeStatus(value.status);
          lines = value.lines;
        }
        if (last && (isHung || isLive(value))) showStatus(last);
      };
      try {
        await askControl(socketPath, { cmd: 'watch' }, { timeoutMs: SILENT_MS, heard, signal: over.signal });
        return last !== null;
      } catch (error) {
        if (!(error instanceof NoAnswer) || !last || over.signal.aborted) return last !== null;
        if (failures + 1 >= HUNG_AFTER) showStatus(silent(last));
      }
    }
  }

  const followed = follow();
  // It resolves only when it is closed: nobody waits for it then.
  const failed = followed.then(() => new Promise<never>(() => {}));
  failed.catch(() => {});
  return { control: () => control, close: () => over.abort(), failed };
}

function isLive(value: object): value is LiveDocument {
  return 'status' in value && 'lines' in value;
}

/** The last that it said is what it was before it hung. */
function silent(doc: StatusDocument): StatusDocument {
  const message = `the supervisor (pid ${doc.supervisor?.pid ?? 'unknown'}) does not answer: hung or stopped; below is the last it said`;
  const hint = 'singlepoll reset    # ends it, if need be with SIGKILL, and starts again';
  return {
    ...doc,
    healthy: false,
    problems: [{ code: 'supervisor-hung', message, hint }, ...doc.problems],
  };
}
