/**
 * `reset`: ends the present supervisors of a bot, by asking, else by signals, and takes the lock so that nobody starts a worker
 * meanwhile. Signalled is only a process that the kernel names as the owner of the socket, that runs singlepoll, belongs to this
 * user (root: to anybody), and lives in this pid namespace. What answers at the socket has no say in that.
 */
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { type Holder, type Lock, lockKey } from '../lock/lock.ts';
import { runsSinglepoll } from '../lock/look.ts';
import { isThere } from '../machine/procfs.ts';
import type { Report } from '../output/report.ts';
import { stopTargets, type Target } from '../strays/stop.ts';
import { VERSION } from '../version.ts';
import { claimBoth } from './claim.ts';
import { askControl } from './control.ts';
import { controlPath, describe, hostOfHolder, inTheWay, squatted } from './holder.ts';

/** One that answers gets its own stop timeout and this on top; one that does not gets this alone before SIGKILL. */
const PATIENCE_MS = 3_000;
const ROUNDS = 5;

/** `starts`: something is started again afterwards. Throws SinglepollError. */
export async function seizeLock(config: Config, report: Report, starts: boolean): Promise<Lock> {
  const key = lockKey(String(config.botId), config.token as string);
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
    const timeoutMs = config.stopTimeoutMs + PATIENCE_MS;
    const asked = await askControl(control, { cmd: 'stop' }, { timeoutMs }).catch(() => null);
    if (asked?.ok) {
      report.line('stop', `stopped: ${String(asked.stopped)}`, 'good');
      return;
    }
  }
  if (holder.pid !== null && !holder.elsewhere && !isThere(holder.pid))
    return report.line('stop', `pid ${holder.pid} has ended`, 'good');
  const target = await targetOf(holder, control);
  const result = await stopTargets([target], {
    // One that answers is asked by SIGTERM, and stops its worker first.
    stopTimeoutMs: holder.answers ? config.stopTimeoutMs + PATIENCE_MS : PATIENCE_MS,
    killWaitMs: PATIENCE_MS,
  });
  if (result.denied.length > 0)
    throw inTheWay('the supervisor may not be signalled by this user', holder, control, EXIT.refused);
  if (result.survivors.length > 0)
    throw new SinglepollError(EXIT.otherPoller, `the supervisor (pid ${target.pid}) survived SIGKILL`);
  const how = result.killed > 0 ? ' by SIGKILL: it did not answer' : '';
  report.line('stop', `ended pid ${target.pid}${how}`, 'warn');
}

async function targetOf(holder: Holder, control: string | null): Promise<Target> {
  const { pid, startId, uid, elsewhere } = holder;
  const refuse = (why: string, code: number = EXIT.otherPoller) =>
    inTheWay(`who holds the lock ${why}`, holder, control, code);
  if (elsewhere) throw refuse('runs in another container');
  const uidNow = process.geteuid?.();
  if (uidNow !== 0 && uid !== null && uid !== uidNow) throw refuse('belongs to another user', EXIT.refused);
  // Without a start id the kernel does not show that this process has the socket.
  if (pid === null || startId === null) throw refuse('can’t be seen from here');
  if (!(await runsSinglepoll(pid))) throw refuse('is no singlepoll, so it is not signalled');
  return { pid, startId };
}
