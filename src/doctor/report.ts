/** One examination (files, history, machine) and how it is shown. Reads, never writes. No token and no control character gets through. */
import { loadConfig } from '../config/load.ts';
import { configFailure } from '../config/messages.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { count, type Paint } from '../output/words.ts';
import { type Finding, readProject } from './files.ts';
import { checkEnvFiles, checkNetwork, checkProcesses, checkStateFolder, unseen } from './machine.ts';
import { studyProject } from './processes.ts';
import { findCauses } from './rules.ts';
import { lookIntoHistory } from './tokens.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export type Report = Awaited<ReturnType<typeof examine>>;

export async function examine(folder: string, isOffline: boolean, env: Environment) {
  const project = readProject(folder);
  const { config, errors } = await configure(folder, env);
  const unasked = isOffline ? '--offline' : 'the configuration can’t be read';
  const [history, network] = await Promise.all([
    lookIntoHistory(folder, config?.token ?? null),
    isOffline || !config
      ? (['dns', 'api-root', 'clock'] as const).map((check) => unseen(check, unasked))
      : checkNetwork(config.apiRoot, env),
  ]);
  const environment = [checkProcesses(), checkStateFolder(env), ...checkEnvFiles(project.files), ...network];
  const unwell = environment.flatMap(({ check, ok, message, cure, file = null }) =>
    ok === false ? [{ rule: check, file, line: null, why: message, cure: cure ?? '' }] : [],
  );
  // A token that stands in a file now is in the history of that file, too: it is told once.
  const inGit = new Set(history.findings.map(({ file, why }) => `${file} ${botOf(why)}`));
  const causes = findCauses(studyProject(project)).filter(
    ({ rule, file, why }) => rule !== 'token-in-file' || !inGit.has(`${file} ${botOf(why)}`),
  );
  const all: readonly Finding[] = [...refusal(errors), ...causes, ...history.findings, ...unwell];
  return {
    /** Absolute. */
    folder,
    findings: all.filter(({ note }) => !note),
    notes: all.filter(({ note }) => note),
    environment,
    /** What was not looked at, and why. */
    limits: [...project.limits, ...(history.limit === null ? [] : [history.limit])],
  };
}

const botOf = (why: string): string => /\d{6,}/.exec(why)?.[0] ?? '';

/** As `start` would read it, but a project without a token or a command (a clone, a CI) is no finding. */
async function configure(folder: string, env: Environment) {
  const request = { flags: {}, env, cwd: folder };
  const strict = await loadConfig({ ...request, command: 'start', argvCommand: ['bot'] });
  if (strict.ok) return { config: strict.config, errors: [] };
  const lenient = await loadConfig({ ...request, command: 'status', argvCommand: [] });
  const errors = strict.errors.filter((message) => !message.startsWith('no bot token:'));
  return { config: lenient.ok ? lenient.config : null, errors };
}

/** What `start` would refuse (two tokens, a broken file) is found here, too. */
function refusal(errors: readonly string[]): Finding[] {
  if (errors.length === 0) return [];
  const { message, hint } = configFailure(errors);
  const why = message.replace(/\s*\n\s*/g, '; ');
  const cure = hint?.split('\n')[0] ?? 'singlepoll start --dry-run';
  return [{ rule: 'configuration', file: null, line: null, why, cure }];
}

const safe = (text: string): string => plain(maskText(text, []), 1_000);

export function screen({ folder, findings, notes, environment, limits }: Report, paint: Paint): string {
  const looked = environment.filter(({ ok }) => ok === true).map(({ message }) => message);
  const unlooked = environment.filter(({ ok }) => ok === null).map(({ check }) => check);
  const clean = paint('good', 'nothing found');
  const lines = [
    ...findings.flatMap((finding) => entry(finding, paint('error', '✗'), paint)),
    ...notes.flatMap((note) => entry(note, paint('warn', 'note'), paint)),
    ...(looked.length > 0 ? [`${paint('good', '✓')} ${safe(looked.join('; '))}`] : []),
    ...(unlooked.length > 0 ? [`not looked at: ${unlooked.join(', ')}`] : []),
    ...limits.map((limit) => `not all was looked at: ${safe(limit)}`),
    `${safe(folder)}: ${findings.length === 0 ? clean : paint('error', count(findings.length, 'finding'))}`,
  ];
  return `${lines.join('\n')}\n`;
}

function entry({ rule, file, line, why, cure }: Finding, mark: string, paint: Paint): string[] {
  const where = [file, line].filter((it) => it !== null).join(':');
  const head = `${mark} ${where === '' ? '' : `${safe(where)}  `}${paint('tag', rule)}`;
  return [head, `  ${safe(why)}`, ...(cure === '' ? [] : [`  → ${safe(cure)}`]), ''];
}

/** One line of JSON. */
export function json({ folder, findings, notes, environment, limits }: Report): string {
  const shown = ({ rule, file, line, why, cure }: Finding) => ({ rule, file, line, why, cure });
  const document = {
    folder,
    healthy: findings.length === 0,
    findings: findings.map(shown),
    notes: notes.map(shown),
    environment: environment.map(({ check, ok, message, cure }) => ({ check, ok, message, cure })),
    limits,
  };
  return `${JSON.stringify(document, (_, value) => (typeof value === 'string' ? safe(value) : value))}\n`;
}
