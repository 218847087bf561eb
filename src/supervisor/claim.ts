/**
 * Takes the lock: step 4 of `start` yields (75) and says who holds it, waits for it (`--wait`), or asks for it (`--takeover`); `reset` ends
 * its holder. With the lock in hand the control socket of the bot's folder is looked at as well: a supervisor that was started with another
 * token of this bot holds a lock of other names.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError, VERSION } from '../errors.ts';
import {
  claimLock,
  type Holder,
  type Lock,
  type LockKey,
  lockKey,
  lockReleased,
  type Taker,
} from '../lock/lock.ts';
import { runsSinglepoll } from '../lock/look.ts';
import { isAlive, isThere, type ProcessId } from '../machine/procfs.ts';
import type { Report } from '../output/report.ts';
import { isRoot } from '../shell.ts';
import { stopTargets } from '../strays/stop.ts';
import { askControl, NoAnswer, NoSupervisor, WentAway } from './control.ts';
import {
  cannotAsk,
  controlPath,
  describe,
  held,
  hostOfHolder,
  inTheWay,
  outOfReach,
  squatted,
  supervisorAt,
} from './holder.ts';

/** A holder opens its control socket within milliseconds of taking the lock; on a busy machine later. */
const NO_CONTROL_MS = 5_000;
const STANDBY_LOOK_MS = 250;
/** One that answers gets its own stop timeout and this on top; one that does not gets this alone before SIGKILL. */
const END_MS = 3_000;
const ROUNDS = 5;

interface Following {
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  /** Finds out what would fail after the holder has stopped its worker. Throws SinglepollError. */
  readonly reaches: (holder: Holder) => Promise<void>;
  readonly onWait: () => void;
}

export type OwnTaker = Taker & { readonly control: string };

/**
 * `standbys`: those that have handed over, and stand by until a worker polls. Throws SinglepollError 75 when the lock stays another's;
 * rejects when `signal` aborts.
 */
export async function claim(config: Config, taker: OwnTaker, { signal, say, reaches, onWait }: Following) {
  const key = lockKey(config.token as string);
  const { control } = taker;
  /** Whom the person was told of; undefined: nobody yet. */
  let told: number | null | undefined;
  let silentSinceMs: number | null = null;
  const standbys: Holder[] = [];
  for (;;) {
    const { lock, holder, squatters, byControl } = await claimBoth(key, taker, control);
    if (lock) return { lock, standbys };
    signal.throwIfAborted();
    if (!holder && squatters.length > 0) throw squatted(key.botId, squatters);
    if (!config.takeover && !config.wait) throw held(holder, control);
    const pid = holder?.pid ?? null;
    const isNew = pid !== told;
    if (config.takeover) {
      // Orders go to the own folder only, wherever the holder says that it listens.
      if (!holder?.answers || holder.control !== control || holder.elsewhere)
        throw cannotAsk(holder, control);
      if (isNew) {
        silentSinceMs = null;
        await reaches(holder);
        const stop = hostOfHolder(holder)?.stopCommand;
        say(`asking to hand over: ${describe(holder)}${stop ? `; what ends it: ${stop}` : ''}`);
      }
      told = pid;
      const timeoutMs = config.stopTimeoutMs + 60_000;
      const handed = await askToHandOver(holder, control, { signal, say, timeoutMs });
      if (handed === 'left') await lockReleased(key, signal);
      signal.throwIfAborted();
      if (handed === 'stands by') standbys.push(holder);
      if (handed) continue;
      // It holds the lock, and nobody listens at its control socket: it has only just begun, or somebody removed the socket.
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > NO_CONTROL_MS) throw cannotAsk(holder, control);
      await pause(100, undefined, { signal }).catch(() => {});
      continue;
    }
    if (isNew) say(`standing by: ${describe(holder)}`);
    if (told === undefined) onWait();
    told = pid;
    // Its lock has names that are not known here: only its control socket can be watched.
    if (byControl) await pause(STANDBY_LOOK_MS, undefined, { signal }).catch(() => {});
    else await lockReleased(key, signal);
    signal.throwIfAborted();
    await pause(10);
  }
}

/** Takes the lock where neither it nor the control socket shows a supervisor. `byControl`: the control socket has decided. */
export async function claimBoth(key: LockKey, taker: Taker, control: string | null) {
  const claimed = await claimLock(key, taker);
  const { lock } = claimed;
  if (!lock) return { ...claimed, byControl: false };
  let isFree = false;
  try {
    const holder = control === null ? null : await supervisorAt(control);
    isFree = holder === null;
    return { lock: isFree ? lock : null, holder, squatters: [], byControl: true };
  } finally {
    if (!isFree) lock.release();
  }
}

