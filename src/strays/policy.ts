/**
 * Decides what is done about the strays that were found. PURE. Only the three grades that carry proof are ever stopped. What a
 * service manager or anything else keeps starting again is not fought, since killing every life of it would lose messages for ever.
 */

import type { Ending } from '../supervisor/table.ts';
import { isInteractiveShell } from './bystander.ts';
import type { Grade, Respawner } from './process.ts';
import { baseName, isShellName } from './program.ts';

/** One life of a program, however many processes it had. */
export interface StoppedStray {
  /** What makes two processes the same program: command line and folder. */
  readonly key: string;
  /** Who had started it; several where several copies were stopped together. */
  readonly ppids: readonly number[];
  readonly atMs: number;
  /** Identities of its processes that were stopped. */
  readonly processes: ReadonlySet<string>;
  /** Identities of those seen at the same time: copies of it that were there already did not come back. */
  readonly beside: ReadonlySet<string>;
}

/** The parts of a stray that the decision depends on. */
export interface Suspect {
  readonly pid: number;
  readonly startId: string;
  readonly command: string;
  readonly cwd: string | null;
  /** The top of its tree. A fork of a stray that was there all the time has not come back. */
  readonly top?: { readonly pid: number; readonly startId: string };
  readonly grade: Grade;
  readonly respawner: Respawner | null;
  /** Who started its tree; null when that is gone. */
  readonly parent: { readonly pid: number; readonly command: string } | null;
  /** The living supervisor that it belongs to, one that does not share our lock: another network namespace, another user. */
  readonly supervisor: { readonly pid: number } | null;
  /** Other bots that this process polls as well. */
  readonly silences: readonly string[];
}

export interface StrayPolicy {
  /** Other bots may fall silent with a stray: --takeover, reset. */
  readonly silencesOthers: boolean;
  /** It is the lease that decides between two supervisors, wherever they run. */
  readonly leased: boolean;
}

export type Verdict<S extends Suspect> =
  | { readonly kind: 'free' }
  | { readonly kind: 'stop'; readonly strays: readonly S[] }
  /** Some may not be stopped, each for one of `endings` (`ending` is the first); `others` may. */
  | {
      readonly kind: 'blocked';
      readonly ending: Ending;
      readonly endings: readonly Ending[];
      readonly others: readonly S[];
    };

const LIVES_KEPT = 200;

/** Two processes with this in common are lives of the same program. */
function strayKey(stray: Pick<Suspect, 'command' | 'cwd'>): string {
  return `${stray.cwd ?? ''}\n${stray.command}`;
}

function identityOf(stray: Pick<Suspect, 'pid' | 'startId'>): string {
  return `${stray.pid} ${stray.startId}`;
}

/** What to remember of strays that were stopped together: one life of each program, however many processes it had. */
export function livesOf(
  stopped: readonly Suspect[],
  seen: Iterable<Pick<Suspect, 'pid' | 'startId'>>,
  atMs: number,
): StoppedStray[] {
  const beside = new Set([...seen].map(identityOf));
  return [...new Set(stopped.map(strayKey))].map((key) => {
    const same = stopped.filter((stray) => strayKey(stray) === key);
    const ppids = same.map((stray) => stray.parent?.pid ?? 0);
    return { key, ppids, atMs, processes: new Set(same.map(identityOf)), beside };
  });
}

/** Adds lives that were ended now. A process ends once: one that is stopped again had not ended before. */
export function remember(before: readonly StoppedStray[], now: readonly StoppedStray[]): StoppedStray[] {
  const again = (it: StoppedStray) =>
    now.some(({ processes }) => [...processes].some((one) => it.processes.has(one)));
  return [...before.filter((it) => !again(it)), ...now].slice(-LIVES_KEPT);
}

