/**
 * Grades a process: is it a stray of this bot, and on what proof? PURE: one snapshot and the facts in, grades out.
 * The rules are the table "Grades of a stray" of the README. What is not proven is never graded `own`, `proven` or
 * `declared`, the three that are stopped; whatever leaves room for doubt is only reported.
 */
import type { Grade, Proc, Snapshot } from '../machine/process.ts';
import { bystander, isInert, isInteractiveShell } from './bystander.ts';
import { type Place, type Surroundings, surroundings } from './family.ts';
import { matchesProgram, type Program, readProgram } from './program.ts';

/** What is known beyond the snapshot itself. */
export interface Facts extends Place {
  /** User id that singlepoll runs as. */
  readonly uid: number;
  readonly patterns: readonly RegExp[];
  readonly scope: 'project' | 'any';
  /** Real path of the project folder. */
  readonly projectDir: string;
  /** Pid → whose token the env file of its working folder holds. */
  readonly envFiles: ReadonlyMap<
    number,
    { readonly token: 'ours' | 'other' | 'both'; readonly name: string }
  >;
  /** Pids seen with a connection to the API root. */
  readonly connected: ReadonlySet<number>;
  /** Pids whose working folder is in another root (a container's): its path says nothing about our project. */
  readonly elsewhere: ReadonlySet<number>;
}

export interface Graded {
  readonly proc: Proc;
  readonly grade: Grade;
  /** Sentences for people, strongest first. */
  readonly proof: readonly string[];
  /** More watching may prove it: it holds the token, and only a connection (its own or a child's) is missing. */
  readonly open: boolean;
}

/** True for grades that `start` and `reset` stop. */
export function isStopped(grade: Grade): boolean {
  return grade === 'own' || grade === 'proven' || grade === 'declared';
}

const OTHER_TOKEN = "but it is given another bot's token";

const ORDER: Readonly<Record<Grade, number>> = { own: 0, proven: 1, declared: 2, likely: 3, hint: 4 };

/** Every graded process of a snapshot, strongest grade first, then by pid. */
export function survey(snapshot: Snapshot, facts: Facts, around = surroundings(snapshot, facts)): Graded[] {
  const found: Graded[] = [];
  for (const proc of snapshot.procs.values()) {
    const graded = grade(proc, facts, around);
    if (graded) found.push(graded);
  }
  return found.sort((a, b) => ORDER[a.grade] - ORDER[b.grade] || a.proc.pid - b.proc.pid);
}

/** True for what is out of question by who it is: never graded, never signalled. */
export function isUntouchable(proc: Proc, place: Place, around: Surroundings): boolean {
  return (
    proc.pid <= 1 ||
    proc.pid === place.selfPid ||
    around.ancestors.has(proc.pid) ||
    around.workerTree.has(proc.pid) ||
    around.supervisors.has(proc.pid) ||
    place.helperPids.has(proc.pid)
  );
}

