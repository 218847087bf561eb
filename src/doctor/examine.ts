/** One examination: files, history, environment, and what of it is a finding. Reads, never writes. */
import { type Config, loadConfig } from '../config/load.ts';
import { configFailure } from '../config/messages.ts';
import { type Facts, studyProject } from '../project/facts.ts';
import { readProject } from '../project/walk.ts';
import { type Check, checkEnvFiles, checkProcesses, checkStateFolder, failures } from './environment.ts';
import type { Finding } from './finding.ts';
import { lookIntoHistory } from './history.ts';
import { checkNetwork, unseen } from './network.ts';
import { findCauses } from './rules.ts';

export interface Examination {
  /** Absolute. */
  readonly folder: string;
  readonly findings: readonly Finding[];
  readonly notes: readonly Finding[];
  readonly environment: readonly Check[];
  /** What was not looked at, and why. */
  readonly limits: readonly string[];
  readonly facts: Facts;
}

export async function examine(
  folder: string,
  offline: boolean,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Examination> {
  const project = readProject(folder);
  const facts = studyProject(project);
  const { config, errors } = await configure(folder, env);
  const [history, network] = await Promise.all([
    lookIntoHistory(folder, config?.token ?? null, env),
    offline || !config ? Promise.resolve(skipped(offline)) : checkNetwork(config.apiRoot, env),
  ]);
  const environment = [
    checkProcesses(env),
    checkStateFolder(env),
    ...checkEnvFiles(project.files),
    ...network,
  ];
  const all = [
    ...(errors.length === 0 ? [] : [configuration(errors)]),
    ...withoutRepeats([...findCauses(facts), ...history.findings]),
    ...failures(environment),
  ];
  return {
    folder,
    findings: all.filter(({ note }) => !note),
    notes: all.filter(({ note }) => note),
    environment,
    limits: [...project.limits, ...(history.limit === null ? [] : [history.limit])],
    facts,
  };
}

/** As `start` would read it, but a project without a token or a command (a clone, a CI) is no finding. */
async function configure(
  folder: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ config: Config | null; errors: readonly string[] }> {
  const request = { flags: {}, env, cwd: folder };
  const strict = await loadConfig({ ...request, command: 'start', argvCommand: ['bot'] });
  if (strict.ok) return { config: strict.config, errors: [] };
  const errors = strict.errors.filter((message) => !message.startsWith('no bot token:'));
  const lenient = await loadConfig({ ...request, command: 'status', argvCommand: [] });
  return { config: lenient.ok ? lenient.config : null, errors };
}

/** A token that stands in a file now is in the history of that file, too: said once, as that of the history. */
function withoutRepeats(findings: readonly Finding[]): Finding[] {
  const inGit = new Set(
    findings.filter(({ rule }) => rule === 'token-in-git').map(({ file, why }) => `${file} ${botOf(why)}`),
  );
  return findings.filter(
    ({ rule, file, why }) => rule !== 'token-in-file' || !inGit.has(`${file} ${botOf(why)}`),
  );
}

const botOf = (why: string): string => /\d{6,}/.exec(why)?.[0] ?? '';

const skipped = (offline: boolean): Check[] =>
  (['dns', 'api-root', 'clock'] as const).map((check) =>
    unseen(check, offline ? '--offline' : 'the configuration can’t be read'),
  );

/** What `start` would refuse (two tokens, a broken file) is found here, too. */
function configuration(errors: readonly string[]): Finding {
  const failure = configFailure(errors);
  return {
    rule: 'configuration',
    file: null,
    line: null,
    why: failure.message.replace(/\s*\n\s*/g, '; '),
    cure: failure.hint?.split('\n')[0] ?? 'singlepoll start --dry-run',
  };
}
