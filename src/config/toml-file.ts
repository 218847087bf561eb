/**
 * Reads singlepoll.toml: top-level keys only, each with its line. The parser is loaded only where there is such a file.
 * Never shows a line of the file: somebody may have put a token there.
 */
import { readTextFile } from './read-file.ts';

export type TomlFile =
  | {
      readonly kind: 'read';
      readonly values: Readonly<Record<string, unknown>>;
      readonly lineOf: (key: string) => number | null;
    }
  | { readonly kind: 'missing' }
  | { readonly kind: 'irregular' | 'unreadable' | 'malformed'; readonly problem: string };

/** Reads and parses one file; never throws for what is in it. */
export async function readTomlFile(path: string): Promise<TomlFile> {
  const file = readTextFile(path);
  if (file.kind !== 'text') return file;
  const { parse, TomlError } = await import('smol-toml');
  try {
    const values = parse(file.text) as Record<string, unknown>;
    return { kind: 'read', values, lineOf: (key) => lineOfKey(file.text, key) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message goes on with the offending lines; only its first line is about the format.
    const what = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
    return { kind: 'malformed', problem: `line ${error.line}, column ${error.column}: ${what}` };
  }
}

/** The line (from 1) on which a top-level key is set, as far as can be told without the parser's help. */
function lineOfKey(text: string, key: string): number | null {
  const rows = text.split(/\r\n|\n/);
  for (const [index, row] of rows.entries()) {
    const match = /^\s*\[?\[?\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*[.=\]]/.exec(row);
    if (match && (match[1] ?? match[2] ?? match[3]) === key) return index + 1;
  }
  return null;
}