/** Grades one process; null when nothing speaks against it. */
export function grade(proc: Proc, facts: Facts, around: Surroundings): Graded | null {
  if (proc.state === 'Z' || proc.state === 'X' || isUntouchable(proc, facts, around)) return null;
  const env = proc.env;
  const file = facts.envFiles.get(proc.pid);
  const carried = env?.bot ?? null;
  const inEnv = env?.holdsToken === true;
  const inArgs = proc.tokenInArgs === true;
  // Arguments beat the environment, and that beats a file: who got another bot's token does not read ours there.
  const inFile =
    !inEnv && !inArgs && env?.otherToken !== true && (file?.token === 'ours' || file?.token === 'both');
  const usesOther = !inArgs && (env?.otherToken === true || (!inEnv && file?.token === 'other'));
  const unclear = usesOther || (inFile && file?.token === 'both');
  if (carried === null && !inEnv && !inArgs && !inFile && facts.patterns.length === 0) return null;

  const program = readProgram(proc.argv, proc.comm);
  const kind = bystander(program, proc.comm);
  if (kind === 'singlepoll') return null;
  const result = (level: Grade, ...proof: string[]): Graded => ({ proc, grade: level, proof, open: false });

  const holds = inEnv || inArgs || inFile;
  const token: string[] = [];
  if (inEnv) token.push('token in environment');
  if (inArgs) token.push('token in its arguments');
  if (inFile) token.push(`token in ${file!.name} of its working folder`);
  const connected = facts.connected.has(proc.pid);
  if (connected && holds) token.push('connected to api root');

  if (carried === facts.botId) {
    const mark = 'SINGLEPOLL_BOT in environment';
    if (env?.deploy) return result('hint', mark, ...token, 'but started in deploy mode: told not to poll');
    if (kind === null || (kind === 'shell' && !isInteractiveShell(proc.argv)))
      return result('own', mark, ...token);
    return result('hint', mark, ...token, `but a ${kind}`);
  }
  if (carried !== null) {
    return connected && holds ? result('hint', ...token, `but a worker of bot ${carried}`) : null;
  }
  if (kind !== null) {
    if (!inEnv && !inArgs) return null;
    // A bot may be a script of the shell that polls with curl: the shell goes with a child that is proven.
    const script = kind === 'shell' && !isInteractiveShell(proc.argv);
    return { ...result('hint', ...token, `but a ${kind}`), open: script };
  }

  if (holds && connected && !unclear) return result('proven', ...token);

  const pattern = facts.patterns.find((candidate) => matchesProgram(program, proc.cwd, candidate));
  if (pattern) {
    const match = `script matches --stray ${pattern.source}`;
    const doubts = doubtsAboutPattern(proc, facts, usesOther);
    if (doubts.length === 0) return result('declared', match, ...token);
    if (usesOther && !holds) return result('hint', match, ...doubts);
    return { ...result('likely', match, ...token, ...doubts), open: holds && !unclear };
  }
  if (holds) {
    if (usesOther) return result('likely', ...token, OTHER_TOKEN);
    if (unclear) return result('likely', ...token, "but other bots' tokens stand beside it");
    // Whatever runs in the project's folder has its env file at hand: a build, a pager, a test.
    if (inFile && !mayBeABot(program)) return result('hint', ...token, 'but no program that reads it');
    return { ...result('likely', ...token), open: !isInert(program) };
  }
  const word = facts.patterns.find((candidate) => proc.argv.some((arg) => candidate.test(arg)));
  return word && inScope(proc, facts)
    ? result('hint', `a word of its command line matches --stray ${word.source}`)
    : null;
}

/** An interpreter with a script, or a program that was started by its path; the tools of the system read no bot's env file. */
function mayBeABot(program: Program): boolean {
  if (isInert(program)) return false;
  return program.family === null ? /\//.test(program.path) && !SYSTEM_FOLDER.test(program.path) : true;
}

const SYSTEM_FOLDER = /^(?:\/usr)?(?:\/local)?\/s?bin\//;

/** Why a matching name alone is not enough; empty when it is. */
function doubtsAboutPattern(proc: Proc, facts: Facts, usesOther: boolean): string[] {
  const doubts: string[] = [];
  if (usesOther) doubts.push(OTHER_TOKEN);
  if (!inScope(proc, facts)) doubts.push('but its working folder is out of scope');
  // A name is weak proof: root, who could, does not stop another user's process on it. Others can't, and say so (77).
  if (facts.uid === 0 && proc.uid !== 0 && proc.uid !== -1) doubts.push('but it belongs to another user');
  return doubts;
}

function inScope(proc: Proc, facts: Facts): boolean {
  if (facts.scope === 'any') return true;
  if (proc.cwd === null || facts.elsewhere.has(proc.pid)) return false;
  // A deploy may have replaced the folder under a legacy process.
  const cwd = proc.cwd.replace(/ \(deleted\)$/, '');
  return cwd === facts.projectDir || cwd.startsWith(facts.projectDir.replace(/\/*$/, '/'));
}
