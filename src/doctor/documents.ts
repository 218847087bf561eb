/** YAML, JSON (which YAML's parser reads, too), TOML, ini and pm2's JavaScript as values with the line of each key. */
import { parse as parseToml } from 'smol-toml';
import { isMap, isNode, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import { singleQuote } from '../shell.ts';
import { withoutComments } from './code.ts';
import { lineAt } from './files.ts';

export type Path = readonly (string | number)[];
/** A value, and the line (from 1) of a key, or of the nearest thing above it that is there. */
export type Document = { readonly value: unknown; lineOf(path: Path): number };

/** The documents of a file; those that can't be parsed (templates) are left out. */
export function readDocuments(path: string, text: string): Document[] {
  try {
    if (path.endsWith('.toml')) return [{ ...readIni(text), value: parseToml(text) }];
    if (/\.(conf|ini|service)$/.test(path)) return [readIni(text)];
    if (/ockerfile|Containerfile/.test(path)) return readImage(text);
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

/** What an image runs: CMD, after ENTRYPOINT where that is an array, of its last stage. */
function readImage(text: string): Document[] {
  const whole = text.replace(/\\\r?\n/g, (it) => ' '.repeat(it.length));
  const found = [...whole.matchAll(/^[ \t]*(E|C)(?:NTRYPOINT|MD)[ \t]+(?![\s\S]*^[ \t]*FROM\b)(.*)$/gim)];
  const [entry, cmd] = ['E', 'C'].map((kind) => found.findLast(([, it]) => it?.toUpperCase() === kind));
  const both = [entry, entry && !entry[2]!.startsWith('[') ? null : cmd].filter((it) => !!it);
  const words = both.map(([, , it = '']) => (it.startsWith('[') ? commandText(readYaml(it)[0]?.value) : it));
  const value = { name: 'CMD', command: words.join(' ').trim() };
  return both.slice(-1).map(({ index }) => ({ value, lineOf: () => lineAt(text, index) }));
}

function readYaml(text: string): Document[] {
  const lineCounter = new LineCounter();
  const options = { lineCounter, merge: true, uniqueKeys: false, logLevel: 'silent' } as const;
  return [...parseAllDocuments(text, options)]
    .filter(({ errors }) => errors.length === 0)
    .map((document) => ({
      // Throws where aliases grow without bound.
      value: document.toJS({ maxAliasCount: 100 }),
      lineOf: (path) => lineCounter.linePos(offsetOf(document.contents, path)).line || 1,
    }));
}

function offsetOf(node: unknown, [step, ...rest]: Path, offset = isNode(node) ? node.range?.[0] : 0): number {
  const pair = isMap(node) ? node.items.find(({ key }) => String(key) === String(step)) : null;
  const next = isSeq(node) ? node.items[Number(step)] : pair?.key;
  if (step === undefined || !isNode(next)) return offset ?? 0;
  return offsetOf(pair ? pair.value : next, rest, next.range?.[0]);
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

export const at = (value: unknown, path: Path): unknown =>
  path.reduce((here, step) => Object(here)[step], value);

/** `spec>replicas` → ['spec', 'replicas']; `..` is one step up from where it begins. */
export const stepsOf = (text: string, from: Path = []): Path =>
  text
    .split('>')
    .filter((it) => !/^\.?$/.test(it))
    .reduce((path, step) => (step === '..' ? path.slice(0, -1) : path.concat(step)), from);

/** Every path that a pattern leads to; a step may end in `*`. */
export function pathsOf(value: unknown, [step, ...rest]: Path): Path[] {
  if (step === undefined) return value === undefined ? [] : [[]];
  const [beginning = '', any] = String(step).split('*');
  const keys = Object.keys(Object(value)).filter((key) => key.startsWith(beginning));
  return (any === undefined ? [step] : keys).flatMap((key) =>
    pathsOf(at(value, [key]), rest).map((path) => [key, ...path]),
  );
}

export const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** The environment that a process is given, in the ways of all managers, as JSON. */
export function environmentOf(value: unknown): string {
  const { env, environment, envVars, envs, env_variables } = Object(value);
  return JSON.stringify([env, environment, envVars, envs, env_variables]);
}

export function commandText(value: unknown): string | null {
  if (!Array.isArray(value) || value.length === 0) return text(value);
  const words = value.map(String);
  if (/^(.*\/)?(ba|da|a|z)?sh$/.test(words[0]!) && /^-[a-z]*c$/.test(words[1] ?? '')) return words[2] ?? null;
  return words.map((word) => (/^[\w./:=@%+,{}$-]+$/.test(word) ? word : singleQuote(word))).join(' ');
}
