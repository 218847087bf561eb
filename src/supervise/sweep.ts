/**
 * Steps 5 and 6 of `start`, and the look before every later spawn: find strays, stop those that the proof allows, never
 * fight what starts them again, see that no webhook is set. Answers with the reason to end, or null: the way is free.
 */
import { judge, livesOf, type Suspect } from '../core/clearance.ts';
import type { StoppedStray } from '../core/comeback.ts';
import type { StrayEntry } from '../core/status.ts';
import type { Ending } from '../core/supervisor.ts';
import { EXIT } from '../errors.ts';
import type { Report } from '../output/report.ts';
import { duration } from '../output/words.ts';
import type { LookOptions, Stray, StrayFinder, StrayStop, Survey } from '../strays/finder.ts';

export interface SweeperOptions {
  readonly finder: StrayFinder;
  readonly report: Report;
  readonly stopTimeoutMs: number;
  readonly dryRun: boolean;
  /** The present worker, so that it is never taken for a stray; null between two. */
  readonly worker: () => NonNullable<LookOptions['worker']> | null;
  /** Pid of the worker before; null where there was none. */
  readonly former?: () => number | null;
  /** What was found and is still there, for `status`. */
  readonly onSurvey: (strays: readonly StrayEntry[], uninspectable: number) => void;
  /** Verified gone; of each its whole tree. Never empty. */
  readonly onStopped?: (strays: readonly StrayEntry[]) => void;
  /** Aborted once the supervisor heads for its end: the strays are the next one's then. */
  readonly signal: AbortSignal;
  /** Elapsed time; the simulation puts its own in. */
  readonly nowMs?: () => number;
}

export interface Sweeper {
  /** A thorough look; stops what it may. */
  thorough(): Promise<Ending | null>;
  /** The look before a respawn: at once (not a promise) where nothing is to be stopped. */
  quick(): Ending | null | Promise<Ending | null>;
  /** The look beside a running worker, which may take its time. */
  beside(): Promise<Ending | null>;
  /** Elapsed time of the last stop of a stray; -Infinity where there was none. */
  lastStopAtMs(): number;
  /** A reason to end that was told when it was found. */
  hasSaid(reason: string): boolean;
}

/** How often a sweep that stopped something looks again before it calls the rest a survivor. */
const ROUNDS_MAX = 6;
const DOUBTFUL_LINES_MAX = 4;
const MEMBER_LINES_MAX = 6;

