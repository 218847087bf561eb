/**
 * Remembers the last lines of a stream for a crash report. A flood costs next to nothing: a chunk with enough lines in it
 * replaces all that was kept, and only those lines are copied. Text is kept as latin1 (a byte per character, no
 * slabs held) and decoded when asked for.
 */

import type { FloodScanner } from './flood-scanner.ts';

export interface Tail {
  /** Takes the next bytes; keeps no reference to them. `scanner`: in a flood, where the bytes may lie in its memory. */
  add(bytes: Buffer, scanner?: LineEnds | null): void;
  /** The last lines, oldest first, the unfinished one included; without line ends. */
  lines(): string[];
}

type LineEnds = Pick<FloodScanner, 'lineEndBefore'>;

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** Pieces are joined when they get this many or this long. */
const PIECES_MAX = 64;
const PIECES_MAX_BYTES = 32 * 1024;

/** `maxLines` lines, each cut off behind `maxLineBytes`. */
export function createTail(maxLines = 20, maxLineBytes = 4096): Tail {
  let pieces: string[] = [];
  let size = 0;
  /** How many bytes of the last line are in `pieces`. */
  let openBytes = 0;

  function add(bytes: Buffer, scanner: LineEnds | null = null): void {
    const end = bytes.length;
    // As many line ends as lines are kept, the end of the last line not counted.
    const lineEnd = scanner?.lineEndBefore(bytes, end - 1, maxLines) ?? lineEndBefore(bytes, end - 1);
    const start = lineEnd + 1;
    if (start > 0) {
      pieces = [];
      size = 0;
      openBytes = 0;
    }
    if (end - start <= maxLineBytes) keep(bytes, start, end);
    else keepLines(bytes, start, end);
    if (pieces.length > PIECES_MAX || size > PIECES_MAX_BYTES) join();
  }

  function lineEndBefore(bytes: Buffer, end: number): number {
    let at = end;
    for (let found = 0; found < maxLines; found++) {
      at = at > 0 ? bytes.lastIndexOf(NEWLINE, at - 1) : -1;
      if (at < 0) break;
    }
    return at;
  }

  /** A few short lines at once; what makes the last line too long is cut off later. */
  function keep(bytes: Buffer, start: number, end: number): void {
    const newline = bytes.lastIndexOf(NEWLINE, end - 1);
    if (newline < start) {
      if (openBytes >= maxLineBytes) return;
      openBytes += end - start;
    } else openBytes = end - newline - 1;
    pieces.push(bytes.toString('latin1', start, end));
    size += end - start;
  }

  function keepLines(bytes: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const newline = bytes.indexOf(NEWLINE, at);
      const lineEnd = newline < 0 || newline >= end ? end : newline;
      const room = maxLineBytes - openBytes;
      if (room > 0 && lineEnd > at) {
        const to = Math.min(lineEnd, at + room);
        pieces.push(bytes.toString('latin1', at, to));
        size += to - at;
        openBytes += to - at;
      }
      if (lineEnd < end) {
        pieces.push('\n');
        size += 1;
        openBytes = 0;
      }
      at = lineEnd + 1;
    }
  }

  function cutLines(): string[] {
    const lines = pieces.join('').split('\n');
    const unfinished = lines.pop() ?? '';
    return [...lines.slice(-maxLines), unfinished].map((line) => line.slice(0, maxLineBytes));
  }

  function join(): void {
    const text = cutLines().join('\n');
    pieces = [text];
    size = text.length;
  }

  function lines(): string[] {
    const kept = cutLines();
    if (kept.at(-1) === '') kept.pop();
    return kept.slice(-maxLines).map(decode);
  }

  return { add, lines };
}

function decode(line: string): string {
  const end = line.charCodeAt(line.length - 1) === CARRIAGE_RETURN ? line.length - 1 : line.length;
  return Buffer.from(line.slice(0, end), 'latin1').toString();
}