export function judge<S extends Suspect>(
  strays: readonly S[],
  stopped: readonly StoppedStray[],
  nowMs: number,
  policy: StrayPolicy,
): Verdict<S> {
  const incumbent = policy.leased ? undefined : strays.find(({ supervisor }) => supervisor !== null);
  if (incumbent) {
    const { pid, command, supervisor } = incumbent;
    const reason = `another supervisor on this machine runs this bot: pid ${supervisor?.pid}, with its worker pid ${pid} (${command}). It does not share the lock with this run (another network namespace, container or user), and is not fought. Stop it there: kill ${supervisor?.pid}`;
    return blocked([{ code: 75, reason }], []);
  }
  const guilty = strays.filter(({ grade }) => grade === 'own' || grade === 'proven' || grade === 'declared');
  if (guilty.length === 0) return { kind: 'free' };
  // A process that was asked to end and still lives has not come back, and neither has its copy.
  const present = new Set(strays.map(identityOf));
  const ended = stopped.filter(({ processes }) => ![...processes].some((one) => present.has(one)));
  const endings: Ending[] = [];
  const others: S[] = [];
  for (const stray of guilty) {
    const reason = whyNot(stray, ended, nowMs, policy);
    if (reason === null) others.push(stray);
    else endings.push({ code: 75, reason });
  }
  return endings.length > 0 ? blocked(endings, others) : { kind: 'stop', strays: guilty };
}

function blocked<S extends Suspect>(endings: readonly Ending[], others: readonly S[]): Verdict<S> {
  return { kind: 'blocked', ending: endings[0]!, endings, others };
}

/** Why a stray is not stopped although there is proof against it; null: nothing speaks against it. */
function whyNot(
  stray: Suspect,
  stopped: readonly StoppedStray[],
  nowMs: number,
  policy: StrayPolicy,
): string | null {
  const { respawner } = stray;
  if (respawner)
    return `a stray poller (pid ${stray.pid}: ${stray.command}) is kept alive by ${respawner.kind} (${respawner.name}), which would bring it back. Stop it there: ${respawner.stopCommand}`;
  if (stray.silences.length > 0 && !policy.silencesOthers)
    return `a stray poller (pid ${stray.pid}: ${stray.command}) polls ${silenceWords(stray.silences)} as well, which would fall silent with it. To stop it all the same: singlepoll start --takeover, or singlepoll reset`;
  // An own leftover has no other starter than a supervisor, and that one is dead: we hold its lock.
  if (
    stray.grade === 'own' ||
    !comesBack(
      {
        key: strayKey(stray),
        ppid: stray.parent?.pid ?? 0,
        identity: identityOf(stray),
        top: identityOf(stray.top ?? stray),
      },
      stopped,
      nowMs,
    )
  )
    return null;
  const by = stray.parent
    ? `started again by pid ${stray.parent.pid} (${stray.parent.command})`
    : 'something starts it again';
  const cure = stray.parent ? cureOf(stray.parent) : 'Find what starts it: singlepoll who';
  return `a stray poller comes back after it was stopped (pid ${stray.pid}: ${stray.command}): ${by}. ${cure}`;
}

/** `bot 42`, `bots 42 and 43`. */
export function silenceWords(bots: readonly string[]): string {
  return bots.length === 1 ? `bot ${bots[0]}` : `bots ${bots.slice(0, -1).join(', ')} and ${bots.at(-1)}`;
}

/** A shell that somebody types into ignores SIGTERM, and goes on with its loop; a hang-up ends it, as closing its window does. */
function cureOf({ pid, command }: NonNullable<Suspect['parent']>): string {
  const argv = command.split(' ');
  const isShell = isShellName(baseName((argv[0] ?? '').replace(/^-/, '')));
  if (!isShell || !isInteractiveShell(argv)) return `Stop that first: kill ${pid}`;
  return `Press Ctrl-C in that shell, or end it: kill -HUP ${pid}`;
}

/** A stray seen again after this long is a new event, not a comeback. */
export const COMEBACK_WINDOW_MS = 60_000;
/** Lives of one program that are ended within the window before it counts as coming back. */
const LIVES_MAX = 2;

/**
 * True when a stray like this was stopped so recently that something must be starting it: at once when the same living
 * parent did it twice, else at the third life within a minute.
 */
export function comesBack(
  stray: { readonly key: string; readonly ppid: number; readonly identity: string; readonly top: string },
  stopped: readonly StoppedStray[],
  nowMs: number,
): boolean {
  const lives = stopped.filter(
    (it) =>
      it.key === stray.key &&
      nowMs - it.atMs < COMEBACK_WINDOW_MS &&
      !it.beside.has(stray.identity) &&
      !it.beside.has(stray.top),
  );
  return lives.length >= LIVES_MAX || (stray.ppid > 1 && lives.some((it) => it.ppids.includes(stray.ppid)));
}
