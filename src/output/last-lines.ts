/**
 * The last lines of a run, singlepoll's own and its workers': for the report of a crash and for those who watch. It also cuts a
 * worker's output into lines, for the log and for who looks for a phrase in them. Bounded, however much is printed.
 */
import { LIVE_LINES, type LiveLine } from '../supervisor/status.ts';
import { maskText } from './mask.ts';
import { plain } from './plain.ts';
import type { Level } from './words.ts';

export type OutputName = Exclude<LiveLine['from'], 'singlepoll'>;

/** The lines of one stream of one worker, as printed. */
export interface StreamLines {
  /**
   * Takes the next bytes and keeps no reference to them. Returns the lines that have ended with them as one text without the last
   * newline, a latin1 character for each byte; null: none has.
   */
  add(bytes: Buffer): string | null;
  /** Ends the last line where it has no end yet, and returns it. */
  end(): string | null;
  isUnfinished(): boolean;
  /** The last ones, oldest first, the unfinished one included. */
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

/** A line is broken where it is longer. */
export const LINE_BYTES_MAX = 32 * 1024;
/** So much of a line is kept, and so much of that is shown to those who watch. */
const KEPT_MAX = 4096;
const SHOWN_MAX = 400;
/** Of this many workers, two each. */
const STREAMS_MAX = 8;
/** Whoever watches sees the same, always fresh. */
const NOT_KEPT: ReadonlySet<string> = new Set(['hb']);

interface Kept extends Omit<LiveLine, 'at'> {
  readonly atMs: number;
}

interface KeptStream extends StreamLines {
  kept(): readonly Kept[];
}

export function createLastLines(tokens: readonly string[]): LastLines {
  const own: Kept[] = [];
  const streams: KeptStream[] = [];
  const shown = ({ atMs, text, ...line }: Kept): LiveLine => ({
    at: new Date(performance.timeOrigin + atMs).toISOString(),
    ...line,
    // What a worker printed is masked already, and its escapes are the reader's affair.
    text: line.from === 'singlepoll' ? plain(maskText(text, tokens), SHOWN_MAX) : text.slice(0, SHOWN_MAX),
  });
  return {
    said(tag, text, level = 'info') {
      if (NOT_KEPT.has(tag)) return;
      own.push({ atMs: performance.now(), from: 'singlepoll', tag, level, text });
      if (own.length > LIVE_LINES) own.shift();
    },
    stream(from) {
      const it = streamLines(from);
      streams.push(it);
      if (streams.length > STREAMS_MAX) streams.shift();
      return it;
    },
    lines() {
      const all = [...own, ...streams.flatMap((it) => it.kept())].sort((a, b) => a.atMs - b.atMs);
      return all.slice(-LIVE_LINES).map(shown);
    },
  };
}

function streamLines(from: OutputName): KeptStream {
  let last: Kept[] = [];
  let unfinished = '';
  let unfinishedMs = 0;

  /** Copies what is kept: a part of a text would keep all of it in memory. */
  function keep(text: string): string {
    const atMs = performance.now();
    let begin = text.length;
    for (let n = 0; n < LIVE_LINES && begin > 0; n++) begin = text.lastIndexOf('\n', begin - 1);
    const lines = text.slice(begin > 0 ? begin + 1 : 0).split('\n');
    last = [...last, ...lines.map((it) => line(it, atMs))].slice(-LIVE_LINES);
    return text;
  }

  function line(text: string, atMs: number): Kept {
    const whole = Buffer.from(text.slice(0, KEPT_MAX), 'latin1').toString().replace(/\r$/, '');
    return { atMs, from, tag: null, level: 'info', text: whole };
  }

  const kept = () => (unfinished === '' ? last : [...last, line(unfinished, unfinishedMs)]);
  return {
    add(bytes) {
      const text = unfinished + bytes.toString('latin1');
      const end = text.lastIndexOf('\n');
      unfinished = text.slice(end + 1);
      unfinishedMs = performance.now();
      if (unfinished.length > LINE_BYTES_MAX) {
        unfinished = '';
        return keep(text);
      }
      return end < 0 ? null : keep(text.slice(0, end));
    },
    end() {
      const text = unfinished;
      unfinished = '';
      return text === '' ? null : keep(text);
    },
    isUnfinished: () => unfinished !== '',
    texts: () => kept().map(({ text }) => text),
    kept,
  };
}
