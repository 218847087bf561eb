/**
 * Decides which of the found strays are stopped. PURE. Only the three grades with proof are ever stopped. A stray that a service
 * manager or another program restarts again and again is left alone, since killing it each time would lose messages for ever.
 */
import type { ProcessId } from '../machine/procfs.ts';
import type { Ending } from '../supervisor/table.ts';
import { isInteractiveShell } from './bystander.ts';
import type { Stray } from './finder.ts';
import { isStopped } from './grade.ts';
import { identityOf } from './process.ts';
import { baseName, isShellName } from './program.ts';

/** One stopped run of a program, however many processes it had. */
export interface StoppedStray {
  /** Equal for processes of the same program: command line and folder. */
  readonly key: string;
  /** The parents that had started it; several if several copies were stopped together. */
  readonly ppids: readonly number[];
  readonly atMs: number;
  /** Identities of its processes that were stopped. */
  readonly processes: ReadonlySet<string>;
  /** Identities of all processes at that time: copies among them were not started later. */
  readonly beside: ReadonlySet<string>;
}

interface StrayPolicy {
  /** A stray may be stopped even if that silences other bots: --takeover, reset. */
  readonly silencesOthers: boolean;
  /** A lease decides between supervisors, on one machine, too. */
  readonly leased: boolean;
}

interface Verdict {
  readonly strays: readonly Stray[];
  readonly endings: readonly Ending[];
}

/** A stray seen again after this long is a new event, not a comeback. */
export const COMEBACK_WINDOW_MS = 60_000;
/** How many runs of a program are stopped within the window before it counts as coming back. */
const LIVES_MAX = 2;

const strayKey = ({ command, cwd }: Pick<Stray, 'command' | 'cwd'>) => `${cwd ?? ''}\n${command}`;

/** What to remember of strays that were stopped together: one run of each program. */
export function livesOf(stopped: readonly Stray[], seen: Iterable<ProcessId>, atMs: number): StoppedStray[] {
  const beside = new Set([...seen].map(identityOf));
  return [...new Set(stopped.map(strayKey))].map((key) => {
    const same = stopped.filter((stray) => strayKey(stray) === key);
    const ppids = same.map((stray) => stray.parent?.pid ?? 0);
    return { key, ppids, atMs, processes: new Set(same.map(identityOf)), beside };
  });
}

/** Adds runs that were stopped now. If a process had to be stopped again, its earlier stop does not count. */
export function remember(before: readonly StoppedStray[], now: readonly StoppedStray[]): StoppedStray[] {
  const again = (it: StoppedStray) =>
    now.some(({ processes }) => [...processes].some((one) => it.processes.has(one)));
  const sinceMs = (now[0]?.atMs ?? 0) - COMEBACK_WINDOW_MS;
  return [...before.filter((it) => it.atMs > sinceMs && !again(it)), ...now];
}

export function judge(
  suspects: readonly Stray[],
  stopped: readonly StoppedStray[],
  nowMs: number,
  policy: StrayPolicy,
): Verdict {
  const incumbent = policy.leased ? undefined : suspects.find(({ supervisor }) => supervisor !== null);
  if (incumbent) {
    const { pid, command, supervisor } = incumbent;
    const reason = `another supervisor on this machine runs this bot, out of reach of this one's lock (another network namespace or user, or deploy mode): pid ${supervisor}, with worker pid ${pid} (${command})`;
    return {
      strays: [],
      endings: [{ code: 75, reason, hint: `kill ${supervisor}    # ends it in order` }],
    };
  }
  // A process that was asked to end but still lives has not come back, nor has its copy.
  const present = new Set(suspects.map(identityOf));
  const ended = stopped.filter(({ processes }) => ![...processes].some((one) => present.has(one)));
  const strays: Stray[] = [];
  const endings: Ending[] = [];
  for (const stray of suspects.filter(({ grade }) => isStopped(grade))) {
    const why = whyNot(stray, ended, nowMs, policy);
    if (why === null) strays.push(stray);
    else endings.push({ code: 75, reason: `a stray poller ${why[0]}`, hint: why[1] });
  }
  return { strays, endings };
}

/** Why a stray is not stopped although it is proven, and what to type; null: it may be stopped. */
function whyNot(
  stray: Stray,
  stopped: readonly StoppedStray[],
  nowMs: number,
  { silencesOthers }: StrayPolicy,
): readonly [reason: string, hint: string] | null {
  const { respawner, silences, parent } = stray;
  const who = `(pid ${stray.pid}: ${stray.command})`;
  if (respawner)
    return [
      `${who} is kept alive by ${respawner.kind} (${respawner.name}), which would bring it back`,
      respawner.stopCommand,
    ];
  if (silences.length > 0 && !silencesOthers)
    return [
      `${who} polls ${silenceWords(silences)} as well, which would fall silent with it`,
      'singlepoll reset    # stops it all the same, as start --takeover does',
    ];
  // Only a supervisor starts an own leftover, and that one is dead, as we hold its lock.
  if (stray.grade === 'own' || !comesBack(stray, stopped, nowMs)) return null;
  const [by, cure] = parent
    ? [`started again by pid ${parent.pid} (${parent.command})`, cureOf(parent)]
    : ['something starts it again', 'singlepoll who    # may name what starts it'];
  return [`comes back after it was stopped ${who}: ${by}`, cure];
}

/** `bot 42`, `bots 42 and 43`. */
export function silenceWords(bots: readonly string[]): string {
  return bots.length === 1 ? `bot ${bots[0]}` : `bots ${bots.slice(0, -1).join(', ')} and ${bots.at(-1)}`;
}

/** An interactive shell ignores SIGTERM and goes on with its loop; SIGHUP ends it, like closing its window. */
function cureOf({ pid, command }: NonNullable<Stray['parent']>): string {
  const argv = command.split(' ');
  const isShell = isShellName(baseName((argv[0] ?? '').replace(/^-/, '')));
  if (!isShell || !isInteractiveShell(argv)) return `kill ${pid}`;
  return `kill -HUP ${pid}    # ends that shell; Ctrl-C in it is enough`;
}

/**
 * True if a stray like this was stopped so recently that something must be restarting it: at the second run if the same living
 * parent started both, otherwise at the third within a minute. A fork that existed all the time has not come back.
 */
export function comesBack(stray: Stray, stopped: readonly StoppedStray[], nowMs: number): boolean {
  const wasBeside = ({ beside }: StoppedStray) =>
    [stray, ...stray.tree.slice(0, 1)].some((it) => beside.has(identityOf(it)));
  const lives = stopped.filter(
    (it) => it.key === strayKey(stray) && nowMs - it.atMs < COMEBACK_WINDOW_MS && !wasBeside(it),
  );
  const { pid: ppid = 0 } = stray.parent ?? {};
  return lives.length >= LIVES_MAX || (ppid > 1 && lives.some((it) => it.ppids.includes(ppid)));
}
