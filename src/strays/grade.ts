/**
 * Grades a process: is it a stray of this bot, and on what proof? PURE: one snapshot and the facts in, grades out.
 * The rules are the table "Grades of a stray" of docs/strays.md. Only `own`, `proven` and `declared` are ever stopped: our own
 * leftovers, those that were seen to poll this bot, and those that the user named. Everything else is only reported.
 */
import { bystander, isInteractiveShell } from './bystander.ts';
import type { Grade, Proc } from './process.ts';
import { descend, isUntouchable, type Surroundings, supervisorOf } from './tree.ts';

export interface Evidence {
  /** Pids with a client connection to the API root. */
  readonly connected: ReadonlySet<number>;
  /** Pid → it reacted to our getUpdates as a poller does; `twice`: two reactions that agree. */
  readonly reactions: ReadonlyMap<number, 'once' | 'twice'>;
  /** Those of `reactions` with a second held request at the API root: they may poll a second bot. */
  readonly holdsAnother: ReadonlySet<number>;
  /** Pids in `reactions` because their children reacted, one after another → time of the last such poll, in clock ticks since the boot. */
  readonly byChildren: ReadonlyMap<number, number>;
}

export const NO_EVIDENCE: Evidence = {
  connected: new Set(),
  reactions: new Map(),
  holdsAnother: new Set(),
  byChildren: new Map(),
};

export interface Facts extends Evidence {
  readonly uid: number;
  /** Processes that our earlier worker left behind, with or without our environment marker. */
  readonly leftovers: ReadonlySet<number>;
}

export interface Graded {
  readonly proc: Proc;
  readonly grade: Grade;
  /** Sentences for people, strongest first. */
  readonly proof: readonly string[];
  /** Pid of the living supervisor that it belongs to, because of which it is never stopped. */
  readonly supervisor: number | null;
}

export function isStopped(grade: Grade): boolean {
  return grade === 'own' || grade === 'proven' || grade === 'declared';
}

const ORDER: Readonly<Record<Grade, number>> = { own: 0, proven: 1, declared: 2, likely: 3, hint: 4 };
const HOLDS = 'holds the token';
const REACTED = 'polls: it received the answer to our getUpdates';

/** Every graded process, strongest grade first, then by pid. */
export function survey(facts: Facts, around: Surroundings): Graded[] {
  const found = [...around.procs.values()].flatMap((proc) => grade(proc, facts, around) ?? []);
  return shareVerdicts(found, around).sort(
    (a, b) => ORDER[a.grade] - ORDER[b.grade] || a.proc.pid - b.proc.pid,
  );
}

/**
 * Of several copies of one poller only one holds the poll, and the others wait and can't react. So a process that holds the
 * token and runs the same command as a proven one is proven, too.
 */
function shareVerdicts(found: readonly Graded[], around: Surroundings): Graded[] {
  const proven = new Map<string, number>();
  for (const { proc, grade } of found) if (grade === 'proven') proven.set(commandKey(proc), proc.pid);
  return found.map((one) => {
    const twin = proven.get(commandKey(one.proc));
    const isSingle = one.proc.otherBots.length === 0;
    const shares =
      twin !== undefined && isSingle && supervisorOf(one.proc.pid, around) === null && one.proof[0] === HOLDS;
    if (!shares || isStopped(one.grade) || bystander(one.proc) !== null) return one;
    return { ...one, grade: 'proven', proof: [HOLDS, `runs the same command as pid ${twin}, which polls`] };
  });
}

/** Equal for runs of one program in one folder. */
export const commandKey = ({ cwd, argv }: Proc): string => JSON.stringify([cwd, argv]);

