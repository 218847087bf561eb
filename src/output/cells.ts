/** Text by the columns that it takes on a terminal, where an emoji or a Chinese character takes two. Pure. */
import { stripVTControlCharacters } from 'node:util';
import { eastAsianWidth } from 'get-east-asian-width';
import { plain } from './plain.ts';

/** ASCII, European letters, dashes, quotes, arrows and the marks of our screens: one column each. */
const NARROW = /^[\x20-\x7e\xa0-\xac\xae-\u02ff\u2010-\u2027\u2190-\u21ff\u2500-\u25ff]*$/;
/** Joiners and selectors: terminals disagree about the width of what they make, so it is shown in its parts. */
const JOINERS = /[\u200d\ufe0e\ufe0f]/g;

export function width(text: string): number {
  if (NARROW.test(text)) return text.length;
  return characters(text).reduce((sum, it) => sum + eastAsianWidth(it.codePointAt(0) ?? 0), 0);
}

/** Made when it is needed: the segmenter alone takes as long as a whole `status` may. */
function characters(text: string): string[] {
  return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
}

/** At most `columns` wide, the last of them `…` where something was cut off. */
export function cut(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  let taken = 0;
  let kept = '';
  for (const character of NARROW.test(text) ? text : characters(text)) {
    taken += width(character);
    if (taken > columns - 1) break;
    kept += character;
  }
  return columns > 0 ? `${kept}…` : '';
}

/**
 * Breaks `text` at spaces, and a word that is too long for a line anywhere. `first` begins the first line, the others are indented as far.
 * Spaces at the beginning stay: a traceback is read by its indentation.
 */
export function wrap(text: string, first: string, columns: number): string[] {
  const indent = width(first);
  const room = Math.max(10, columns - indent);
  const lines: string[] = [];
  let line: string | null = null;
  for (let word of text.split(' ')) {
    if (line !== null && width(line) + 1 + width(word) > room) {
      lines.push(line);
      line = null;
    }
    for (; width(word) > room; word = word.slice(cut(word, room).length - 1))
      lines.push(cut(word, room).slice(0, -1));
    line = line === null ? word : `${line} ${word}`;
  }
  lines.push(line ?? '');
  return lines.map((it, index) => (index === 0 ? first : ' '.repeat(indent)) + it);
}

/** A line of another program as one line of a screen: no control sequences, tabs as spaces, of a progress bar the last state. */
export function oneLine(text: string): string {
  const bare = stripVTControlCharacters(text).replace(/\r+$/, '');
  const last = bare.slice(bare.lastIndexOf('\r') + 1);
  return plain(last.replace(/\t/g, '    ').replace(JOINERS, ''), 400);
}
