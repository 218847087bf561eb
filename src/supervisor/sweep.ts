/**
 * Looks for strays, stops those that the proof allows, never fights what starts them again. Before the first worker it asks who
 * polls; while the worker runs it acts on what the polls have shown. Answers with the reason to end, or null: the way is free.
 */
import { EXIT } from '../errors.ts';
import { userName } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import { count, duration, type Level } from '../output/words.ts';
import { asRoot, isRoot } from '../shell.ts';
import type { LookOptions, Stray, StrayFinder, StrayStop, Survey } from '../strays/finder.ts';
import { isStopped } from '../strays/grade.ts';
import type { StoppedStray } from '../strays/policy.ts';
import { judge, livesOf, remember, silenceWords } from '../strays/policy.ts';
import { identityOf } from '../strays/process.ts';
import type { Prover } from '../strays/prover.ts';
import type { Unseen } from '../strays/reactions.ts';
import { oneAtATime } from '../turns.ts';
import type { StatusEvent } from './record.ts';
import type { StrayEntry } from './status.ts';
import type { Ending } from './table.ts';

interface SweeperOptions {
  readonly finder: StrayFinder;
  /** Null: nobody is asked (a dry run). */
  readonly prover: Pick<Prover, 'look' | 'experiment' | 'evidence' | 'unseen'> | null;
  readonly report: Report;
  readonly stopTimeoutMs: number;
  readonly dryRun: boolean;
  /** A process that polls another bot as well is stopped all the same. */
  readonly silencesOthers: boolean;
  /** It is the lease that decides between two supervisors, wherever they run. */
  readonly leased: boolean;
  /** The present worker, so that it is never taken for a stray; null between two. */
  readonly worker?: () => NonNullable<LookOptions['worker']> | null;
  /** Pid of the worker before; null where there was none. */
  readonly former?: () => number | null;
  /** Between two workers: anything of the former one may be left. */
  readonly mayHaveLeft?: () => boolean;
  /** For `status`. */
  readonly note?: (event: StatusEvent) => void;
  /** Somebody reacted after the question was answered: look again, beside the worker. */
  readonly onLate?: () => void;
  /** Aborted once the supervisor heads for its end: the strays are the next one's then. */
  readonly signal: AbortSignal;
  /** Elapsed time; the simulation puts its own in. */
  readonly nowMs?: () => number;
}

/** `disturbed`: a process was asked or stopped, so what it may have left behind (a webhook) has to be looked at once more. */
type FirstSweep = { readonly ending: Ending | null; readonly disturbed: boolean };

export type Sweeper = ReturnType<typeof createSweeper>;

/** How often a sweep that stopped something looks again before it calls the rest a survivor. */
const ROUNDS_MAX = 6;
/** Several strays take turns: each is asked for as long as there is time. */
const ASK_FOR_MS = 10_000;
/** A process that can't be seen keeps the run waiting for so long, as long as anybody is connected: only a new question, which disturbs, tells more. */
const UNSEEN_PAUSE_MS = 5 * 60_000;
const DOUBTFUL_LINES_MAX = 4;
const MEMBER_LINES_MAX = 6;

