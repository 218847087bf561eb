/** Makes foreign text safe to show: what a stray is called must never move the cursor, forge a line of ours or show a token. */
import { maskForeign } from '../config/token.ts';
import { statOf } from '../machine/procfs.ts';
import { escapeCharacter } from '../shell.ts';

// C0, DEL, C1, line and paragraph separators, and the marks that reorder or hide text (bidi, zero width, BOM).
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const LONE_SURROGATE = /\p{Surrogate}/gu;
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\u001b': '\\e' };

const visible = (character: string): string => NAMED[character] ?? escapeCharacter(character);

/** As in `https://user:password@host`. */
const PASSWORD = /(:\/\/)[^\s/@:]*:[^\s/@]+@/g;

/** A cut may have left too little of a token for its shape. */
function masked(text: string, cut: boolean): string {
  const whole = maskForeign(text).replace(PASSWORD, '$1…@');
  return cut ? whole.replace(/(\d{5,})(?::|%3a)[\w-]*$/i, '$1:…') : whole;
}

/**
 * `text` with control characters shown as escapes (`\n`, `\e`, `\x07`), tokens as `123456:…`, passwords of URLs as `…`, lone surrogates as `�`,
 * and at most `max` characters, the last of them `…` when something was cut off.
 */
export function plain(text: string, max = 200): string {
  // Enough for any mask or escape to be decided, so that a 2 MB argument costs nothing.
  const head = text.slice(0, max * 2 + 256);
  const safe = masked(head, head.length < text.length)
    .replace(LONE_SURROGATE, '\ufffd')
    .replace(UNSAFE, visible);
  if (safe.length <= max && head.length === text.length) return safe;
  const cut = safe.slice(0, Math.max(0, max - 1));
  // Not half of a character that takes two units.
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}

/** A command line to show: arguments that need it are quoted, so that their borders can be seen. */
export function plainCommand(argv: readonly string[], max = 200): string {
  let line = '';
  for (const arg of argv) {
    const text = plain(arg, max);
    const word = text === '' || /[\s'"\\$`]/.test(text) ? `'${text.replaceAll("'", "\\'")}'` : text;
    line += line === '' ? word : ` ${word}`;
    if (line.length > max) return `${line.slice(0, Math.max(0, max - 1))}…`;
  }
  return line;
}

/** `pid 4711 (nginx)`, of a stranger: the name that the kernel keeps, as who reads arguments may have to wait for a dead mount. */
export function pidWords(pid: number): string {
  const { comm } = statOf(pid) ?? {};
  return comm === undefined ? `pid ${pid}` : `pid ${pid} (${plain(comm)})`;
}
