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
export function interpret(name: OptionName, found: RawValue, { cwd, toml }: Layers): Interpreted {
  const row = optionRow(name);
  const { where, raw, layer, negated } = found;
  const wrong = (shown: string, problem: string) =>
    `${where} is ${shown}: ${problem}. Accepted: ${row.accepts}.`;
  const show = (text: string) => showValue(row.show ? row.show(text) : text);
  const texts = textsOf(found, row);
  if (!texts) {
    const kind = Array.isArray(raw) ? 'an array' : raw instanceof Date ? 'a date' : 'a table';
    return { ok: false, errors: [wrong(kind, 'it is not a text')] };
  }
  const values: unknown[] = [];
  const errors: string[] = [];
  for (const text of texts) {
    const answer = row.parse(text);
    if (answer.ok) values.push(answer.value);
    else errors.push(wrong(show(text), answer.problem));
  }
  if (errors.length > 0) return { ok: false, errors };
  if (row.kind === 'flag') {
    const value = values[0] !== negated;
    return { ok: true, value, words: flagOf(value ? name : `no-${name}`) };
  }
  // A path that was set in TOML is relative to the folder of that file, any other to the working folder.
  const folder = layer === 'toml' && toml ? dirname(toml.path) : cwd;
  const value = row.isPath ? resolve(folder, String(values[0])) : values[0];
  const words = [flagOf(name), ...texts.map(show)].join(' ');
  return { ok: true, value: row.kind === 'list' ? values : value, words };
}

/** TOML has numbers and yes or no as well, and for MIN,MAX an array of two. Null: what is in it is no text at all. */
function textsOf({ raw, layer }: RawValue, { kind }: OptionRow): string[] | null {
  const many: unknown[] = Array.isArray(raw) ? raw : [raw];
  if (!many.every((it) => ['string', 'number', 'boolean'].includes(typeof it))) return null;
  const texts = many.map(String);
  if (kind !== 'list') return [texts.join(',')];
  if (layer === 'flag' || layer === 'toml') return texts;
  // One pattern on each line: it may hold any other separator.
  return texts.flatMap((text) => text.split(/\r?\n/)).filter((line) => line.trim() !== '');
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