export function createSweeper(options: SweeperOptions) {
  const { finder, prover, report, dryRun, signal, nowMs = () => performance.now() } = options;
  let stopped: readonly StoppedStray[] = [];
  const told = new Set<string>();
  const endings = new Set<string>();
  /** Identities of those that a stop has not ended. */
  const unstoppable = new Set<string>();
  let unseenUntilMs = Number.NEGATIVE_INFINITY;
  /** Another sweep waits rather than stop the same strays once more. */
  const inTurn = oneAtATime();

  function say(text: string, level: Level = 'info', fields: Readonly<Record<string, unknown>> = {}): void {
    report.line('stray', text, level, fields);
  }

  /** Getters: whose a pid is has to be known for the moment in which the processes are listed. */
  function lookOptions(abandoned: AbortSignal): LookOptions {
    return {
      get worker() {
        return options.worker?.() ?? null;
      },
      get former() {
        return options.worker?.() ? null : (options.former?.() ?? null);
      },
      get evidence() {
        return prover?.evidence();
      },
      signal: AbortSignal.any([signal, abandoned]),
    };
  }

  async function look(abandoned: AbortSignal): Promise<Survey> {
    const survey = await finder.look(lookOptions(abandoned));
    publish(survey);
    return survey;
  }

  /**
   * Stops what may be stopped, until a look shows nobody. Aborted, it ends without a verdict and without a further signal.
   * `goesOn`: a worker runs, and may go on beside one that can't be stopped.
   */
  async function clear(
    survey: Survey,
    abandoned: AbortSignal,
    among: (stray: Stray) => boolean = () => true,
    goesOn = false,
  ): Promise<Ending | null> {
    let current = survey;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (signal.aborted || abandoned.aborted) return null;
      const verdict = judge(current.strays.filter(among), stopped, nowMs(), options);
      const [blocked = null] = verdict.endings;
      // Beside a worker that may go on, one that can't be stopped does not shield the others.
      const strays = goesOn || !blocked ? verdict.strays : [];
      for (const ending of verdict.endings.slice(0, goesOn ? undefined : 1)) tellEnding(ending);
      if (strays.length === 0) return blocked;
      if (dryRun) {
        tellStrays('would stop', strays);
        return null;
      }
      const ending = await stop(strays, current, abandoned);
      if (ending || signal.aborted || abandoned.aborted) return ending;
      // What answers to one signal may have started another: only a clean look counts.
      current = await look(abandoned);
    }
    return {
      code: EXIT.otherPoller,
      reason: 'strays keep appearing faster than they can be stopped',
      hint: WHO,
    };
  }

  async function stop(
    strays: readonly Stray[],
    seen: Survey,
    abandoned: AbortSignal,
  ): Promise<Ending | null> {
    tellStrays('stopping', strays);
    const atMs = nowMs();
    const result = await finder.stop(strays, {
      ...lookOptions(abandoned),
      stopTimeoutMs: options.stopTimeoutMs,
    });
    const isGivenUp = signal.aborted || abandoned.aborted;
    if (result.targets.length === 0) {
      // Nobody was stopped here, so one that comes again has not come back from a stop.
      say('gone already, by itself', 'good');
      return null;
    }
    // A survivor that is seen again has not come back. One that was asked to end, and then left alone, may have.
    const ended = strays.filter((stray) => isGivenUp || result.gone.includes(stray));
    stopped = remember(stopped, livesOf(ended, seen.present, atMs));
    if (isGivenUp && result.survivors.length > 0) {
      say(`left to the next look: ${processes(result.survivors.length)} had not ended yet`, 'warn');
      return null;
    }
    const ending = concludeStop(result);
    if (ending) return ending;
    const [{ pid, command }, ...more] = strays as readonly [Stray, ...Stray[]];
    const others = more.length > 0 ? ` and ${more.length} more` : '';
    const lastStray = `pid ${pid} (${plain(command, 120)})${others}`;
    options.note?.({ kind: 'strays-stopped', count: strays.length, lastStray });
    return null;
  }

  function concludeStop({ denied, left, survivors, killed, targets, tookMs }: StrayStop): Ending | null {
    for (const stray of left) unstoppable.add(identityOf(stray));
    const pidsOf = (list: readonly { pid: number }[]) => list.map(({ pid }) => pid);
    if (denied.length > 0) {
      const first = left[0] ? ` (${left[0].user}): ${left[0].command}` : '';
      const reason = `a stray poller belongs to another user and may not be stopped: pid ${pidsOf(denied).join(', ')}${first}`;
      const hint = asRoot(`kill ${pidsOf(denied).join(' ')}`);
      return tellEnding({ code: EXIT.refused, reason, hint, isRival: true });
    }
    if (survivors.length > 0) {
      const pids = pidsOf(survivors).join(',');
      const reason = `a stray poller survived SIGKILL: pid ${pids}; it hangs in the kernel`;
      return tellEnding({ code: EXIT.otherPoller, reason, hint: `ps -o pid,stat,wchan:32,args -p ${pids}` });
    }
    const how = killed > 0 ? `, ${killed} by SIGKILL` : '';
    say(`gone: ${processes(targets.length)} in ${duration(tookMs)}${how}; nothing is left`, 'good');
    return null;
  }

  /** Asks who polls, as long as somebody else is connected, and stops those who react. */
  async function ask(
    by: Pick<Prover, 'experiment' | 'evidence' | 'unseen'>,
    before: Survey,
    untilMs: number,
    abandoned: AbortSignal,
  ): Promise<FirstSweep> {
    let survey = before;
    let disturbed = false;
    while (!abandoned.aborted && nowMs() < untilMs) {
      const outcome = await by.experiment({
        signal: AbortSignal.any([signal, abandoned]),
        holders: before.strays.length,
        totalMs: untilMs - nowMs(),
        isSuspect: (pid) => survey.strays.some((it) => it.pid === pid && it.holdsToken),
        beforeFirst(count) {
          say(askingWords(count));
          disturbed = true;
        },
        async isEnough() {
          survey = await look(abandoned);
          return survey.strays.some(isInTheWay) || by.unseen().some(({ isProven }) => isProven);
        },
        onLate: () => options.onLate?.(),
      });
      if (outcome.kind === 'convicted') {
        const ending = (await clear(survey, abandoned)) ?? unseenEnding(by.unseen(), abandoned);
        if (ending) return { ending, disturbed };
        continue;
      }
      if (outcome.kind === 'blind') return { ending: tellEnding(blindEnding(survey)), disturbed };
      if (outcome.kind === 'failed' && !abandoned.aborted)
        say(`could not ask who polls: ${outcome.description}`, 'warn');
      break;
    }
    return { ending: null, disturbed };
  }

  /** Somebody whom this user may not look into polls this bot. */
  function unseenEnding(unseen: readonly Unseen[], abandoned: AbortSignal): Ending | null {
    const proven = unseen.find(({ isProven }) => isProven);
    if (!proven || signal.aborted || abandoned.aborted) return null;
    unseenUntilMs = nowMs() + UNSEEN_PAUSE_MS;
    const { text, hint } = unseenWords(proven);
    const reason = `a stray poller may not be stopped: ${text}`;
    return tellEnding({ code: EXIT.refused, reason, hint, isRival: true });
  }

  /** A dry run has not asked them yet. */
  const unproven = (who: string) =>
    dryRun ? `would ask: ${who} may poll` : `left alone: ${who} may poll, but that is not proven`;

  /** Those that may poll, but not on proof: said once each, never stopped; many of them in one line. */
  function tellOfDoubtful(survey: Survey): void {
    const fresh = survey.strays.filter((stray) => isLikely(stray) && !told.has(identityOf(stray)));
    if (told.size > 2_000) told.clear();
    for (const stray of fresh) told.add(identityOf(stray));
    if (fresh.length > DOUBTFUL_LINES_MAX) {
      const pids = fresh.map(({ pid }) => pid);
      const text = `${unproven(`${pids.length} processes`)}: pid ${pids.join(', ')}; singlepoll who shows them`;
      say(text, 'warn', { pids, grade: 'likely' });
      return;
    }
    for (const stray of fresh) {
      const { pid, grade, proof } = stray;
      const text = `${unproven(`${named(stray)} ${stray.command}${where(stray)}`)}: ${proof.join(', ')}`;
      say(text, 'warn', { pid, grade, proof });
    }
  }

  /**
   * Says how the first look ended, and what it could not see. It does not say that nobody else polls where one was left alone.
   * `reacted`: whom this user may not look into.
   */
  function tellResult({ strays, uninspectable }: Survey, reacted: readonly Unseen[]): void {
    const { count, hidden, unmatched } = uninspectable;
    const some = count > 0 ? `; ${unseenText(uninspectable)}` : '';
    const blind = hidden ? '; /proc hides the processes of other users (hidepid)' : some;
    if (unmatched > 0)
      say(
        `--stray: gave up on the command lines of ${processes(unmatched)}, as the pattern takes too long`,
        'warn',
      );
    for (const { who, hint } of reacted.map(unseenWords)) say(unproven(who), 'warn', { hint });
    const isDoubtful = strays.some(isLikely) || reacted.length > 0;
    const among = blind === '' || isRoot() ? 'on this machine' : 'among the processes that this user may see';
    const result = dryRun
      ? 'nobody else would be stopped unasked'
      : `no other poller of this bot ${isDoubtful ? 'is proven ' : ''}${among}`;
    const isSure = blind === '' && !isDoubtful;
    say(`${result}${blind}`, isSure ? 'good' : 'warn', { uninspectable: count });
  }

  /** Names each with the rest of its tree, so that nothing is ended unnamed. A tree may hold several strays; each process is named once. */
  function tellStrays(verb: 'stopping' | 'would stop', strays: readonly Stray[]): void {
    const told = new Set<number>();
    for (const stray of strays) {
      const { pid, grade, proof, silences } = stray;
      if (told.has(pid)) continue;
      told.add(pid);
      say(`${verb} ${named(stray)}: ${stray.command}${where(stray)}`, 'warn', { pid, grade, proof });
      say(`  ${grade}: ${proof.join(', ')}`);
      if (silences.length > 0) say(`  ${silenceWords(silences)} falls silent with it`, 'warn');
      const others = stray.tree.filter((it) => !told.has(it.pid));
      for (const it of others.slice(0, MEMBER_LINES_MAX)) say(`  with it: pid ${it.pid} ${it.command}`);
      const more = others.slice(MEMBER_LINES_MAX).map((it) => it.pid);
      if (more.length > 0) say(`  with it: pid ${more.join(', ')}`);
      for (const it of others) told.add(it.pid);
    }
  }

  function publish(survey: Survey): void {
    const strays = survey.strays.filter(({ grade }) => grade !== 'hint').map(toEntry);
    options.note?.({ kind: 'strays', strays });
  }

  function tellEnding(ending: Ending): Ending {
    const { reason, hint } = ending;
    if (!endings.has(reason)) say(reason, 'error', { hint });
    endings.add(reason);
    return ending;
  }

  /** Looks and does nothing: beside the look for a webhook, which takes as long. */
  async function peek(abandoned: AbortSignal) {
    const others = await prover?.look();
    return { survey: await look(abandoned), isAlone: others === 0 };
  }

  const isLikely = ({ grade }: Stray) => grade === 'likely';
  const isOwn = ({ grade }: Stray) => grade === 'own';
  const isInTheWay = ({ grade, supervisor }: Stray) =>
    isStopped(grade) || (!options.leased && supervisor !== null);

  return {
    /** A reason to end that was told when it was found. */
    hasSaid: (reason: string): boolean => endings.has(reason),
    /** Elapsed time of the last stop of a stray; -Infinity where there was none. */
    lastStopAtMs: (): number => stopped.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY,
    peek,
    /** Before the first worker: own leftovers and declared ones go, then whoever reacts when we ask. */
    first: (abandoned: AbortSignal, peeked = peek(abandoned)): Promise<FirstSweep> =>
      inTurn(async () => {
        const { survey: before, isAlone } = await peeked;
        const ending = await clear(before, abandoned);
        if (ending || abandoned.aborted) return { ending, disturbed: false };
        const isQuiet = isAlone && !before.strays.some(isInTheWay);
        const untilMs = nowMs() + ASK_FOR_MS;
        for (let disturbed = false; ; ) {
          const asked = prover && !isAlone && !dryRun ? await ask(prover, before, untilMs, abandoned) : null;
          disturbed ||= asked?.disturbed === true;
          if (asked?.ending || signal.aborted || abandoned.aborted)
            return { ending: asked?.ending ?? null, disturbed };
          // Who has come or reacted meanwhile has not been stopped yet.
          const last = isQuiet ? before : await look(abandoned);
          if (dryRun || !last.strays.some(isInTheWay)) {
            tellOfDoubtful(last);
            tellResult(last, (asked && prover?.unseen()) ?? []);
            return { ending: null, disturbed };
          }
          const late = await clear(last, abandoned);
          if (late || signal.aborted || abandoned.aborted) return { ending: late, disturbed };
        }
      }),
    /** Before a later worker: at once (not a promise) where no leftover of our own is in the way. */
    quick(abandoned: AbortSignal): Ending | null | Promise<Ending | null> {
      if (signal.aborted || abandoned.aborted || options.mayHaveLeft?.() === false) return null;
      const survey = finder.quickLook(lookOptions(abandoned));
      if (!survey.strays.some(isOwn)) return null;
      return inTurn(async () => await clear(survey, abandoned, isOwn));
    },
    /** While the worker runs: whoever is convicted by now is stopped. The reason why one can't be, or null. */
    again: (abandoned: AbortSignal): Promise<Ending | null> =>
      inTurn(async () => {
        const survey = await look(abandoned);
        tellOfDoubtful(survey);
        return await clear(survey, abandoned, () => true, true);
      }),
    /** Looks and does nothing: somebody is still there who can't be stopped. */
    async isBlocked(abandoned: AbortSignal): Promise<boolean> {
      const { strays } = await look(abandoned);
      const { endings, strays: stoppable } = judge(strays, stopped, nowMs(), options);
      if (endings.length > 0 || stoppable.some((it) => unstoppable.has(identityOf(it)))) return true;
      return nowMs() < unseenUntilMs && (await prover?.look()) !== 0;
    },
    /** Beside a new worker: what an earlier one has left somewhere else. */
    async leftovers(abandoned: AbortSignal): Promise<void> {
      await inTurn(async () => await clear(await look(abandoned), abandoned, isOwn));
    },
  };
}

