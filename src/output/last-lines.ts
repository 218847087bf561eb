/**
 * The last lines of a run, singlepoll's own and its workers', in one ring: for the report of a crash and for those who watch. Bounded,
 * however much is printed.
 */
import { LIVE_LINES, type LiveLine } from '../supervisor/status.ts';
import { maskText } from './mask.ts';
import { plain } from './plain.ts';

export type OutputName = Exclude<LiveLine['from'], 'singlepoll'>;

/** So much of a line is kept, and so much of that is shown to those who watch. */
const KEPT_MAX = 4096;
const SHOWN_MAX = 400;
/** More than is shown: a crash is reported by the last worker's lines alone. */
const LINES_MAX = 2 * LIVE_LINES;

type Kept = LiveLine & { readonly stream: object | null };

export function createLastLines(tokens: readonly string[]) {
  let kept: Kept[] = [];

  function keep(lines: readonly Omit<Kept, 'at'>[]): void {
    const at = new Date().toISOString();
    kept = [...kept, ...lines.map((line) => ({ ...line, at }))].slice(-LINES_MAX);
  }

  return {
    /** Words of ours, but no heartbeat: whoever watches sees the same, always fresh. */
    said(tag: string, text: string, level: LiveLine['level'] = 'info'): void {
      const shown = plain(maskText(text, tokens), SHOWN_MAX);
      if (tag !== 'hb') keep([{ from: 'singlepoll', tag, level, text: shown, stream: null }]);
    },
    /** Begins the lines of one stream of a new worker. */
    stream(from: OutputName) {
      const stream = {};
      return {
        /** `text`: whole lines without the last newline, a latin1 character for each byte. */
        add(text: string): void {
          let begin = text.length;
          for (let n = 0; n < LINES_MAX && begin > 0; n++) begin = text.lastIndexOf('\n', begin - 1);
          // Copies: a part of a text would keep all of it in memory.
          const lines = Buffer.from(begin > 0 ? text.slice(begin + 1) : text, 'latin1').toString();
          const kept = lines.split('\n').map((line) => line.slice(0, KEPT_MAX).replace(/\r$/, ''));
          keep(kept.map((text) => ({ from, tag: null, level: 'info', text, stream })));
        },
        /** Oldest first. */
        texts: () => kept.filter((it) => it.stream === stream).map(({ text }) => text),
      };
    },
    /** Oldest first, masked: what a worker printed is so already, and its escapes are the reader's affair. */
    lines: (): LiveLine[] =>
      kept
        .slice(-LIVE_LINES)
        .map(({ stream: _, text, ...it }) => ({ ...it, text: text.slice(0, SHOWN_MAX) })),
  };
}
