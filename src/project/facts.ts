/** What doctor and init know of a project, worked out once. Pure. */
import { baseOf, isAside, isExample, type Project } from './files.ts';
import { isEnvFile } from './kinds.ts';
import { findLaunches, type Launch } from './launches.ts';
import { type FoundLibrary, findLibrary, isMtproto } from './libraries.ts';
import { type Evidence, pollsIn, webhooksIn } from './polling.ts';
import { createReach, type Reach } from './reach.ts';
import { createRuns, type Runs } from './run.ts';
import { at, readToml } from './structured.ts';

export interface Facts {
  readonly project: Project;
  readonly reach: Reach;
  readonly runs: Runs;
  readonly library: FoundLibrary | null;
  /** Every place that polls, tests and examples left out. */
  readonly polls: readonly Evidence[];
  readonly webhooks: readonly Evidence[];
  /** `webhook`: Telegram code without any polling. `unknown`: no Telegram code that we know. */
  readonly takesUpdates: 'polling' | 'webhook' | 'unknown';
  readonly launches: readonly Launch[];
  /** The project says that it shares a lease. */
  readonly lease: boolean;
  text(path: string): string;
}

export function studyProject(project: Project): Facts {
  const reach = createReach(project);
  const runs = createRuns(project, reach);
  const code = project.files.filter(({ path, text }) => text !== null && !isAside(path));
  const polls = code.flatMap(({ path, text }) => pollsIn(path, text!));
  const webhooks = code.flatMap(({ path, text }) => webhooksIn(path, text!));
  const found = findLibrary(project);
  const mtproto = found !== null && isMtproto(found.library) && polls.length === 0;
  const texts = new Map(code.map(({ path, text }) => [path, text!]));
  return {
    project,
    reach,
    runs,
    library: found,
    polls,
    webhooks,
    takesUpdates: polls.length > 0 ? 'polling' : webhooks.length > 0 || mtproto ? 'webhook' : 'unknown',
    launches: findLaunches(project, reach, runs),
    lease: code.some(({ path, text }) => saysLease(path, text!)),
    text: (path) => texts.get(path) ?? '',
  };
}

function saysLease(path: string, text: string): boolean {
  if (baseOf(path) === 'singlepoll.toml') return at(readToml(text)?.value, ['lease']) !== undefined;
  return isEnvFile(path) && !isExample(path) && /^\s*(?:export\s+)?SINGLEPOLL_LEASE\s*=\s*\S/m.test(text);
}
