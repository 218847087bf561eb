/**
 * Finds and reads the two files that hold options: singlepoll.toml and the env file. A file that was named must be there; a
 * default one may be missing. `.env` may also be a folder (some name their virtualenv so): that is passed over.
 */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import type { ConfigError } from './config-error.ts';
import { type EnvFile, parseEnvFile } from './envfile.ts';
import { interpret } from './interpret.ts';
import { optionRow } from './options.ts';
import { readTextFile } from './read-file.ts';
import { maskSecrets, showValue } from './show-value.ts';
import { type Layers, lookUp } from './sources.ts';
import { readTomlFile } from './toml-file.ts';

/** Collects what goes wrong while a configuration is read. */
export interface Findings {
  readonly errors: ConfigError[];
  readonly warnings: string[];
}

export type TomlLayer = NonNullable<Layers['toml']> & { readonly path: string };
export type EnvFileLayer = EnvFile & { readonly path: string; readonly shown: string };

interface Named {
  readonly path: string;
  readonly shown: string;
  /** Where the path was set, null for the default. */
  readonly where: string | null;
}

/** The path as people know it: relative where it lies in the working folder. */
export function showPath(path: string, cwd: string): string {
  const inside = relative(cwd, path);
  // From the root every path would lose its slash.
  const short = inside === '' || cwd === '/' || inside.startsWith('..') || isAbsolute(inside) ? path : inside;
  return /[\x00-\x1f\x7f]/.test(short) ? showValue(short) : maskSecrets(short);
}

/** A path that was set in TOML is relative to the folder of that file, any other to the working folder. */
export function resolvePath(
  text: string,
  layer: string,
  cwd: string,
  toml: { readonly path: string } | null,
): string {
  return resolve(layer === 'toml' && toml ? dirname(toml.path) : cwd, text);
}

function locate(
  name: 'config' | 'envFile',
  fallback: string,
  layers: Layers,
  toml: TomlLayer | null,
  cwd: string,
  findings: Findings,
): Named | null {
  const found = lookUp(name, layers);
  if (!found) {
    const path = resolve(cwd, fallback);
    return { path, shown: showPath(path, cwd), where: null };
  }
  const answer = interpret(optionRow(name), found);
  if (!answer.ok) {
    findings.errors.push(...answer.errors);
    return null;
  }
  const path = resolvePath(answer.value as string, found.layer, cwd, toml);
  return { path, shown: showPath(path, cwd), where: found.where };
}

/** Reads the TOML file. With `lenient`, what is wrong in it is a warning: the command at hand hardly needs it. */
export async function readToml(
  layers: Layers,
  cwd: string,
  lenient: boolean,
  findings: Findings,
): Promise<TomlLayer | null> {
  const file = locate('config', 'singlepoll.toml', layers, null, cwd, findings);
  if (!file) return null;
  const read = await readTomlFile(file.path);
  if (read.kind === 'read') return { ...read, path: file.path, shown: file.shown };
  const problem = read.kind === 'missing' ? null : read.problem;
  if (!unusable(file, read.kind, problem, findings)) return null;
  const message = `${file.shown}: ${problem}`;
  if (lenient) findings.warnings.push(`${message}; the file is not used`);
  else findings.errors.push({ where: file.shown, message });
  return null;
}

/** Reads the env file; lines that are no assignments are passed over with a warning. */
export function readEnvFile(
  layers: Layers,
  toml: TomlLayer | null,
  cwd: string,
  findings: Findings,
): EnvFileLayer | null {
  const file = locate('envFile', '.env', layers, toml, cwd, findings);
  if (!file) return null;
  const read = readTextFile(file.path);
  if (read.kind === 'text') {
    const parsed = parseEnvFile(read.text, layers.environment);
    for (const { line, problem } of parsed.problems.slice(0, 5)) {
      findings.warnings.push(`${file.shown} line ${line}: ${problem}`);
    }
    if (parsed.problems.length > 5) {
      findings.warnings.push(`${file.shown}: ${parsed.problems.length - 5} more lines like that`);
    }
    return { ...parsed, path: file.path, shown: file.shown };
  }
  const problem = read.kind === 'missing' ? null : read.problem;
  if (unusable(file, read.kind, problem, findings)) {
    findings.errors.push({ where: file.shown, message: `${file.shown}: ${problem}` });
  }
  return null;
}

/** Settles the cases that are the same for both files; true where the caller must still report the problem. */
function unusable(file: Named, kind: string, problem: string | null, findings: Findings): boolean {
  if (file.where === null) {
    if (kind === 'missing') return false;
    if (kind !== 'irregular') return true;
    findings.warnings.push(`${file.shown} is not read: ${problem}`);
    return false;
  }
  if (kind !== 'missing' && kind !== 'irregular') return true;
  const what = kind === 'missing' ? 'there is no such file' : problem;
  const tilde = kind === 'missing' && /(^|\/)~\//.test(file.path) ? ' (~ is not expanded here)' : '';
  findings.errors.push({
    where: file.where,
    message: `${file.where} is ${showValue(file.shown)}: ${what}${tilde}`,
  });
  return false;
}
