/**
 * `singlepoll doctor`: names the causes of a 409 before they happen, in the files of a project, in git's history and in the machine. Reads,
 * never writes. No token and no control character gets through.
 */
import { resolve } from 'node:path';
import { type Config, loadConfig } from '../config/load.ts';
import { configFailure } from '../config/messages.ts';
import { findLibrary } from '../doctor/code.ts';
import { type Finding, readProject } from '../doctor/files.ts';
import { checkMachine, seen } from '../doctor/machine.ts';
import { type Facts, studyProject } from '../doctor/processes.ts';
import { findCauses } from '../doctor/rules.ts';
import { lookIntoHistory } from '../doctor/tokens.ts';
import { EXIT } from '../errors.ts';
import { BY_PROXY } from '../intercept/past.ts';
import { leaseMistakes } from '../lease/url.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';
import { count, type Paint, painter } from '../output/words.ts';
import type { StatusDocument } from '../supervisor/status.ts';
import { workingFolder } from './context.ts';
import { usualAnswer } from './status.ts';

/** `folder`: null for the working folder. */
export async function run(folder: string | null, own: Readonly<Record<string, unknown>>): Promise<number> {
  const report = await examine(resolve(workingFolder(), folder ?? '.'), own.offline === true);
  process.stdout.write(own.json === true ? json(report) : screen(report, await painter(process.stdout)));
  return report.findings.length === 0 ? EXIT.ok : 1;
}

async function examine(folder: string, isOffline: boolean) {
  const project = readProject(folder);
  // As `start` would read it, but a project without a token or a command (a clone, a CI) is no finding.
  const asked = { command: 'config', flags: {}, argvCommand: [], env: process.env, cwd: folder } as const;
  const loaded = await loadConfig(asked);
  const config = loaded.ok ? loaded.config : null;
  const errors = loaded.ok ? leaseMistakes(loaded.config.lease) : loaded.errors;
  const apiRoot = isOffline ? null : (config?.apiRoot ?? null);
  const [running, history, environment] = await Promise.all([
    // Beside the looks at the project an answer may take longer than usual.
    config && usualAnswer(config, 3_000),
    lookIntoHistory(folder, config?.token ?? null),
    checkMachine(project.files, apiRoot, isOffline ? '--offline' : 'the configuration can’t be read'),
  ]);
  // A token that stands in a file now is in the history of that file, too: it is told once.
  const placeOf = ({ file, why }: Finding) => `${file} ${/\d{6,}/.exec(why)?.[0]}`;
  const inGit = history.findings.map(placeOf);
  const isTold = (it: Finding) => it.rule === 'token-in-file' && inGit.includes(placeOf(it));
  const facts = studyProject(project);
  // `start` would refuse to run with these mistakes, such as two tokens or a broken file.
  const refused = errors.length === 0 ? '' : configFailure(errors).message.replace(/\s*\n\s*/g, '; ');
  const refusal = seen('configuration', refused === '', refused, 'singlepoll start --dry-run');
  const causes = findCauses(facts).filter((it) => !isTold(it));
  const unwell = [refusal, ...environment].filter(({ ok }) => ok === false);
  const past = config ? findPast(facts, config, running) : [];
  const all: readonly Finding[] = [...causes, ...history.findings, ...unwell, ...past];
  const [findings, notes] = [all.filter(({ note }) => !note), all.filter(({ note }) => note)];
  /** Files and folders that were not read, each with the reason. */
  const limits = [...project.limits, ...history.limits];
  return { folder, environment, findings, notes, limits };
}

/** Tells of a bot whose calls go past the gateway now, or will after a start, because its runtime loads no hook. */
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

type Report = Awaited<ReturnType<typeof examine>>;

const safe = (text: string): string => plain(maskText(text, []), 1_000);

function screen({ folder, findings, notes, environment, limits }: Report, paint: Paint): string {
  const entry = (mark: string, { rule, file, line, why, cure }: Finding) => {
    const where = [file, line].filter((it) => it !== null).join(':');
    const head = [mark, ...(where === '' ? [] : [`${safe(where)} `]), paint('tag', rule)].join(' ');
    return [head, `  ${safe(why)}`, ...(cure === '' ? [] : [`  → ${safe(cure)}`]), ''];
  };
  const looked = environment.filter(({ ok }) => ok === true).map(({ why }) => why);
  const unlooked = environment.filter(({ ok }) => ok === null).map(({ rule }) => rule);
  const found = count(findings.length, 'finding');
  const lines = [
    ...findings.flatMap((it) => entry(paint('error', '✗'), it)),
    ...notes.flatMap((it) => entry(paint('warn', 'note'), it)),
    ...(looked.length > 0 ? [`${paint('good', '✓')} ${safe(looked.join('; '))}`] : []),
    ...(unlooked.length > 0 ? [`not looked at: ${unlooked.join(', ')}`] : []),
    ...limits.map((limit) => `not all was looked at: ${safe(limit)}`),
    `${safe(folder)}: ${findings.length === 0 ? paint('good', 'nothing found') : paint('error', found)}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** The report as one line of JSON, for --json. */
function json({ folder, findings, notes, environment, limits }: Report): string {
  const shown = ({ rule, file, line, why, cure }: Finding) => ({ rule, file, line, why, cure });
  const checks = environment.map(({ rule: check, ok, why: message, cure }) => {
    return { check, ok, message, cure: cure || null };
  });
  const found = { healthy: findings.length === 0, findings: findings.map(shown), notes: notes.map(shown) };
  const document = { folder, ...found, environment: checks, limits };
  return `${JSON.stringify(document, (_, value) => (typeof value === 'string' ? safe(value) : value))}\n`;
}
