/**
 * Reads the parameters of a JSON body the way the server does: key by key, so that what came before a mistake is kept,
 * the first of two equal names wins (Args sees to that), and non-string values keep their JSON text.
 * Source: tdlib/td HttpReader::parse_json_parameters.
 */
import type { Args } from './args.ts';

const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const SCALAR = /-?\d[\d.eE+-]*|true|false|null/y;
const DEPTH_MAX = 100;

/** Adds what can be read of `text` to `args`; never throws. */
export function addJsonParams(text: string, args: Args): void {
  let at = 0;
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    if (found !== null) at += found.length;
    return found;
  };
  const skip = (char: string): boolean => {
    if (text[at] !== char) return false;
    at++;
    return true;
  };
  const string = (): string | null => {
    const quoted = match(STRING);
    if (quoted === null) return null;
    try {
      const safe = quoted.replace(
        /[\u0000-\u001f]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
      return JSON.parse(safe) as string;
    } catch {
      return null;
    }
  };
  /** Passes over one value; false where there is none. */
  const value = (depth: number): boolean => {
    if (depth > DEPTH_MAX) return false;
    if (text[at] === '"') return match(STRING) !== null;
    const close = text[at] === '{' ? '}' : text[at] === '[' ? ']' : null;
    if (close === null) return match(SCALAR) !== null;
    at++;
    for (match(SPACE); !skip(close); match(SPACE)) {
      if (close === '}') {
        if (match(STRING) === null) return false;
        match(SPACE);
        if (!skip(':')) return false;
        match(SPACE);
      }
      if (!value(depth + 1)) return false;
      match(SPACE);
      if (text[at] !== close && !skip(',')) return false;
    }
    return true;
  };

  match(SPACE);
  if (text[at] === '"') {
    const content = string();
    if (content !== null && at === text.length) args.add('content', content);
    return;
  }
  if (!skip('{')) return;
  for (match(SPACE); at < text.length && !skip('}'); match(SPACE)) {
    const name = string();
    match(SPACE);
    if (name === null || !skip(':')) return;
    match(SPACE);
    const start = at;
    if (text[at] === '"') {
      const content = string();
      if (content === null) return;
      args.add(name, content);
    } else {
      if (!value(0)) return;
      args.add(name, text.slice(start, at));
    }
    match(SPACE);
    if (text[at] !== '}' && !skip(',')) return;
  }
}
