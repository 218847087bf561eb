/**
 * Reads every option of a command out of the layers: the parsed values, where each was set, and the mistakes.
 */
import type { Setting } from './config.ts';
import type { Findings } from './config-files.ts';
import { interpret } from './interpret.ts';
import { OPTION_NAMES, type OptionName, type OptionValues, optionRow } from './options.ts';
import { type Layers, lookUp, type RawValue } from './sources.ts';

export interface ReadOptions {
  readonly values: OptionValues;
  /** Where each option that is set was found. */
  readonly found: ReadonlyMap<OptionName, RawValue>;
  /** Options that are set to something wrong. */
  readonly wrong: ReadonlySet<OptionName>;
  readonly settings: readonly Setting[];
}

/** Every option of the command; one that is wrong or that the command does not have keeps its default. */
export function readOptions(
  names: readonly OptionName[],
  layers: Layers,
  lenient: boolean,
  findings: Findings,
): ReadOptions {
  const values: Record<string, unknown> = {};
  for (const name of OPTION_NAMES) values[name] = optionRow(name).initial;
  const found = new Map<OptionName, RawValue>();
  const wrong = new Set<OptionName>();
  const settings: Setting[] = [];
  for (const name of names) {
    const raw = lookUp(name, layers);
    if (!raw) continue;
    const row = optionRow(name);
    const answer = interpret(row, raw);
    if (answer.ok) {
      values[name] = answer.value;
      found.set(name, raw);
      settings.push({ option: name, value: answer.shown, from: raw.where });
      continue;
    }
    wrong.add(name);
    // Those two were reported when their file was looked for.
    if (name === 'config' || name === 'envFile') continue;
    if (lenient && row.scope !== 'bot' && raw.layer !== 'flag') {
      findings.warnings.push(...answer.errors.map((error) => error.message));
    } else {
      findings.errors.push(...answer.errors);
    }
  }
  return { values: values as unknown as OptionValues, found, wrong, settings };
}
