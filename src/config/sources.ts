/**
 * The places that options come from, strongest first: flags, environment, env file, TOML file. Each maps names to raw values, and
 * knows where a name is set. A mistake becomes a sentence with the place, the masked value and what is accepted.
 */
import { isAbsolute, relative, resolve } from 'node:path';
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
} from './options.ts';

export type Source = ReturnType<typeof sourceOf>;

/**
 * `values`: texts; in TOML values of any type. `folder`: that its paths are relative to. `file`: null for one that is none; its name for
 * people, and the lines of the names, as far as known.
 */
export function sourceOf(
  layer: Layer,
  values: Readonly<Record<string, unknown>>,
  folder: string,
  file?: { readonly path: string; readonly shown: string; readonly lineOf: (key: string) => number | null },
) {
  /** How messages name this source: `the environment`, `.env`. */
  const shown = file?.shown ?? 'the environment';
  /** `--backoff`, `SINGLEPOLL_BACKOFF in the environment`, `backoff in singlepoll.toml line 3`. */
  const where = (key: string) => {
    if (layer === 'flag') return flagOf(values[key] === false ? `no-${key}` : key);
    const line = file?.lineOf(key) ?? null;
    return `${/^[\w-]{1,64}$/.test(key) ? key : showValue(key)} in ${shown}${line === null ? '' : ` line ${line}`}`;
  };
  return { layer, values, shown, where, folder, path: file?.path ?? null };
}

/** The path for people: relative if it is in the working folder. */
export function showPath(path: string, cwd: string): string {
  const inside = relative(cwd, path);
  // In the root folder every path would lose its slash.
  const short = inside === '' || cwd === '/' || inside.startsWith('..') || isAbsolute(inside) ? path : inside;
  return /[\x00-\x1f\x7f]/.test(short) ? showValue(short) : maskSecrets(short);
}

/** The strongest place that sets the option, or null. An empty variable sets nothing, except a flag, for which it means no. */
export function lookUp(name: OptionName, sources: readonly Source[]) {
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
  /** The typed value, with secrets masked. */
  readonly value: boolean | string | readonly string[];
  readonly from: string;
}

/** The result of reading all options, with the reports of mistakes. */
export type Reading = ReturnType<typeof readOptions>;

/** Reads every option. Those that are wrong or that the command does not have keep their default. */
export function readOptions(names: readonly OptionName[], sources: readonly Source[], findings: Findings) {
  const values: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) values[name + optionRow(name).unit] = optionRow(name).initial;
  const wrong = new Set<OptionName>();
  const settings: Setting[] = [];
  for (const name of names) {
    const found = lookUp(name, sources);
    if (!found) continue;
    const { unit, scope } = optionRow(name);
    const { errors, value, shown } = interpret(name, found);
    if (errors.length === 0) {
      values[name + unit] = value;
      settings.push({ option: name, value: shown, from: found.where });
      continue;
    }
    wrong.add(name);
    const isMild = scope !== 'bot' && found.source.layer !== 'flag';
    // Mistakes in these two were reported when their files were read.
    if (name !== 'config' && name !== 'envFile') errors.forEach(isMild ? findings.mild : findings.error);
  }
  /** Where an option was set correctly; null: it has its default. */
  const whereSet = (name: OptionName) => settings.find(({ option }) => option === name)?.from ?? null;
  return { ...findings, sources, values: values as unknown as OptionValues, settings, whereSet, wrong };
}

/** Parses a raw value by the option's row; without errors the value is valid. */
export function interpret(
  name: OptionName,
  { where, raw, source, negated }: NonNullable<ReturnType<typeof lookUp>>,
): { readonly errors: readonly string[]; readonly value: unknown; readonly shown: Setting['value'] } {
  const row = optionRow(name);
  const wrong = (text: string, problem: string) =>
    `${where} is ${text}: ${problem}. Accepted: ${row.accepts}.`;
  const show = (text: string) => (row.show ? row.show(text) : text);
  const texts = textsOf(raw, source.layer, row);
  if (!texts) {
    const error = wrong('a date, a table or a list of them', 'it is not a text');
    return { errors: [error], value: null, shown: '' };
  }
  const answers = texts.map(row.parse);
  const errors = answers.flatMap((answer, index) =>
    answer.ok ? [] : [wrong(showValue(show(texts[index]!)), answer.problem)],
  );
  const values = answers.map((answer) => answer.ok && answer.value);
  const shown = texts.map((text) => maskSecrets(show(text)));
  if (row.kind === 'flag') return { errors, value: values[0] !== negated, shown: values[0] !== negated };
  if (row.kind === 'list') return { errors, value: values, shown };
  const value = row.isPath ? resolve(source.folder, String(values[0])) : values[0];
  return { errors, value, shown: shown[0]! };
}

/** In TOML a value may also be a number, a boolean, or an array of two for MIN,MAX. Null: it can't be turned into text. */
function textsOf(raw: unknown, layer: Layer, { kind }: OptionRow): string[] | null {
  const many: unknown[] = Array.isArray(raw) ? raw : [raw];
  if (!many.every((it) => ['string', 'number', 'boolean'].includes(typeof it))) return null;
  const texts = many.map(String);
  if (kind !== 'list') return [texts.join(',')];
  if (layer === 'flag' || layer === 'toml') return texts;
  // Patterns are separated by lines, as they may hold any other separator.
  return texts.flatMap((text) => text.split(/\r?\n/)).filter((line) => line.trim() !== '');
}

/** Makes the paths in flags absolute, for a start in another folder. */
export function absoluteFlags(flags: RawFlags, cwd: string): RawFlags {
  const entries = Object.entries(flags).map(([name, value]) => [
    name,
    optionRow(name as OptionName)?.isPath && typeof value === 'string' && value.trim() !== ''
      ? resolve(cwd, value)
      : value,
  ]);
  return Object.fromEntries(entries);
}
