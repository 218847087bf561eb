/**
 * Turns the raw value of an option into its typed one, by its row of the table. A mistake becomes a sentence that names the
 * place, the value (masked) and what is accepted.
 */
import type { ConfigError } from './config-error.ts';
import type { OptionRow } from './options.ts';
import { type Parsed, parsed, unparsed } from './parsed.ts';
import { showValue } from './show-value.ts';
import type { RawValue } from './sources.ts';

export type Interpreted =
  | { readonly ok: true; readonly value: unknown; readonly shown: string }
  | { readonly ok: false; readonly errors: readonly ConfigError[] };

export function interpret(row: OptionRow, found: RawValue): Interpreted {
  if (row.kind === 'flag') {
    const answer = parseYesNo(found.raw);
    if (!answer.ok) return mistakes(row, found, [[found.raw, answer.problem]]);
    return { ok: true, value: answer.value, shown: String(answer.value) };
  }
  const texts = found.layer === 'toml' ? tomlTexts(found.raw, row) : parsed(flatTexts(found, row));
  if (!texts.ok) return mistakes(row, found, [[found.raw, texts.problem]]);
  const values: unknown[] = [];
  const wrong: [unknown, string][] = [];
  for (const text of texts.value) {
    const answer = row.parse(text);
    if (answer.ok) values.push(answer.value);
    else wrong.push([text, answer.problem]);
  }
  if (wrong.length > 0) return mistakes(row, found, wrong);
  const value = row.kind === 'list' ? values : values[0];
  return { ok: true, value, shown: texts.value.map((text) => shown(row, text)).join(' ') };
}

function mistakes(row: OptionRow, found: RawValue, wrong: readonly [unknown, string][]): Interpreted {
  const errors = wrong.map(([raw, problem]) => ({
    where: found.where,
    message: `${found.where} is ${typeof raw === 'string' ? shown(row, raw) : showRaw(raw)}: ${problem}. Accepted: ${row.accepts}.`,
  }));
  return { ok: false, errors };
}

function shown(row: OptionRow, text: string): string {
  return showValue(row.kind === 'value' && row.show ? row.show(text) : text);
}

function showRaw(raw: unknown): string {
  if (typeof raw === 'string') return showValue(raw);
  if (typeof raw === 'number' || typeof raw === 'boolean') return String(raw);
  if (Array.isArray(raw)) return 'an array';
  return raw instanceof Date ? 'a date' : 'a table';
}

function parseYesNo(raw: unknown): Parsed<boolean> {
  if (typeof raw === 'boolean') return parsed(raw);
  switch (typeof raw === 'string' ? raw.trim().toLowerCase() : null) {
    case '1':
    case 'true':
    case 'yes':
    case 'on':
      return parsed(true);
    case '0':
    case 'false':
    case 'no':
    case 'off':
    case '':
      return parsed(false);
    default:
      return unparsed('it is neither yes nor no');
  }
}

/** A variable holds one value, or for a list one on each line: patterns may hold any other separator. */
function flatTexts(found: RawValue, row: OptionRow): string[] {
  if (Array.isArray(found.raw)) return found.raw.map(String);
  const text = String(found.raw);
  if (row.kind !== 'list' || found.layer === 'flag') return [text];
  return text.split(/\r?\n/).filter((line) => line.trim() !== '');
}

/** TOML: a text or a number; for a list also an array of texts; for MIN,MAX also an array of two. */
function tomlTexts(raw: unknown, row: OptionRow): Parsed<string[]> {
  if (typeof raw === 'string') return parsed([raw]);
  if (typeof raw === 'number') return parsed([String(raw)]);
  if (Array.isArray(raw) && raw.every((item) => typeof item === 'string' || typeof item === 'number')) {
    if (row.kind === 'list') return parsed(raw.map(String));
    if (row.kind === 'value' && row.placeholder.includes(',')) return parsed([raw.join(',')]);
  }
  return unparsed(row.kind === 'list' ? 'it is neither a text nor an array of texts' : 'it is not a text');
}