export function toEntry(stray: Stray): StrayEntry {
  const { pid, user, command, cwd, startedAt, grade, proof, respawner } = stray;
  return { pid, user, command, cwd, startedAt, grade, proof, respawner };
}

const where = ({ cwd }: Stray): string => (cwd ? ` (in ${cwd})` : '');
const named = ({ pid, user }: Stray): string => `pid ${pid} (${user})`;
/** `77 processes could not be looked into (70 of root, 7 of alice)`. */
export function unseenText({ count, users, names, stuck }: Survey['uninspectable']): string {
  const owners = Object.entries(users).map(([user, number]) => `${number} of ${user}`);
  const which = names.length > 0 ? names : owners;
  const held = stuck > 0 ? `; reading ${stuck === count ? 'them' : `${stuck} of them`} does not end` : '';
  return `${processes(count)} could not be looked into (${which.join(', ')}${held})`;
}

const processes = (n: number): string => count(n, 'process');

const WHO = 'singlepoll who    # may name what starts them';

/** Said before anybody is disturbed: some libraries end at the 409 that they may get now. */
function askingWords(processes: number): string {
  const others = processes === 1 ? 'another process is' : `${processes} other processes are`;
  return `${others} connected to the Bot API here: asking getUpdates once; whoever polls gets a 409, at which some libraries end`;
}

/** About a process whose connection reacts and which this user may not see, or root where it is in another pid namespace. */
export function unseenWords({ uid, cgroup }: Unseen) {
  const unit = cgroup && cgroup !== '/' ? `, in ${plain(cgroup, 120)}` : '';
  const who = `a process of user ${plain(userName(uid), 40)}${unit}`;
  const sight = isRoot() ? 'this pid namespace does not show' : 'this user may not see';
  return {
    who,
    text: `${who} polls this bot here, and ${sight} which`,
    hint: asRoot('singlepoll who --probe'),
  };
}

function blindEnding({ strays }: Survey): Ending {
  const pids = strays.map(({ pid, command }) => `pid ${pid} (${command})`);
  const suspects = pids.length > 0 ? `; it may be ${pids.slice(0, 4).join(', ')}` : '';
  return {
    code: EXIT.otherPoller,
    reason: `somebody took the poll from us, and without a working ss nobody can be shown to be the one${suspects}`,
    hint: 'apt-get install iproute2    # as root',
  };
}