/** Null: nobody listens at its control socket yet. `left`: it has ended instead, or will. Throws what can't be changed by asking again. */
async function askToHandOver(
  holder: Holder,
  control: string,
  options: { readonly signal: AbortSignal; readonly say: (text: string) => void; readonly timeoutMs: number },
): Promise<'stands by' | 'left' | null> {
  try {
    const answer = await askControl(control, { cmd: 'handover', to: process.pid }, options);
    if (!answer.ok)
      throw new SinglepollError(EXIT.otherPoller, `the holder does not hand over: ${answer.error}`);
    return answer.standsBy ? 'stands by' : 'left';
  } catch (error) {
    options.signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw inTheWay('the holder may not be asked', holder, control, EXIT.refused);
    if (error instanceof NoSupervisor) return null;
    if (error instanceof NoAnswer || error instanceof WentAway) return 'left';
    throw error;
  }
}

/**
 * `reset`: ends the present supervisors of a bot, by asking, else by signals, and takes the lock so that nobody starts a worker
 * meanwhile. A process is signalled only if the kernel names it as the owner of the socket, it runs singlepoll, belongs to this
 * user (root: to anybody), and lives in this pid namespace. What answers at the socket has no say in that. `starts`: something is
 * started again afterwards. Throws SinglepollError.
 */
export async function seizeLock(config: Config, report: Report, starts: boolean): Promise<Lock> {
  const key = lockKey(config.token as string);
  const control = controlPath(config.botId);
  const taker = { startedAt: new Date().toISOString(), cwd: config.cwd, version: VERSION, control: null };
  let last: Holder | null = null;
  for (let round = 0; round < ROUNDS; round++) {
    const { lock, holder, squatters } = await claimBoth(key, taker, control);
    if (lock) {
      if (round === 0) report.line('lock', 'no supervisor runs');
      return lock;
    }
    if (!holder && squatters.length > 0) throw squatted(key.botId, squatters);
    last = holder;
    if (!holder) continue;
    const { SINGLEPOLL_BOT, SINGLEPOLL_RUN } = process.env;
    if (SINGLEPOLL_RUN && SINGLEPOLL_BOT === key.botId)
      throw new SinglepollError(
        EXIT.usage,
        'this command was started by the worker, and reset would end it with the worker, before it could start anything again',
        `singlepoll ${starts ? 'restart' : 'stop'}    # or reset from a shell that the worker has not started`,
      );
    sayUnit(holder, report, starts);
    await end(holder, control, config, report);
  }
  throw new SinglepollError(
    EXIT.otherPoller,
    `supervisors keep taking the lock: ${describe(last)}`,
    'singlepoll who',
  );
}

/** One that systemd runs stays down after its end in order; only systemd can start it again where it was. */
function sayUnit(holder: Holder, report: Report, starts: boolean): void {
  const unit = hostOfHolder(holder);
  if (!unit?.startCommand) return;
  const text = starts
    ? `the supervisor is ${unit.name}: what is started again runs here, outside of it. In the unit: singlepoll reset --no-start && ${unit.startCommand}`
    : `the supervisor is ${unit.name}, which stays down; to start it again: ${unit.startCommand}`;
  report.line('stop', text, 'warn');
}

async function end(holder: Holder, control: string | null, config: Config, report: Report): Promise<void> {
  report.line('stop', `ending the supervisor: ${describe(holder)}`);
  if (control && holder.answers && holder.control === control) {
    const timeoutMs = config.stopTimeoutMs + END_MS;
    const asked = await askControl(control, { cmd: 'stop' }, { timeoutMs }).catch(() => null);
    if (asked?.ok) {
      report.line('stop', `stopped: ${String(asked.stopped)}`, 'good');
      return;
    }
  }
  const target = await targetOf(holder, control);
  if (target === null) return report.line('stop', `pid ${holder.pid} has ended`, 'good');
  const result = await stopTargets([target], {
    // One that answers is asked by SIGTERM, and stops its worker first.
    stopTimeoutMs: holder.answers ? config.stopTimeoutMs + END_MS : END_MS,
    killWaitMs: END_MS,
  });
  if (result.denied.length > 0)
    throw inTheWay('the supervisor may not be signalled by this user', holder, control, EXIT.refused);
  if (result.survivors.length > 0)
    throw new SinglepollError(EXIT.otherPoller, `the supervisor (pid ${target.pid}) survived SIGKILL`);
  const how = result.killed > 0 ? ' by SIGKILL: it did not answer' : '';
  report.line('stop', `ended pid ${target.pid}${how}`, 'warn');
}

/** Null: it has ended. */
async function targetOf(holder: Holder, control: string | null): Promise<ProcessId | null> {
  const { pid, startId, elsewhere } = holder;
  if (pid !== null && !elsewhere && !isThere(pid)) return null;
  const refuse = (why: string, code: number = EXIT.otherPoller) =>
    inTheWay(`who holds the lock ${why}`, holder, control, code);
  const far = outOfReach(holder);
  if (far && (elsewhere || !isRoot())) throw refuse(far.why, far.code);
  // Without a start id the kernel does not show that this process has the socket.
  if (pid === null || startId === null) throw refuse('can’t be seen from here');
  const isSinglepoll = await runsSinglepoll(pid);
  // A zombie has no command line any more, and a process that has its pid since is another one.
  const found = { pid, startId };
  if (!isAlive(found)) return null;
  if (!isSinglepoll) throw refuse('is no singlepoll, so it is not signalled');
  return found;
}
