/**
 * The last lines of a run, singlepoll's own and the worker's, for those who watch it. While nobody does, only our own words are kept, as
 * they came: a few references. The worker's lines are those of its tails then, and are put beside ours by the time of the last of
 * them. From the first watcher on every line has its own time.
 */
import { LIVE_LINES, type LiveLine } from '../core/live.ts';
import { maskText } from '../output/mask.ts';
import type { Level } from '../output/paint.ts';
import { plain } from '../output/plain.ts';

export type OutputName = Exclude<LiveLine['from'], 'singlepoll'>;

/** The last lines of one stream of one worker. */
export interface Block {
  readonly from: OutputName;
  /** When the last of it came, as performance.now(). */
  readonly lastMs: number;
  readonly lines: readonly string[];
}

export interface Recent {
  said(tag: string, text: string, level: Level | undefined): void;
  /** Whole lines of the worker's. Costs nothing while nobody watches. */
  printed(from: OutputName, text: string): void;
  /** What there is of the worker from before somebody watched. */
  before(blocks: () => readonly Block[]): void;
  /** Somebody watches; nobody does any more. */
  watched(yes: boolean): void;
  /** Oldest first, masked. */
  lines(): readonly LiveLine[];
}

const OWN_KEPT = 20;
const LINE_MAX = 400;
/** Whoever watches sees the same, always fresh. */
const NOT_KEPT: ReadonlySet<string> = new Set(['hb']);

interface Own {
  readonly atMs: number;
  readonly tag: string;
  readonly text: string;
  readonly level: Level | undefined;
}

export function createRecent(tokens: () => readonly string[]): Recent {
  const own: Own[] = [];
  let blocks: () => readonly Block[] = () => [];
  let live: LiveLine[] | null = null;
  /** The last lines in `live` that may have been cut in two by the moment at which it began. */
  let unfinished = new Map<OutputName, LiveLine>();

  const shown = ({ atMs, tag, text, level }: Own): LiveLine => ({
    at: isoTime(atMs),
    from: 'singlepoll',
    tag,
    level: level ?? 'info',
    text: plain(maskText(text, tokens()), LINE_MAX),
  });

  function seed(): LiveLine[] {
    const groups = own.map((it) => ({ atMs: it.atMs, lines: [shown(it)] }));
    unfinished = new Map();
    for (const { from, lastMs, lines } of blocks()) {
      const of = lines.map((text): LiveLine => output(from, text, null));
      groups.push({ atMs: lastMs, lines: of });
      const last = of.at(-1);
      if (last) unfinished.set(from, last);
    }
    return groups
      .sort((a, b) => a.atMs - b.atMs)
      .flatMap(({ lines }) => lines)
      .slice(-LIVE_LINES);
  }

  function keep(line: LiveLine): void {
    if (!live) return;
    live.push(line);
    if (live.length > LIVE_LINES) live.shift();
  }

  return {
    said(tag, text, level) {
      if (NOT_KEPT.has(tag)) return;
      const it = { atMs: performance.now(), tag, text, level };
      own.push(it);
      if (own.length > OWN_KEPT) own.shift();
      if (live) keep(shown(it));
    },
    printed(from, text) {
      if (!live) return;
      const at = isoTime(performance.now());
      const lines = lastLines(text, LIVE_LINES);
      const open = unfinished.get(from);
      unfinished.delete(from);
      if (open && lines[0] !== open.text && lines[0]?.startsWith(open.text))
        live = live.filter((it) => it !== open);
      for (const line of lines) keep(output(from, line, at));
    },
    before(known) {
      blocks = known;
    },
    watched(yes) {
      if (yes) live ??= seed();
      else live = null;
    },
    lines: () => live ?? seed(),
  };
}

/** A copy: a piece of a long text would keep all of it in memory. */
function output(from: OutputName, text: string, at: string | null): LiveLine {
  return { at, from, tag: null, level: 'info', text: Buffer.from(text.slice(0, LINE_MAX)).toString() };
}

function lastLines(text: string, max: number): string[] {
  const end = text.endsWith('\n') ? text.length - 1 : text.length;
  let start = end;
  for (let found = 0; found < max && start >= 0; found++)
    start = start > 0 ? text.lastIndexOf('\n', start - 1) : -1;
  return text.slice(start + 1, end).split('\n');
}

/** Of a performance.now(). */
function isoTime(ms: number): string {
  return new Date(Date.now() - performance.now() + ms).toISOString();
}
