/**
 * Reads options out of the four layers, strongest first: flag, environment, env file, TOML file. A mistake becomes a sentence
 * that names the place, the value (masked) and what is accepted.
 */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import type { EnvFile, Toml } from './files.ts';
import { type Findings, maskSecrets, showValue } from './messages.ts';
import {
  flagOf,
  type Layer,
  OPTION_NAMES,
  type OptionName,
  type OptionRow,
  type OptionValues,
  optionRow,
  type RawFlags,
  spellingsOf,
  variablesOf,
} from './options.ts';
import { type Parsed, parsed, unparsed } from './values.ts';

export interface TomlLayer extends Toml {
  readonly path: string;
  readonly shown: string;
}

export interface EnvFileLayer extends EnvFile {
  readonly path: string;
  readonly shown: string;
}

export interface Layers {
  /** Absolute. */
  readonly cwd: string;
  readonly flags: RawFlags;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly envFile: EnvFileLayer | null;
  readonly toml: TomlLayer | null;
}

export interface RawValue {
  readonly layer: Layer;
  /** Text from flags and environments; anything from TOML. */
  readonly raw: unknown;
  /** It was given by its negative name, such as SINGLEPOLL_NO_GATEWAY. */
  readonly negated: boolean;
  /** `--backoff`, `SINGLEPOLL_BACKOFF in the environment`, `backoff in singlepoll.toml line 3`. */
  readonly where: string;
}

/** One value that is not the default, for a `[config]` line. */
export interface Setting {
  readonly option: OptionName;
  /** `--backoff "2s,1m"`, `--no-gateway`; secrets masked. */
  readonly words: string;
  readonly from: string;
}

export interface ReadOptions {
  readonly values: OptionValues;
  /** Where each option that is set, and set right, was found. */
  readonly found: ReadonlyMap<OptionName, RawValue>;
  readonly wrong: ReadonlySet<OptionName>;
  readonly settings: readonly Setting[];
}

/** The path as people know it: relative where it lies in the working folder. */
export function showPath(path: string, cwd: string): string {
  const inside = relative(cwd, path);
  // From the root every path would lose its slash.
  const short = inside === '' || cwd === '/' || inside.startsWith('..') || isAbsolute(inside) ? path : inside;
  return /[\x00-\x1f\x7f]/.test(short) ? showValue(short) : maskSecrets(short);
}

/** `backoff in singlepoll.toml line 3`. */
export function tomlWhere(key: string, toml: TomlLayer): string {
  const line = toml.lineOf(key);
  return `${key} in ${toml.shown}${line === null ? '' : ` line ${line}`}`;
}

/** The strongest place that sets the option, or null. An empty variable sets nothing, but for a flag: there it is a no. */
export function lookUp(name: OptionName, { flags, environment, envFile, toml }: Layers): RawValue | null {
  const { kind, notIn = [] } = optionRow(name);
  const flag = flags[name];
  if (flag !== undefined) {
    const key = flag === false ? `no-${name}` : name;
    return { layer: 'flag', raw: flag, negated: false, where: flagOf(key) };
  }
  const isSet = (text: string | undefined) => text !== undefined && (text !== '' || kind === 'flag');
  for (const { name: variable, negated } of variablesOf(name)) {
    const raw = environment[variable];
    if (isSet(raw)) return { layer: 'environment', raw, negated, where: `${variable} in the environment` };
  }
  for (const { name: variable, negated } of variablesOf(name)) {
    const raw = envFile?.vars[variable];
    if (!envFile || notIn.includes('envFile') || !isSet(raw)) continue;
    const where = `${variable} in ${envFile.shown} line ${envFile.lines[variable]}`;
    return { layer: 'envFile', raw, negated, where };
  }
  for (const { key, negated } of spellingsOf(name)) {
    if (!toml || notIn.includes('toml') || !Object.hasOwn(toml.values, key)) continue;
    return { layer: 'toml', raw: toml.values[key], negated, where: tomlWhere(key, toml) };
  }
  return null;
}

