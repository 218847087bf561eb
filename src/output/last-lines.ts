/**
 * The last lines of a run, singlepoll's own and its workers': for the report of a crash, for those who watch, and for who looks for a
 * phrase in what a worker prints. Bounded, and cheap in a flood, of which only the end of each chunk is looked at.
 */
import { LIVE_LINES, type LiveLine } from '../supervisor/status.ts';
import { maskText } from './mask.ts';
import { plain } from './plain.ts';
import type { Level } from './words.ts';

export type OutputName = Exclude<LiveLine['from'], 'singlepoll'>;

/** The last lines of one stream of one worker, as printed. */
export interface StreamLines {
  /** Takes the next bytes and keeps no reference to them. Returns the lines that have ended with them; in a flood the last of those. */
  add(bytes: Buffer): readonly string[];
  /** The stream has ended, and so has its last line; null: it had. */
  end(): string | null;
  /** Oldest first, the unfinished line included. */
  texts(): string[];
}

export interface LastLines {
  /** Words of ours. */
  said(tag: string, text: string, level: Level | undefined): void;
  /** Begins the lines of a new worker. */
  stream(from: OutputName): StreamLines;
  /** Oldest first, masked. */
  lines(): readonly LiveLine[];
}

const LINE_MAX = 4096;
/** For those who watch. */
const SHOWN_MAX = 400;
/** A bigger chunk is one of a flood: so much of its end is looked at. */
const CHUNK_MAX = 32 * 1024;
const PART = 8 * 1024;
/** Of this many workers, two each. */
const STREAMS_MAX = 8;
/** Whoever watches sees the same, always fresh. */
const NOT_KEPT: ReadonlySet<string> = new Set(['hb']);
const NEWLINE = 0x0a;
const EMPTY = Buffer.alloc(0);

interface Kept {
  readonly atMs: number;
  readonly from: LiveLine['from'];
  readonly tag: string | null;
  readonly level: Level;
  readonly text: string;
}

interface KeptStream extends StreamLines {
  kept(): readonly Kept[];
}

export function createLastLines(tokens: () => readonly string[]): LastLines {
  const own: Kept[] = [];
  const streams: KeptStream[] = [];
  const shown = ({ atMs, from, tag, level, text }: Kept): LiveLine => ({
    at: new Date(performance.timeOrigin + atMs).toISOString(),
    from,
    tag,
    level,
    // What a worker printed is masked already, and its escapes are the reader's affair.
    text: from === 'singlepoll' ? plain(maskText(text, tokens()), SHOWN_MAX) : text.slice(0, SHOWN_MAX),
  });
  return {
    said(tag, text, level = 'info') {
      if (!NOT_KEPT.has(tag)) keep(own, { atMs: performance.now(), from: 'singlepoll', tag, level, text });
    },
    stream(from) {
      const it = streamLines(from);
      streams.push(it);
      if (streams.length > STREAMS_MAX) streams.shift();
      return it;
    },
    lines() {
      const all = [...own, ...streams.flatMap((it) => it.kept())];
      return all
        .sort((a, b) => a.atMs - b.atMs)
        .slice(-LIVE_LINES)
        .map(shown);
    },
  };
}

function keep(lines: Kept[], line: Kept): void {
  lines.push(line);
  if (lines.length > LIVE_LINES) lines.shift();
}

function streamLines(from: OutputName): KeptStream {
  const whole: Kept[] = [];
  let unfinished: Buffer = EMPTY;
  let unfinishedMs = 0;

  function kept(): readonly Kept[] {
    return unfinished.length === 0 ? whole : [...whole, line(unfinished.toString(), unfinishedMs)];
  }

  function line(text: string, atMs: number): Kept {
    return { atMs, from, tag: null, level: 'info', text: text.slice(0, LINE_MAX).replace(/\r$/, '') };
  }

  function goOn(part: Buffer): void {
    unfinished = Buffer.concat([unfinished, part.subarray(0, LINE_MAX - unfinished.length)]);
  }

  return {
    add(bytes) {
      const atMs = performance.now();
      let chunk = bytes;
      if (bytes.length > CHUNK_MAX) {
        const begin = bytes.indexOf(NEWLINE, bytes.length - PART) + 1;
        chunk = bytes.subarray(begin > 0 ? begin : bytes.length - PART);
        unfinished = EMPTY;
      }
      unfinishedMs = atMs;
      const end = chunk.lastIndexOf(NEWLINE);
      if (end < 0) {
        goOn(chunk);
        return [];
      }
      const ended = Buffer.concat([unfinished, chunk.subarray(0, end)])
        .toString()
        .split('\n');
      unfinished = EMPTY;
      goOn(chunk.subarray(end + 1));
      const lines = ended.map((text) => line(text, atMs));
      for (const it of lines.slice(-LIVE_LINES)) keep(whole, it);
      return lines.map(({ text }) => text);
    },
    end() {
      const last = kept().at(-1);
      if (unfinished.length === 0 || !last) return null;
      keep(whole, last);
      unfinished = EMPTY;
      return last.text;
    },
    texts: () => kept().map(({ text }) => text),
    kept,
  };
}
