/** One examination (files, history, machine) and how it is shown. Reads, never writes. No token and no control character gets through. */
import { type Config, loadConfig } from '../config/load.ts';
import { configFailure } from '../config/messages.ts';
import { BY_PROXY } from '../intercept/past.ts';
import { leaseMistakes } from '../lease/url.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { count, type Paint } from '../output/words.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { findLibrary } from './code.ts';
import { type Finding, readProject } from './files.ts';
import { checkMachine } from './machine.ts';
import { type Facts, studyProject } from './processes.ts';
import { findCauses } from './rules.ts';
import { lookIntoHistory } from './tokens.ts';

export type Report = Awaited<ReturnType<typeof examine>>;

/** `folder` is absolute; `statusOf` asks the supervisor that runs. */
export async function examine(
  folder: string,
  isOffline: boolean,
  env: NodeJS.ProcessEnv,
  statusOf: (config: Config) => Promise<StatusDocument | null>,
) {
  const project = readProject(folder);
  // As `start` would read it, but a project without a token or a command (a clone, a CI) is no finding.
  const loaded = await loadConfig({ command: 'config', flags: {}, argvCommand: [], env, cwd: folder });
  const config = loaded.ok ? loaded.config : null;
  const errors = loaded.ok ? leaseMistakes(loaded.config.lease) : loaded.errors;
  const apiRoot = isOffline ? null : (config?.apiRoot ?? null);
  const [running, history, environment] = await Promise.all([
    config && statusOf(config),
    lookIntoHistory(folder, config?.token ?? null),
    checkMachine(project.files, apiRoot, isOffline ? '--offline' : 'the configuration can’t be read', env),
  ]);
  const unwell = environment.flatMap(({ check, ok, message, cure, file = null }) =>
    ok === false ? [{ rule: check, file, line: null, why: message, cure: cure ?? '' }] : [],
  );
  // A token that stands in a file now is in the history of that file, too: it is told once.
  const placeOf = ({ file, why }: Finding) => `${file} ${/\d{6,}/.exec(why)?.[0]}`;
  const inGit = history.findings.map(placeOf);
  const facts = studyProject(project);
  const causes = findCauses(facts).filter(
    (it) => it.rule !== 'token-in-file' || !inGit.includes(placeOf(it)),
  );
  // What `start` would refuse: two tokens, a broken file.
  const refused = errors.length === 0 ? '' : configFailure(errors).message.replace(/\s*\n\s*/g, '; ');
  const refusal = {
    rule: 'configuration',
    file: null,
    line: null,
    why: refused,
    cure: 'singlepoll start --dry-run',
  };
  const all: readonly Finding[] = [
    ...(refused === '' ? [] : [refusal]),
    ...causes,
    ...history.findings,
    ...unwell,
  ];
  const past = config ? findPast(facts, config, running) : [];
  return {
    folder,
    findings: all.filter(({ note }) => !note),
    notes: [...all.filter(({ note }) => note), ...past],
    environment,
    /** What was not looked at, and why. */
    limits: [...project.limits, ...(history.limit === null ? [] : [history.limit])],
  };
}

/** What goes past the gateway now, or is going to, as it loads no hook. */
function findPast(facts: Facts, config: Config, running: StatusDocument | null): Finding[] {
  const seen = running?.polling?.past;
  const isTold = facts.files.some(({ text }) => text.includes('TELEGRAM_API_ROOT'));
  const library = findLibrary(facts.files);
  const deno = facts.processes.find((it) => it.polls && it.runs.some(({ program }) => program === 'deno'));
  const place = library?.language === 'go' ? library : deno;
  if (!seen && (!place || isTold || !config.gateway || config.intercept !== 'auto')) return [];
  const { file = null, line = null } = (!seen && place) || {};
  const why = seen
    ? `the worker that runs goes past the gateway: ${seen.why}`
    : `${place === deno ? 'Deno' : 'Go'} loads no hook, so this bot would poll past the gateway, which then neither sees its polls nor keeps them apart`;
  return [{ rule: 'past-gateway', file, line, why, cure: seen?.cure ?? BY_PROXY, note: true }];
}

const safe = (text: string): string => plain(maskText(text, []), 1_000);

export function screen({ folder, findings, notes, environment, limits }: Report, paint: Paint): string {
  const entry = (mark: string) => (finding: Finding) => {
    const where = [finding.file, finding.line].filter((it) => it !== null).join(':');
    const cure = finding.cure === '' ? [] : [`  → ${safe(finding.cure)}`];
    const head = [mark, ...(where === '' ? [] : [`${safe(where)} `]), paint('tag', finding.rule)].join(' ');
    return [head, `  ${safe(finding.why)}`, ...cure, ''];
  };
  const looked = environment.filter(({ ok }) => ok === true).map(({ message }) => message);
  const unlooked = environment.filter(({ ok }) => ok === null).map(({ check }) => check);
  const isClean = findings.length === 0;
  const lines = [
    ...findings.flatMap(entry(paint('error', '✗'))),
    ...notes.flatMap(entry(paint('warn', 'note'))),
    ...(looked.length > 0 ? [`${paint('good', '✓')} ${safe(looked.join('; '))}`] : []),
    ...(unlooked.length > 0 ? [`not looked at: ${unlooked.join(', ')}`] : []),
    ...limits.map((limit) => `not all was looked at: ${safe(limit)}`),
    `${safe(folder)}: ${isClean ? paint('good', 'nothing found') : paint('error', count(findings.length, 'finding'))}`,
  ];
  return `${lines.join('\n')}\n`;
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
