/** Source text without what is not code, and what stands around a line. Approximations that need no parser of six languages. */
import { type Language, languageOf } from './kinds.ts';

/** Comments and docstrings as spaces; every other character, and every line, stays in its place. */
export function withoutComments(path: string, text: string): string {
  const language = languageOf(path);
  if (language === 'python') return blank(text, PYTHON);
  if (language !== null) return blank(text, path.endsWith('.rb') || /\.exs?$/.test(path) ? HASH : SLASHES);
  // Shell, YAML, TOML, ini, Dockerfile, Makefile.
  return text.replace(/(^|\s)#.*$/gm, (whole) => ' '.repeat(whole.length));
}

/** One alternative is a comment (group 1), everything else is skipped over as a whole, so that no quote inside it counts. */
const PYTHON =
  /(^[ \t]*(?:[rRuUbB]{0,2})(?:"""[\s\S]*?(?:"""|$(?![\s\S]))|'''[\s\S]*?(?:'''|$(?![\s\S])))|#.*)|"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/gm;
const SLASHES =
  /(\/\/.*|\/\*[\s\S]*?(?:\*\/|$(?![\s\S])))|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\[\s\S]|[^`\\])*`?/gm;
const HASH = /(#.*)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/gm;

function blank(text: string, pattern: RegExp): string {
  return text.replace(pattern, (whole, comment?: string) =>
    comment === undefined ? whole : whole.replace(/[^\n]/g, ' '),
  );
}

const indentOf = (row: string): number => /^[ \t]*/.exec(row)![0].replaceAll('\t', '    ').length;

/**
 * The conditions that a line (from 1) stands under, by indentation, innermost first: `if …`, `else`, `case …`, and the `if`
 * that an `else` belongs to.
 */
export function conditionsAround(rows: readonly string[], line: number): string[] {
  const found: string[] = [];
  let indent = indentOf(rows[line - 1] ?? '');
  let awaited: number | null = null;
  for (let at = line - 2; at >= 0; at--) {
    const row = rows[at]!;
    if (row.trim() === '') continue;
    const here = indentOf(row);
    // The `if` of an `else` whose condition we want, too.
    if (awaited === here && /^\s*(?:\}\s*else\s+)?(?:if|elif)\b/.test(row)) {
      found.push(row.trim());
      if (/^\s*if\b/.test(row)) awaited = null;
      continue;
    }
    if (here >= indent) continue;
    indent = here;
    awaited = null;
    if (/^\s*(?:\}?\s*(?:else|elif|elsif)\b|if\b|switch\b|case\b|match\b|default\b)/.test(row)) {
      found.push(row.trim());
      if (/^\s*\}?\s*(?:else|elif|elsif)\b/.test(row)) awaited = here;
    }
  }
  return found;
}

/** A definition at the top of a Python file: `def`, `async def`, `class`, with its decorators. */
export interface Definition {
  readonly name: string;
  readonly first: number;
  readonly last: number;
  /** Text of decorators and base classes. */
  readonly header: string;
}

export interface PythonShape {
  readonly definitions: readonly Definition[];
  /** Lines (from 1) under `if __name__ == "__main__":`. */
  readonly isMain: (line: number) => boolean;
  /** Top-level lines that are neither definitions nor under that. */
  readonly topLines: readonly number[];
}

export function pythonShape(code: string): PythonShape {
  const rows = code.split('\n');
  const definitions: Definition[] = [];
  const main = new Set<number>();
  const topLines: number[] = [];
  let decorators: string[] = [];
  let block: 'top' | 'definition' | 'main' = 'top';
  let current: { name: string; first: number; last: number; header: string } | null = null;
  for (const [index, row] of rows.entries()) {
    const line = index + 1;
    if (row.trim() === '') continue;
    const starts = indentOf(row) === 0 && !/^[)\]}]/.test(row);
    if (starts) {
      const definition = /^(?:async\s+def|def|class)\s+(\w+)/.exec(row);
      if (definition) {
        current = { name: definition[1]!, first: line, last: line, header: [...decorators, row].join('\n') };
        definitions.push(current);
        decorators = [];
        block = 'definition';
        continue;
      }
      if (row.startsWith('@')) {
        decorators.push(row);
        continue;
      }
      block = /^if\s+__name__\s*==/.test(row) ? 'main' : 'top';
    }
    if (block === 'definition' && current) current.last = line;
    else if (block === 'main') main.add(line);
    else topLines.push(line);
  }
  return { definitions, isMain: (line) => main.has(line), topLines };
}

export type { Language };