export function createSweeper(options: SweeperOptions): Sweeper {
  const { finder, report, dryRun, signal, nowMs = () => performance.now() } = options;
  const stopped: StoppedStray[] = [];
  const told = new Set<string>();
  const endings = new Set<string>();
  /** Under way: another sweep waits for it rather than stop the same strays once more. */
  let clearing: Promise<Ending | null> | null = null;

  const lookOptions = (): LookOptions => {
    const worker = options.worker();
    return { worker, former: worker ? null : (options.former?.() ?? null), signal };
  };

  /** Never two at once. Aborted, it ends without a verdict and without a further signal. */
  function sweep(look: Promise<Survey>): Promise<Ending | null> {
    const mine = look
      .then((survey) => {
        publish(survey);
        return clear(survey);
      })
      .finally(() => {
        clearing = null;
      });
    clearing = mine;
    return mine;
  }

  async function clear(survey: Survey): Promise<Ending | null> {
    let current = survey;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (signal.aborted) return null;
      tellOfDoubtful(current);
      const verdict = judge(current.strays.map(toSuspect), stopped, nowMs());
      if (verdict.kind === 'blocked') return tellEnding(verdict.ending);
      if (verdict.kind === 'free') return null;
      const { strays } = verdict;
      if (dryRun) {
        tellPlan(strays.map(({ stray }) => stray));
        return null;
      }
      const ending = await stop(strays, current);
      if (ending || signal.aborted) return ending;
      // What answers to one signal may have started another: only a clean look counts.
      current = await finder.look(lookOptions());
      publish(current);
    }
    return { code: EXIT.otherPoller, reason: 'strays keep appearing faster than they can be stopped' };
  }

  async function stop(suspects: readonly StraySuspect[], seen: Survey): Promise<Ending | null> {
    const strays = suspects.map(({ stray }) => stray);
    for (const stray of strays) {
      const { pid, grade, proof } = stray;
      const what = `${stray.command}${where(stray)}; ${proof.join(', ')}`;
      report.line('stray', `stopping pid ${pid} (${stray.user}), ${grade}: ${what}`, 'warn', {
        pid,
        grade,
        proof,
      });
      tellMembers(stray);
    }
    const atMs = nowMs();
    const result = await finder.stop(strays, { ...lookOptions(), stopTimeoutMs: options.stopTimeoutMs });
    if (signal.aborted) return null;
    if (result.targets.length === 0) {
      // Not a life that was ended here: should it come again, that is the first time.
      report.line('stray', 'gone already, by itself', 'good');
      return null;
    }
    stopped.push(...livesOf(suspects, seen.strays, atMs));
    if (stopped.length > 200) stopped.splice(0, stopped.length - 200);
    const ending = concludeStop(result);
    if (!ending) options.onStopped?.(strays.map(toEntry));
    return ending;
  }

  function concludeStop(result: StrayStop): Ending | null {
    if (result.denied.length > 0) {
      const pids = result.denied.map(({ pid }) => pid);
      const first = result.left[0];
      const reason = `a stray poller belongs to another user and may not be stopped: pid ${pids.join(', ')}${first ? ` (${first.user}): ${first.command}` : ''}. Stop it: sudo kill ${pids.join(' ')}`;
      return tellEnding({ code: EXIT.refused, reason });
    }
    if (result.survivors.length > 0) {
      const pids = result.survivors.map(({ pid }) => pid);
      const reason = `a stray poller survived SIGKILL: pid ${pids.join(', ')}`;
      return tellEnding({ code: EXIT.otherPoller, reason });
    }
    const killed = result.killed > 0 ? `, ${result.killed} by SIGKILL` : '';
    const count = result.targets.length;
    report.line(
      'stray',
      `gone: ${count} ${count === 1 ? 'process' : 'processes'} in ${duration(result.tookMs)}${killed}; verified`,
      'good',
    );
    return null;
  }

  /** Those that may poll, but not on proof: said once each, never stopped; many of them in one line. */
  function tellOfDoubtful(survey: Survey): void {
    const fresh = survey.strays.filter((stray) => stray.grade === 'likely' && !told.has(idOf(stray)));
    if (told.size > 2_000) told.clear();
    for (const stray of fresh) told.add(idOf(stray));
    if (fresh.length > DOUBTFUL_LINES_MAX) {
      const pids = fresh.map(({ pid }) => pid);
      report.line(
        'stray',
        `left alone: ${fresh.length} processes may poll, but that is not proven: pid ${pids.join(', ')}; singlepoll who shows them`,
        'warn',
        { pids, grade: 'likely' },
      );
      return;
    }
    for (const stray of fresh) {
      report.line(
        'stray',
        `left alone: pid ${stray.pid} (${stray.user}) ${stray.command}${where(stray)} may poll, but that is not proven: ${stray.proof.join(', ')}`,
        'warn',
        { pid: stray.pid, grade: stray.grade, proof: stray.proof },
      );
    }
  }

  /** The end of step 5, with what it could not know. */
  function tellResult(survey: Survey): void {
    const { count, stuck = 0, unmatched = 0, users, hidden } = survey.uninspectable;
    const owners = Object.entries(users).map(([user, number]) => `${number} of ${user}`);
    const blind = hidden
      ? '; /proc hides the processes of other users (hidepid)'
      : count > 0
        ? `; ${count} ${count === 1 ? 'process' : 'processes'} could not be inspected (${owners.join(', ')})${stuck > 0 ? `, ${stuck} of them because reading them takes for ever` : ''}`
        : '';
    if (unmatched > 0)
      report.line(
        'stray',
        `--stray: gave up on ${unmatched} command lines, the pattern takes too long on them`,
        'warn',
      );
    const result = dryRun
      ? 'nothing else would be stopped'
      : 'no other proven poller of this bot on this machine';
    report.line('stray', `${result}${blind}`, blind === '' ? 'good' : 'warn', { uninspectable: count });
  }

  function tellPlan(strays: readonly Stray[]): void {
    for (const stray of strays) {
      const { pid, user, grade, command, proof } = stray;
      report.line(
        'stray',
        `would stop pid ${pid} (${user}), ${grade}: ${command}; ${proof.join(', ')}`,
        'warn',
      );
      tellMembers(stray);
    }
  }

  /** The rest of its tree: nothing is ended unnamed. */
  function tellMembers(stray: Stray): void {
    const others = finder.planOf(stray).filter(({ pid }) => pid !== stray.pid);
    for (const { pid, command } of others.slice(0, MEMBER_LINES_MAX)) {
      report.line('stray', `  with it: pid ${pid} ${command}`);
    }
    const more = others.slice(MEMBER_LINES_MAX).map(({ pid }) => pid);
    if (more.length > 0) report.line('stray', `  with it: pid ${more.join(', ')}`);
  }

  function publish(survey: Survey): void {
    options.onSurvey(
      survey.strays.filter(({ grade }) => grade !== 'hint').map(toEntry),
      survey.uninspectable.count,
    );
  }

  function tellEnding(ending: Ending): Ending {
    endings.add(ending.reason);
    report.line('stray', ending.reason, 'error');
    return ending;
  }

  return {
    hasSaid: (reason) => endings.has(reason),
    lastStopAtMs: () => stopped.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY,
    async thorough() {
      const look = finder.look(lookOptions());
      const ending = await sweep(look);
      if (!ending && !signal.aborted) tellResult(await look);
      return ending;
    },
    async beside() {
      if (signal.aborted) return null;
      if (clearing) return (await clearing) ?? this.beside();
      return sweep(finder.look(lookOptions()));
    },
    quick() {
      if (signal.aborted) return null;
      if (clearing) return clearing.then((ending) => ending ?? this.quick());
      const survey = finder.quickLook(lookOptions());
      publish(survey);
      const verdict = judge(survey.strays.map(toSuspect), stopped, nowMs());
      if (verdict.kind === 'free') return null;
      // What our own worker left behind has no other starter: it is stopped at once.
      if (verdict.kind === 'stop' && verdict.strays.every(({ grade }) => grade === 'own'))
        return sweep(Promise.resolve(survey));
      // Something else is there: look properly, with the respawner named, before anything is done about it.
      return sweep(finder.look(lookOptions()));
    },
  };
}

interface StraySuspect extends Suspect {
  readonly stray: Stray;
}

function toSuspect(stray: Stray): StraySuspect {
  const { pid, startId, command, cwd, grade, respawner, parent } = stray;
  return { pid, startId, command, cwd, grade, respawner, parent, stray };
}

export function toEntry(stray: Stray): StrayEntry {
  const { pid, user, command, cwd, startedAt, grade, proof, respawner } = stray;
  return { pid, user, command, cwd, startedAt, grade, proof, respawner };
}

function where(stray: Stray): string {
  return stray.cwd ? ` (in ${stray.cwd})` : '';
}

function idOf(stray: Stray): string {
  return `${stray.pid} ${stray.startId}`;
}
