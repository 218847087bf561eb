/** YAML, JSON (which YAML's parser reads, too, with its lines), TOML, ini and pm2's JavaScript as values with the line of each key. */
import { parse as parseToml } from 'smol-toml';
import { isMap, isNode, isPair, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import { singleQuote } from '../shell.ts';
import { withoutComments } from './code.ts';

export type Path = readonly (string | number)[];
type Table = Readonly<Record<string, unknown>>;

export interface Document {
  /** Plain objects and arrays. */
  readonly value: unknown;
  /** Line (from 1) of a key, or of the nearest thing above it that is there. */
  lineOf(path: Path): number;
}

/** The documents of a file; those that can't be parsed (templates) are left out. */
export function readDocuments(path: string, text: string): Document[] {
  try {
    if (path.endsWith('.toml')) return [{ ...readIni(text), value: parseToml(text) }];
    if (/\.(conf|ini|service)$/.test(path)) return [readIni(text)];
    return readYaml(/js$/.test(path) ? objectOf(withoutComments(path, text)) : text);
  } catch {
    return [];
  }
}

/** The object of a configuration in JavaScript is close enough to YAML's flow style; nothing of it is run. */
function objectOf(code: string): string {
  const from = code.lastIndexOf('{', code.search(/\bapps\b/));
  const object = code.slice(from, code.lastIndexOf('}') + 1).replace(/(["'\w])\s*:(?=['"\d[{])/g, '$1: ');
  return from < 0 ? '' : code.slice(0, from).replace(/[^\n]/g, '') + object.replaceAll('`', '"');
}

function readYaml(text: string): Document[] {
  const lineCounter = new LineCounter();
  const options = { lineCounter, merge: true, uniqueKeys: false, logLevel: 'silent' } as const;
  return [...parseAllDocuments(text, options)]
    .filter(({ errors }) => errors.length === 0)
    .map((document) => ({
      // Throws where aliases grow without bound.
      value: document.toJS({ maxAliasCount: 100 }),
      lineOf: (path) => lineCounter.linePos(offsetOf(document.contents as Node | null, path)).line || 1,
    }));
}

function offsetOf(root: Node | null, path: Path): number {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  for (const step of path) {
    const isIt = (pair: unknown) =>
      isPair(pair) && isScalar(pair.key) && String(pair.key.value) === String(step);
    const pair = isMap(node) ? node.items.find(isIt) : undefined;
    const next = isSeq(node) ? node.items[Number(step)] : pair?.key;
    if (!isNode(next)) break;
    offset = next.range?.[0] ?? offset;
    node = pair ? pair.value : next;
  }
  return offset;
}

/** Sections with their keys, of which the last of one name counts. The places are right for TOML, too, as people write it. */
function readIni(text: string): Document {
  const value: Record<string, Record<string, string>> = {};
  const places = new Map<string, number>();
  let section = '';
  for (const [index, row] of text.split(/\r?\n/).entries()) {
    const [, header, key, given = ''] =
      /^\s*(?:\[+\s*([^\]]+?)\s*\]|["']?([\w.-]+)["']?\s*=\s*(.*?)(?:\s+;.*)?$)/.exec(row) ?? [];
    if (header !== undefined) section = header.replace(/["'\s]/g, '');
    else if (key !== undefined) value[section] = { ...value[section], [key]: given };
    else continue;
    const full = [section, key].filter(Boolean).join('.');
    if (!places.has(full)) places.set(full, index + 1);
  }
  const lineOf = (path: Path): number =>
    path.length === 0 ? 1 : (places.get(path.join('.')) ?? lineOf(path.slice(0, -1)));
  return { value, lineOf };
}

/**
 * Rows of a table that is kept as text: a line of columns with two or more spaces between them, then, indented, one line for why
 * and one for the cure.
 */
export const rowsOf = (text: string): { columns: string[]; why: string; cure: string }[] =>
  text
    .trim()
    .split(/\n(?! )/)
    .map((row) => {
      const [head = '', why = '', cure = ''] = row.split('\n  ');
      return { columns: head.split(/ {2,}/), why, cure };
    });

/** `{name}` and its like as what they are; what is not known stays. */
export const fill = (words: string, values: Readonly<Record<string, unknown>>): string =>
  words.replace(/\{(\w+)\}/g, (whole, key: string) => String(values[key] ?? whole));

/** The value at a path, undefined where it does not lead. */
export const at = (value: unknown, path: Path): unknown =>
  path.reduce((here, step) => Object(here)[step], value);

/** `spec>replicas` → ['spec', 'replicas']; `..` is one step up from where it begins. */
export function stepsOf(text: string, from: Path = []): Path {
  const path = [...from];
  for (const step of text.split('>').filter((it) => !/^\.?$/.test(it))) {
    if (step === '..') path.pop();
    else path.push(step);
  }
  return path;
}

/** Every path that a pattern leads to; a step may end in `*`. */
export function pathsOf(value: unknown, [step, ...rest]: Path): Path[] {
  if (step === undefined) return value === undefined ? [] : [[]];
  const [beginning = '', any] = String(step).split('*');
  const keys = Object.keys(Object(value)).filter((key) => key.startsWith(beginning));
  return (any === undefined ? [step] : keys).flatMap((key) =>
    pathsOf(at(value, [key]), rest).map((path) => [key, ...path]),
  );
}

/** The value as an object; empty where it is none. */
export const table = (value: unknown): Table =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Table) : {};

export const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** The environment that a process is given, in the ways of all managers, as JSON. */
export function environmentOf(value: unknown): string {
  const { env, environment, envVars, envs, env_variables } = table(value);
  return JSON.stringify([env, environment, envVars, envs, env_variables]);
}

/** A whole number, also one that is written as text or with a variable's default: `${N:-3}`. */
export function whole(value: unknown): number | null {
  const digits = /^\s*(?:\$\{\w+:?-)?(\d{1,6})\}?\s*$/.exec(String(value))?.[1];
  return digits === undefined ? null : Number(digits);
}

/** A command that is a line of shell or an array of words. */
export function commandText(value: unknown): string | null {
  if (!Array.isArray(value) || value.length === 0) return text(value);
  const words = value.map(String);
  if (/^(.*\/)?(ba|da|a|z)?sh$/.test(words[0]!) && /^-[a-z]*c$/.test(words[1] ?? '')) return words[2] ?? null;
  return words.map((word) => (/^[\w./:=@%+,$-]+$/.test(word) ? word : singleQuote(word))).join(' ');
}
