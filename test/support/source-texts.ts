import { readdirSync, readFileSync } from 'node:fs';
import { transformSync } from 'esbuild';

/** The texts of a source file, in quotes or backticks; what is put into one shows as `…`. */
export function textsOf(path: string): string[] {
  // Without comments, types and line breaks; only regular expressions are left that could hold a quote.
  const options = { loader: 'ts', minifyWhitespace: true, charset: 'utf8' } as const;
  const js = transformSync(readFileSync(path, 'utf8'), options).code;
  const texts: string[] = [];
  let at = 0;
  /** The rest of a literal that ends with this character. */
  const literal = (end: string): string => {
    let text = '';
    for (at += 1; js[at] !== end; at += 1) {
      if (at >= js.length) throw new Error(`${path}: a literal without an end`);
      if (js[at] === '\\') text += js[++at] === 'n' ? '\n' : js[at];
      else if (end === '`' && js.startsWith('${', at)) {
        at += 2;
        code();
        text += '…';
      } else if (end === '/' && js[at] === '[') text += literal(']');
      else text += js[at];
    }
    return text;
  };
  const code = (): void => {
    for (let depth = 0, word = ''; at < js.length; at += 1) {
      const c = js[at]!;
      if (c === '{') depth += 1;
      if (c === '}' && depth-- === 0) return;
      if (c === '"' || c === "'" || c === '`') texts.push(literal(c));
      else if (c === '/' && /^(?:[^)\]\w]?|return|typeof)$/.test(word)) literal('/');
      word = /\w/.test(c) ? (/\w$/.test(word) ? word : '') + c : c;
    }
  };
  code();
  return texts;
}

/** Help and examples, and commands of another kind. */
const NO_HINTS =
  /commands\/(?:table|program|completion)|config\/(?:options|load)|\/sandbox\/|intercept\/certificates|lock\/proof/;

/** Every command of ours that a message proposes, each once; what is put into it shows as `…`. */
export function hintsInSource(): string[] {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).map((path) => `src/${path}`);
  const lines = files
    .filter((path) => path.endsWith('.ts') && !NO_HINTS.test(path))
    .flatMap((path) => textsOf(path).flatMap((text) => text.split('\n')));
  return [...new Set(lines.filter((line) => /^…?singlepoll (?!\d|…)[a-z-]+(?: |$)/.test(line)))];
}
