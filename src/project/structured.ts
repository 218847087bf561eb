/** YAML, JSON (which YAML's parser reads, too, with lines) and TOML as values with the line of each key. */
import { parse as parseToml } from 'smol-toml';
import { isMap, isNode, isPair, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';

export type Path = readonly (string | number)[];

export interface Structured {
  /** Plain objects and arrays. */
  readonly value: unknown;
  /** Line (from 1) of a key, or of the nearest thing above it that is there. */
  lineOf(path: Path): number;
}

/** The documents of a YAML or JSON file; those that can't be parsed (templates) are left out. */
export function readYaml(text: string): Structured[] {
  const lines = new LineCounter();
  const found: Structured[] = [];
  let documents: ReturnType<typeof parseAllDocuments>;
  try {
    documents = parseAllDocuments(text, { lineCounter: lines, merge: true, logLevel: 'silent' });
  } catch {
    return [];
  }
  if (!Array.isArray(documents)) return [];
  for (const document of documents) {
    if (document.errors.length > 0) continue;
    try {
      // Throws where aliases grow without bound.
      const value: unknown = document.toJS({ maxAliasCount: 100 });
      const contents = document.contents as Node | null;
      found.push({ value, lineOf: (path) => lineOfNode(contents, path, lines) });
    } catch {}
  }
  return found;
}

function lineOfNode(root: Node | null, path: Path, lines: LineCounter): number {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && String((item.key as { value?: unknown })?.value) === String(step),
      );
      if (!pair) break;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      const item = node.items[Number(step)];
      if (!isNode(item)) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else break;
  }
  return lines.linePos(offset).line || 1;
}

/** A TOML file; null where it can't be parsed. */
export function readToml(text: string): Structured | null {
  try {
    return { value: parseToml(text), lineOf: (path) => lineOfToml(text, path) };
  } catch {
    return null;
  }
}

/** The parser gives no places: looks for `[a.b]` and `key =` as people write them. */
function lineOfToml(text: string, path: Path): number {
  const keys = path.filter((step): step is string => typeof step === 'string');
  const rows = text.split(/\r?\n/);
  let table = '';
  let best = 1;
  for (const [index, row] of rows.entries()) {
    const header = /^\s*\[\[?\s*([^\]]+?)\s*\]\]?/.exec(row)?.[1];
    if (header !== undefined) {
      table = header.replace(/["'\s]/g, '');
      if (table === keys.join('.')) return index + 1;
      if (`${keys.join('.')}.`.startsWith(`${table}.`)) best = index + 1;
      continue;
    }
    const key = /^\s*["']?([\w.-]+)["']?\s*=/.exec(row)?.[1];
    if (key === undefined) continue;
    const full = table === '' ? key : `${table}.${key}`;
    if (full === keys.join('.')) return index + 1;
  }
  return best;
}

/** The value at a path, undefined where it does not lead. */
export function at(value: unknown, path: Path): unknown {
  let here = value;
  for (const step of path) {
    if (here === null || typeof here !== 'object') return undefined;
    here = (here as Record<string | number, unknown>)[step];
  }
  return here;
}

export type Table = Readonly<Record<string, unknown>>;

/** The value as an object; empty where it is none. */
export const table = (value: unknown): Table =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Table) : {};

export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** A whole number, also one that is written as text or with a variable's default: `${N:-3}`. */
export function whole(value: unknown): number | null {
  if (typeof value === 'number') return Number.isInteger(value) ? value : null;
  const digits =
    typeof value === 'string' ? /^\s*(?:\$\{\w+:?-)?(\d{1,6})\}?\s*$/.exec(value)?.[1] : undefined;
  return digits === undefined ? null : Number(digits);
}

/** A command that is a line of shell or an array of words. */
export function commandText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value) || value.length === 0) return null;
  const words = value.map(String);
  if (words.length >= 3 && /(^|\/)(ba|da|a|z)?sh$/.test(words[0]!) && /^-[a-z]*c$/.test(words[1]!))
    return words[2]!;
  return words
    .map((word) => (/^[\w./:=@%+,$-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}
