/**
 * The places that options come from, strongest first: flags, environment, env file, TOML file. Each is a set of names with raw values,
 * and says where a name stands. A mistake becomes a sentence that names the place, the value (masked) and what is accepted.
 */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { type Findings, maskSecrets, showValue } from './messages.ts';
import {
  flagOf,
  type Layer,
  namesIn,
  OPTION_NAMES,
  type OptionName,
  type OptionRow,
  type OptionValues,
  optionRow,
  type RawFlags,
  type Spelling,
} from './options.ts';

export interface Source {
  readonly layer: Layer;
  /** Texts, of TOML anything. */
  readonly values: Readonly<Record<string, unknown>>;
  /** `the environment`, `.env`. */
  readonly shown: string;
  /** `--backoff`, `SINGLEPOLL_BACKOFF in the environment`, `backoff in singlepoll.toml line 3`. */
  readonly where: (key: string) => string;
  /** What a path in it is relative to. */
  readonly folder: string;
}

export function flagSource(flags: RawFlags, folder: string): Source {
  const where = (key: string) => flagOf(flags[key as OptionName] === false ? `no-${key}` : key);
  return { layer: 'flag', values: flags, shown: 'the command line', where, folder };
}

export function environmentSource(
  values: Readonly<Record<string, string | undefined>>,
  folder: string,
): Source {
  const shown = 'the environment';
  return { layer: 'environment', values, shown, where: (key) => `${key} in ${shown}`, folder };
}

/** `lineOf`: null where the line is not known. */
export function fileSource(
  layer: 'envFile' | 'toml',
  values: Readonly<Record<string, unknown>>,
  { path, shown, cwd }: { readonly path: string; readonly shown: string; readonly cwd: string },
  lineOf: (key: string) => number | null,
): Source {
  const where = (key: string) => {
    const line = lineOf(key);
    return `${/^[\w-]{1,64}$/.test(key) ? key : showValue(key)} in ${shown}${line === null ? '' : ` line ${line}`}`;
  };
  return { layer, values, shown, where, folder: layer === 'toml' ? dirname(path) : cwd };
}

/** The path as people know it: relative where it lies in the working folder. */
export function showPath(path: string, cwd: string): string {
  const inside = relative(cwd, path);
  // From the root every path would lose its slash.
  const short = inside === '' || cwd === '/' || inside.startsWith('..') || isAbsolute(inside) ? path : inside;
  return /[\x00-\x1f\x7f]/.test(short) ? showValue(short) : maskSecrets(short);
}

export interface RawValue extends Spelling {
  readonly source: Source;
  readonly raw: unknown;
  readonly where: string;
}

/** The strongest place that sets the option, or null. An empty variable sets nothing, but for a flag: there it is a no. */
export function lookUp(name: OptionName, sources: readonly Source[]): RawValue | null {
  const isFlag = optionRow(name).kind === 'flag';
  for (const source of sources)
    for (const { key, negated } of namesIn(source.layer, name)) {
      const raw = Object.hasOwn(source.values, key) ? source.values[key] : undefined;
      const isEmpty = raw === '' && !isFlag && source.layer.startsWith('env');
      if (raw !== undefined && !isEmpty) return { key, negated, source, raw, where: source.where(key) };
    }
  return null;
}

/** The first of the variables that is set, the environment before the env file. */
export function variable(names: readonly string[], sources: readonly Source[], mayBeEmpty = false) {
  for (const { layer, values, shown } of sources)
    for (const name of layer.startsWith('env') ? names : []) {
      const text = values[name];
      if (typeof text === 'string' && (mayBeEmpty || text.trim() !== ''))
        return { text, from: `${name} in ${shown}` };
    }
  return null;
}

/** An option that is set somewhere. */
export interface Setting {
  readonly option: OptionName;
  /** As it was typed, with secrets masked. */
  readonly value: boolean | string | readonly string[];
  readonly from: string;
}

export interface ReadOptions {
  readonly values: OptionValues;
  readonly settings: readonly Setting[];
  /** Where an option was set, and set right; null for its default. */
  readonly whereSet: (name: OptionName) => string | null;
  readonly wrong: ReadonlySet<OptionName>;
}

/** Every option of the command; one that is wrong or that the command does not have keeps its default. */
export function readOptions(
  names: readonly OptionName[],
  sources: readonly Source[],
  findings: Findings,
): ReadOptions {
  const values: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) values[name + optionRow(name).unit] = optionRow(name).initial;
  const places = new Map<OptionName, string>();
  const wrong = new Set<OptionName>();
  const settings: Setting[] = [];
  for (const name of names) {
    const found = lookUp(name, sources);
    if (!found) continue;
    const { unit, scope } = optionRow(name);
    const answer = interpret(name, found);
    if (answer.ok) {
      values[name + unit] = answer.value;
      places.set(name, found.where);
      settings.push({ option: name, value: answer.shown, from: found.where });
      continue;
    }
    wrong.add(name);
    const isMild = scope !== 'bot' && found.source.layer !== 'flag';
    // Those two were reported when their file was looked for.
    if (name !== 'config' && name !== 'envFile')
      for (const message of answer.errors) (isMild ? findings.mild : findings.error)(message);
  }
  const whereSet = (name: OptionName) => places.get(name) ?? null;
  return { values: values as unknown as OptionValues, settings, whereSet, wrong };
}

type Interpreted =
  | { readonly ok: true; readonly value: unknown; readonly shown: Setting['value'] }
  | { readonly ok: false; readonly errors: readonly string[] };

/** The typed value of a raw one, by the row of the table. */
export function interpret(name: OptionName, { where, raw, source, negated }: RawValue): Interpreted {
  const row = optionRow(name);
  const wrong = (shown: string, problem: string) =>
    `${where} is ${shown}: ${problem}. Accepted: ${row.accepts}.`;
  const show = (text: string) => (row.show ? row.show(text) : text);
  const texts = textsOf(raw, source.layer, row);
  if (!texts) return { ok: false, errors: [wrong('a date, a table or a list of them', 'it is not a text')] };
  const values: unknown[] = [];
  const errors: string[] = [];
  for (const text of texts) {
    const answer = row.parse(text);
    if (answer.ok) values.push(answer.value);
    else errors.push(wrong(showValue(show(text)), answer.problem));
  }
  if (errors.length > 0) return { ok: false, errors };
  if (row.kind === 'flag') {
    const value = values[0] !== negated;
    return { ok: true, value, shown: value };
  }
  const shown = texts.map((text) => maskSecrets(show(text)));
  if (row.kind === 'list') return { ok: true, value: values, shown };
  const value = row.isPath ? resolve(source.folder, String(values[0])) : values[0];
  return { ok: true, value, shown: shown[0]! };
}

/** TOML has numbers and yes or no as well, and for MIN,MAX an array of two. Null: what is in it is no text at all. */
function textsOf(raw: unknown, layer: Layer, { kind }: OptionRow): string[] | null {
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
