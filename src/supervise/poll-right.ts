/**
 * The right to poll of this run, as a lease that all machines share: seeks it, says what becomes of it, tells the table when it is
 * lost or asked for, and when no worker may live any more. Who may poll until when is decided in lease/keeper.ts.
 */
import { hostname } from 'node:os';
import type { LeaseEntry, Problem } from '../core/status.ts';
import type { Ending } from '../core/supervisor.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { createLease, type Lost, type Term } from '../lease/keep.ts';
import type { KeeperSaying } from '../lease/keeper.ts';
import { openStore } from '../lease/open.ts';
import type { LeaseRecord } from '../lease/record.ts';
import { LeaseConfigError, type LeaseStore } from '../lease/store.ts';
import { type LeaseTiming, livesMs, stopAfterMs } from '../lease/timing.ts';
import { kernelLockId } from '../machine/lock-id.ts';
import type { Report } from '../output/report.ts';
import { duration, holderText } from '../output/words.ts';

export interface PollRight {
  /** Waits as a standby; calls back when this machine may poll. Said and told of by itself otherwise. */
  seek(won: () => void): void;
  /** Nothing of the worker is left: others may poll. */
  release(): void;
  /** Asked before every poll that goes out and every answer that is handed on. */
  valid(): boolean;
  /** Resolves when it is valid, or when the term is over; null where there is nothing to wait for. */
  settled(): Promise<void> | null;
  /** The fencing number; null between two terms. */
  epoch(): number | null;
  /** The present term was won without a wait: nobody else can have polled before it. */
  wasFree(): boolean;
  status(): LeaseEntry;
  problem(): Problem | null;
  /** `clean`: nothing of the worker is left. Never rejects. */
  end(clean: boolean): Promise<void>;
}

export interface PollRightOptions {
  /** With its credentials. */
  readonly url: string;
  readonly timing: LeaseTiming;
  readonly botId: number;
  /** Of the kernel lock that this supervisor holds. */
  readonly lockName: string;
  /** Ask the present holder to hand over. */
  readonly takeover: boolean;
  /** Do not stand by: end where another machine holds it. */
  readonly noWait: boolean;
  readonly report: Report;
  /** No poll may pass any more. */
  onShut(): void;
  onUnleased(reason: string): void;
  /** Won from another machine, which let go or was not heard of. */
  onTaken(from: string): void;
  /** Just before onUnleased: it was not asked for, it was lost. */
  onLost(reason: string): void;
  /** Whatever is left of the worker has to be killed now. */
  onKill(): void;
  onBlocked(ending: Ending): void;
}

const KILL_LOOK_MS = 250;
/** How long --no-wait tries to reach the engine. */
const PATIENCE_MS = 30_000;
const SETTLE_LOOK_MS = 25;
/** A lease that is won sooner was free. */
const FREE_WITHIN_MS = 1_000;