/** Every option of the command; one that is wrong or that the command does not have keeps its default. */
export function readOptions(names: readonly OptionName[], layers: Layers, findings: Findings): ReadOptions {
  const values: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) values[name + optionRow(name).unit] = optionRow(name).initial;
  const found = new Map<OptionName, RawValue>();
  const wrong = new Set<OptionName>();
  const settings: Setting[] = [];
  for (const name of names) {
    const raw = lookUp(name, layers);
    if (!raw) continue;
    const row = optionRow(name);
    const answer = interpret(name, raw, layers);
    if (answer.ok) {
      values[name + row.unit] = answer.value;
      found.set(name, raw);
      if (row.kind !== 'flag' || answer.value !== row.initial)
        settings.push({ option: name, words: answer.words, from: raw.where });
      continue;
    }
    wrong.add(name);
    // Those two were reported when their file was looked for.
    if (name === 'config' || name === 'envFile') continue;
    if (row.scope === 'bot' || raw.layer === 'flag') findings.errors.push(...answer.errors);
    else for (const message of answer.errors) findings.mild(message);
  }
  return { values: values as unknown as OptionValues, found, wrong, settings };
}

export type Interpreted =
  | { readonly ok: true; readonly value: unknown; readonly words: string }
  | { readonly ok: false; readonly errors: readonly string[] };

/** The typed value of a raw one, by the row of the table. */
export function interpret(name: OptionName, found: RawValue, layers: Layers): Interpreted {
  const row = optionRow(name);
  const wrong = (raw: unknown, problem: string) =>
    `${found.where} is ${typeof raw === 'string' ? shown(row, raw) : showRaw(raw)}: ${problem}. Accepted: ${row.accepts}.`;
  if (row.kind === 'flag') {
    const answer = yesOrNo(row, found.raw);
    if (!answer.ok) return { ok: false, errors: [wrong(found.raw, answer.problem)] };
    const value = answer.value !== found.negated;
    return { ok: true, value, words: flagOf(value ? name : `no-${name}`) };
  }
  const texts = found.layer === 'toml' ? tomlTexts(found.raw, row) : parsed(flatTexts(found, row));
  if (!texts.ok) return { ok: false, errors: [wrong(found.raw, texts.problem)] };
  const values: unknown[] = [];
  const errors: string[] = [];
  for (const text of texts.value) {
    const answer = row.parse(text);
    if (!answer.ok) errors.push(wrong(text, answer.problem));
    else values.push(row.isPath ? resolve(folderOf(found, layers), String(answer.value)) : answer.value);
  }
  if (errors.length > 0) return { ok: false, errors };
  const words = [flagOf(name), ...texts.value.map((text) => shown(row, text))].join(' ');
  return { ok: true, value: row.kind === 'list' ? values : values[0], words };
}

/** A path that was set in TOML is relative to the folder of that file, any other to the working folder. */
function folderOf({ layer }: RawValue, { cwd, toml }: Layers): string {
  return layer === 'toml' && toml ? dirname(toml.path) : cwd;
}

function yesOrNo(row: OptionRow, raw: unknown): Parsed<unknown> {
  if (typeof raw === 'boolean') return parsed(raw);
  return typeof raw === 'string' ? row.parse(raw) : unparsed('it is neither yes nor no');
}

function shown(row: OptionRow, text: string): string {
  return showValue(row.show ? row.show(text) : text);
}

function showRaw(raw: unknown): string {
  if (typeof raw === 'number' || typeof raw === 'boolean') return String(raw);
  if (Array.isArray(raw)) return 'an array';
  return raw instanceof Date ? 'a date' : 'a table';
}

/** A variable holds one value, or for a list one on each line: patterns may hold any other separator. */
function flatTexts({ raw, layer }: RawValue, { kind }: OptionRow): string[] {
  if (Array.isArray(raw)) return raw.map(String);
  if (kind !== 'list' || layer === 'flag') return [String(raw)];
  return String(raw)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '');
}

/** TOML: a text or a number; for a list also an array of texts; for MIN,MAX also an array of two. */
function tomlTexts(raw: unknown, { kind, placeholder }: OptionRow): Parsed<string[]> {
  if (typeof raw === 'string') return parsed([raw]);
  if (typeof raw === 'number') return parsed([String(raw)]);
  if (Array.isArray(raw) && raw.every((item) => typeof item === 'string' || typeof item === 'number')) {
    if (kind === 'list') return parsed(raw.map(String));
    if (placeholder.includes(',')) return parsed([raw.join(',')]);
  }
  return unparsed(kind === 'list' ? 'it is neither a text nor an array of texts' : 'it is not a text');
}

/** Flags as they were typed here, for a start in another folder. */
export function absoluteFlags(flags: RawFlags, cwd: string): RawFlags {
  const entries = Object.entries(flags).map(([name, value]) => [
    name,
    optionRow(name as OptionName)?.isPath && typeof value === 'string' && value.trim() !== ''
      ? resolve(cwd, value)
      : value,
  ]);
  return Object.fromEntries(entries);
}