/** Grades one process; null: nothing suggests that it is a stray. */
function grade(proc: Proc, facts: Facts, around: Surroundings): Graded | null {
  const { match, otherBots: others } = proc;
  const carried = proc.env?.bot ?? null;
  const holds = holdsToken(proc);
  const seen = facts.reactions.get(proc.pid);
  const isLeft = carried === null && facts.leftovers.has(proc.pid);
  if (carried === null && !holds && !seen && !match && !isLeft) return null;
  if (proc.state === 'Z') return null;
  const kind = bystander(proc);
  // A bot may have started us, as by a command of its admin. It is never stopped, and named, so that nobody looks for it elsewhere.
  if (seen && kind === null && around.ancestors.has(proc.pid)) {
    const proof = ['received something when we polled', 'but this singlepoll was started by it'];
    return { proc, grade: 'likely', proof, supervisor: null };
  }
  if (kind === 'singlepoll' || isUntouchable(proc, around)) return null;
  const isScript = kind === 'shell' && !isInteractiveShell(proc.argv);
  // Any program but a shell script that starts pollers does not count as one itself.
  const reactedAt = facts.byChildren.get(proc.pid);
  const reaction =
    reactedAt === undefined || (isScript && onlyPolls(proc, reactedAt, facts, around)) ? seen : undefined;

  const supervisor = supervisorOf(proc.pid, around);
  const traces: string[] = [];
  if (holds) traces.push(HOLDS);
  if (facts.connected.has(proc.pid)) traces.push('connected');
  if (others.length > 0) traces.push(`also holds the token of ${names(others)}`);
  const result = (level: Grade, ...proof: string[]): Graded => ({
    proc,
    grade: level,
    proof,
    supervisor: null,
  });
  /** The grade of a process that is to be stopped, unless a living supervisor owns it. */
  const guilty = (level: Grade, ...proof: string[]): Graded =>
    supervisor === null
      ? result(level, ...proof)
      : { ...result('likely', ...proof, `belongs to the supervisor with pid ${supervisor}`), supervisor };

  const polls = reaction === 'twice' || (reaction === 'once' && holds && others.length === 0);
  const isTool = kind !== null && !/^(proxy|browser)$/.test(kind) && !isScript;
  if (carried === around.botId || isLeft) {
    const mark = isLeft ? 'left behind by an earlier worker' : 'SINGLEPOLL_BOT in environment';
    // Many bots do not read POLLING_ENABLED, and poll though they were told not to.
    if (proc.env?.deploy && polls && (kind === null || isScript))
      return guilty('proven', mark, ...traces, REACTED, 'though started in deploy mode');
    if (proc.env?.deploy)
      return result('hint', mark, ...traces, 'but started in deploy mode: told not to poll');
    return isTool ? result('hint', mark, ...traces, `but a ${kind}`) : guilty('own', mark, ...traces);
  }
  if (carried !== null) {
    const proof = [...traces, ...(polls ? [REACTED] : []), `but a worker of bot ${carried}`];
    if (polls && kind === null) return { ...result('likely', ...proof), supervisor };
    return holds && facts.connected.has(proc.pid) ? result('hint', ...proof) : null;
  }
  if (kind !== null && !(isScript && polls))
    return holds || reaction ? result('hint', ...traces, `but a ${kind}`) : null;
  if (polls) return guilty('proven', ...traces, REACTED);

  if (match) {
    const proof = [`script matches --stray ${match.pattern}`, ...traces];
    if (others.length > 0 && !holds) return result('hint', ...proof);
    const doubts = doubtsAboutMatch(proc, match.inScope, facts);
    return doubts.length === 0 ? guilty('declared', ...proof) : result('likely', ...proof, ...doubts);
  }
  if (reaction)
    return { ...result('likely', ...traces, 'received something when we polled, once'), supervisor };
  return holds ? result(facts.connected.has(proc.pid) ? 'likely' : 'hint', ...traces) : null;
}

/**
 * A shell script that polls with one curl after another has at most the next one and a `sleep` beside. What was there before the last
 * reaction and did not react itself is other work of that script, and so is singlepoll, whenever it was started.
 */
function onlyPolls(
  { pid }: Proc,
  reactedAt: number,
  { reactions }: Facts,
  { children }: Surroundings,
): boolean {
  const living = (children.get(pid) ?? []).filter(({ state }) => state !== 'Z');
  return living.every(
    (child) =>
      (reactions.has(child.pid) || Number(child.startId) >= reactedAt) &&
      !descend(child, children).some((it) => bystander(it) === 'singlepoll'),
  );
}

export function holdsToken(proc: Proc): boolean {
  return proc.env?.holdsToken === true || proc.tokenInArgs;
}

/** Why a matching name alone is not enough; empty if it is. */
function doubtsAboutMatch(proc: Proc, inScope: boolean | null, facts: Facts): string[] {
  const doubts: string[] = [];
  if (inScope === false) doubts.push('but out of scope: neither its script nor its folder is in the project');
  if (inScope === null) doubts.push('but its script and its folder could not be seen');
  // A name is weak proof, so root does not stop another user's process for it. Other users can't anyway, and report that (77).
  if (facts.uid === 0 && proc.uid !== 0 && proc.uid !== -1) doubts.push('but it belongs to another user');
  return doubts;
}

function names(bots: readonly string[]): string {
  return bots.length === 1 ? `bot ${bots[0]}` : `${bots.length} other bots`;
}