/** Throws SinglepollError 78 for what is wrong with the URL or the files it names. Connects to nothing yet. */
export async function openPollRight(options: PollRightOptions): Promise<PollRight> {
  const { url, timing, botId, report } = options;
  const lock = kernelLockId(options.lockName);
  const store = await open(url, botId);
  const { kind: engine } = store;
  let takeover = options.takeover;
  let present: Term | null = null;
  let releasing: Promise<void> = Promise.resolve();
  let stopSeeking = new AbortController();
  let wasFree = false;
  /** Another machine, that was seen to hold it since it is sought. */
  let metHolder: string | null = null;
  /** Said of the record. */
  let absent = false;
  let killTimer: NodeJS.Timeout | undefined;
  let patience: NodeJS.Timeout | undefined;
  let ended: Promise<void> | null = null;

  const lease = createLease({
    ...{ store, timing, lock, host: hostname(), pid: process.pid },
    onSaying: heard,
  });

  function line(text: string, level: 'info' | 'good' | 'warn' | 'error' = 'info'): void {
    report.line('lease', text, level);
  }

  function heard(saying: KeeperSaying): void {
    switch (saying.what) {
      case 'sees':
        sees(saying.rec);
        break;
      case 'unreachable':
        unreachable(saying.why);
        break;
      case 'reachable':
        clearTimeout(patience);
        patience = undefined;
        line(`${engine} answers again`, 'good');
        break;
      case 'vanished':
        line(`the record is gone from ${engine}; it is still our term, so it is written again`, 'warn');
        break;
      case 'rolled-back':
        line(
          `${engine} has forgotten writes that it had acknowledged (a fail-over, a restored backup?); polling pauses until it has taken a new one`,
          'warn',
        );
        break;
    }
  }

  function sees(rec: LeaseRecord | null): void {
    if (rec === null || rec.vacant !== undefined) {
      if (absent) return;
      absent = true;
      line(
        `no record of this bot in ${engine} (its first start, or the record was lost): waiting ${duration(timing.ttlMs)}, in case somebody still polls by a lost one`,
      );
      return;
    }
    absent = false;
    if (rec.holder === '' || (rec.lock !== undefined && rec.lock === lock)) return;
    const who = holderText({ host: rec.host ?? null, pid: rec.pid ?? null });
    metHolder = who;
    if (options.noWait) {
      options.onBlocked({
        code: EXIT.otherPoller,
        reason: `another machine holds the lease: ${who}${rec.since ? `, since ${rec.since}` : ''}. Leave out --no-wait to stand by, or give --takeover to ask it to hand over`,
      });
      return;
    }
    const asking = takeover ? '; asking it to hand over' : '';
    line(
      `standing by: ${who} may poll (epoch ${rec.epoch})${asking}; takes over when it lets go, or is not heard of for ${duration(Math.max(rec.ttl, timing.ttlMs))}`,
    );
  }

  function unreachable(why: string): void {
    if (present) {
      const leftMs = present.remaining();
      line(
        `${engine} is out of reach: ${why}; polling goes on for ${duration(leftMs)} at most, then no poller rather than two`,
        'warn',
      );
      return;
    }
    const patienceText = options.noWait
      ? `; trying for ${duration(PATIENCE_MS)}`
      : '; trying again and again';
    line(
      `${engine} is out of reach: ${why}; standing by, as nobody may poll without it${patienceText}`,
      'warn',
    );
    if (!options.noWait || patience) return;
    patience = setTimeout(
      () => options.onBlocked({ code: EXIT.unreachable, reason: `the lease engine is out of reach: ${why}` }),
      PATIENCE_MS,
    );
  }

  async function seek(won: () => void): Promise<void> {
    await releasing;
    if (ended) return;
    stopSeeking = new AbortController();
    const { signal } = stopSeeking;
    const beganMs = performance.now();
    metHolder = null;
    try {
      const term = await lease.acquire(signal, { takeover });
      takeover = false;
      // A holder may let go within the first moments too.
      wasFree = metHolder === null && performance.now() - beganMs < FREE_WITHIN_MS;
      begin(term);
      if (metHolder !== null) options.onTaken(metHolder);
      won();
    } catch (error) {
      if (signal.aborted || ended) return;
      const config = LeaseConfigError.is(error);
      options.onBlocked({
        code: config ? EXIT.config : EXIT.bug,
        reason: `${config ? '' : 'the lease failed: '}${error instanceof Error ? error.message : String(error)}`,
      });
    }
  }

  function begin(term: Term): void {
    present = term;
    absent = false;
    clearTimeout(patience);
    line(
      `ours (epoch ${term.epoch}), in ${engine}: this machine may poll; renewed every ${duration(timing.renewMs)}, another may take over ${duration(timing.ttlMs)} after the last renewal`,
      'good',
    );
    const isPresent = () => present === term && !ended;
    term.lost.then((lost) => isPresent() && lost.why !== 'stop' && lose(lost)).catch(options.onKill);
    term.asked.then(
      () => isPresent() && options.onUnleased('another machine asks to take over the lease'),
      () => {},
    );
  }

  function lose({ why, killBy }: Lost): void {
    options.onShut();
    const reason =
      why === 'taken'
        ? `the lease is another's now`
        : `the lease ran out: ${engine} has not taken a renewal in time`;
    line(`lost: ${reason}; the gateway is shut, the worker goes before anybody else may start`, 'error');
    options.onLost(reason);
    options.onUnleased(reason);
    killAt(killBy);
  }

  /** Looked at again and again: timers stand still while the machine is suspended, this clock does not. */
  function killAt(byMs: number): void {
    const leftMs = byMs - lease.now();
    if (leftMs <= 0) {
      options.onKill();
      return;
    }
    killTimer = setTimeout(killAt, Math.min(leftMs, KILL_LOOK_MS), byMs);
  }

  function release(): void {
    const term = present;
    present = null;
    clearTimeout(killTimer);
    if (term) releasing = term.release();
  }

  const valid = () => present?.valid() ?? false;
  /** Not lost, and not valid either: time may have passed unseen. */
  const inDoubt = () => present !== null && present.remaining() > 0 && !present.valid();

  async function settle(): Promise<void> {
    const term = present;
    while (present === term && inDoubt()) await new Promise((resolve) => setTimeout(resolve, SETTLE_LOOK_MS));
  }

  async function end(clean: boolean): Promise<void> {
    stopSeeking.abort();
    clearTimeout(patience);
    clearTimeout(killTimer);
    if (clean) release();
    present = null;
    await releasing.catch(() => {});
    await lease.close().catch(() => {});
  }

  return {
    seek: (won) => void seek(won),
    release,
    valid,
    settled: () => (inDoubt() ? settle() : null),
    epoch: () => present?.epoch ?? null,
    wasFree: () => wasFree,
    status() {
      const { holder, host, pid, since, mine, epoch, decision, reachable, unreachable: out } = lease.status();
      const at = (inMs: number) => new Date(Date.now() + inMs).toISOString();
      const living = holder !== null && holder !== '';
      // A holder's stop point lies before the end of what others grant it.
      const graceMs = livesMs(timing) - stopAfterMs(timing);
      return {
        engine,
        holder: living ? holderText({ host, pid }) : null,
        mine,
        epoch: epoch === 0 ? null : epoch,
        expiresAt: decision ? at(decision.what === 'stop' ? decision.inMs + graceMs : decision.inMs) : null,
        role: mine ? 'holder' : 'standby',
        since: living ? since : null,
        decision: decision ? { what: decision.what, at: at(decision.inMs) } : null,
        reachable,
        unreachable: out ? out.why : null,
      };
    },
    problem() {
      const { mine, decision, unreachable: out } = lease.status();
      if (!out) return null;
      const end = mine
        ? `polling ends in ${duration(decision?.inMs ?? 0)} unless it answers`
        : 'nobody polls from here until it answers';
      return {
        code: 'lease-unreachable',
        message: `${engine} is out of reach for ${duration(out.forMs)} (${out.why}): ${end}`,
      };
    },
    end: (clean) => (ended ??= end(clean)),
  };
}

async function open(url: string, botId: number): Promise<LeaseStore> {
  try {
    return await openStore(url, botId);
  } catch (error) {
    if (!LeaseConfigError.is(error)) throw error;
    throw new SinglepollError(EXIT.config, error.message);
  }
}
