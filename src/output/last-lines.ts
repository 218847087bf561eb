/**
 * The last lines of a run, singlepoll's own and its workers', in one ring: for the report of a crash and for those who watch. It also
 * cuts a worker's output into lines, for the log and for who looks for a phrase in them. Bounded, however much is printed.
 */
import { LIVE_LINES, type LiveLine } from '../supervisor/status.ts';
import { maskText } from './mask.ts';
import { plain } from './plain.ts';

export type LastLines = ReturnType<typeof createLastLines>;
/** The lines of one stream of one worker, as printed. */
export type StreamLines = ReturnType<LastLines['stream']>;
export type OutputName = Exclude<LiveLine['from'], 'singlepoll'>;

/** A line is broken where it is longer. */
export const LINE_BYTES_MAX = 32 * 1024;
/** So much of a line is kept, and so much of that is shown to those who watch. */
const KEPT_MAX = 4096;
const SHOWN_MAX = 400;
/** More than is shown: a crash is reported by the last worker's lines alone. */
const LINES_MAX = 2 * LIVE_LINES;

type Kept = LiveLine & { readonly stream: object | null };

export function createLastLines(tokens: readonly string[]) {
  let kept: Kept[] = [];

  /** The last of these lines in place of `before`. */
  function keep(lines: readonly Kept[], before?: Kept): void {
    kept = [...kept.filter((it) => it !== before), ...lines].slice(-LINES_MAX);
  }

  return {
    /** Words of ours, but no heartbeat: whoever watches sees the same, always fresh. */
    said(tag: string, text: string, level: LiveLine['level'] = 'info'): void {
      const shown = plain(maskText(text, tokens), SHOWN_MAX);
      const at = new Date().toISOString();
      if (tag !== 'hb') keep([{ at, from: 'singlepoll', tag, level, text: shown, stream: null }]);
    },
    /** Begins the lines of a new worker. */
    stream(from: OutputName) {
      let unfinished = '';
      let open: Kept | undefined;
      const stream = {};

      /** Copies: a part of a text would keep all of it in memory. */
      function linesOf(text: string): Kept[] {
        const at = new Date().toISOString();
        const lines = Buffer.from(text, 'latin1').toString().split('\n');
        return lines.map((line) => {
          const text = line.slice(0, KEPT_MAX).replace(/\r$/, '');
          return { at, from, tag: null, level: 'info', text, stream };
        });
      }

      /** What has ended, and what has not: the latter is replaced by the next. */
      function take(ended: string | null, rest: string): string | null {
        let begin = ended?.length ?? 0;
        for (let n = 0; n < LINES_MAX && begin > 0; n++) begin = ended!.lastIndexOf('\n', begin - 1);
        const lines = ended === null ? [] : linesOf(ended.slice(begin > 0 ? begin + 1 : 0));
        const [next] = rest === '' ? [] : linesOf(rest.slice(0, KEPT_MAX));
        keep(next ? [...lines, next] : lines, open);
        [unfinished, open] = [rest, next];
        return ended;
      }

      return {
        /**
         * Takes the next bytes and keeps no reference to them. Returns the lines that have ended with them as one text without the
         * last newline, a latin1 character for each byte; null: none has.
         */
        add(bytes: Buffer): string | null {
          const text = unfinished + bytes.toString('latin1');
          const end = text.lastIndexOf('\n');
          const rest = text.slice(end + 1);
          if (rest.length > LINE_BYTES_MAX) return take(text, '');
          return take(end < 0 ? null : text.slice(0, end), rest);
        },
        /** Ends the last line where it has no end yet, and returns it. */
        end: (): string | null => take(unfinished === '' ? null : unfinished, ''),
        isUnfinished: () => unfinished !== '',
        /** The last ones, oldest first, the unfinished one included. */
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
