/**
 * Where a run's own words and its worker's output go. Every line of talk is `[tag] text`, or one JSON object, and tokens are masked
 * once more here. In the foreground words go to stderr, the worker's output to the stream that it came from, and all of it to a log
 * file, too, where one is asked for; of a detached run all goes to the log, and its words also to who started it, until it is ready.
 * A closed or full stderr is never an error: the worker matters more than our words.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { isatty } from 'node:tty';
import type { Config } from '../config/load.ts';
import { LIVE_LINES, type LiveLine } from '../supervisor/status.ts';
import { createChanges } from './listeners.ts';
import type { Log, LogFacts } from './log.ts';
import { maskText } from './mask.ts';
import { plain } from './plain.ts';
import { type PumpOptions, startPump } from './pump.ts';
import { openSink, type Sink } from './sink.ts';
import { createWaitLine } from './wait-line.ts';
import { journalMarks, type Level, type Paint } from './words.ts';

export interface Report {
  /** `fields.hint`: the next command to type, on a line of its own. */
  line(tag: string, text: string, level?: Level, fields?: Readonly<Record<string, unknown>>): void;
  /** Waits (at most `ms`) until what was said has left. */
  drained(ms: number): Promise<void>;
}

type Said = Parameters<Report['line']>;
export type OutputName = Exclude<LiveLine['from'], 'singlepoll'>;
type Format = Config['logFormat'];

const WAITING_MAX = 500;
const SEARCHED_MAX = 8 * 1024;

/** Without a newline. */
function lineOf(
  format: Format,
  tokens: readonly string[],
  paint: Paint,
  [tag, text, level = 'info', fields]: Said,
): string {
  const clean = plain(maskText(text, tokens), 2_000);
  if (format === 'text') {
    const hints = typeof fields?.hint === 'string' ? fields.hint.split('\n') : [];
    const more = hints.map((hint) => `\n  → ${plain(maskText(hint, tokens), 1_000)}`);
    return `${paint('tag', `[${tag}]`)} ${paint(level, clean)}${more.join('')}`;
  }
  const record = { at: new Date().toISOString(), event: tag, level, message: clean, ...fields };
  return maskText(JSON.stringify(record), tokens);
}

export function createReport(format: Format, tokens: readonly string[], paint: Paint, sink: Sink): Report {
  let waiting = 0;
  const mark = journalMarks();
  return {
    line(...said) {
      // For a reader that has stopped reading, our own words are not worth the memory.
      if (waiting >= WAITING_MAX) return;
      waiting += 1;
      const text = `${mark(said[2] ?? 'info')}${lineOf(format, tokens, paint, said)}\n`;
      sink.write(Buffer.from(text), () => {
        waiting -= 1;
      });
    },
    drained(ms) {
      const all = new Promise<void>((resolve) => sink.write(Buffer.alloc(0), resolve));
      return Promise.race([all, pause(ms, undefined, { ref: false })]);
    },
  };
}

export type RunOutput = ReturnType<typeof openRunOutput>;
export type WorkerOutput = ReturnType<RunOutput['pump']>;

/** `starter`: the way to whoever waits for a detached run; null in the foreground. `paint` is for there, or for our stderr. */
export function openRunOutput(
  { logFormat, logFile, logSize, logKeep }: Config,
  tokens: readonly string[],
  starter: Sink | null,
  paint: Paint,
) {
  const note = (text: string, level: Level) => report.line('output', text, level);
  const way = starter ?? openSink(2, note);
  const waitLine = createWaitLine(logFormat === 'text' && !starter ? way : null, paint);
  const err = waitLine.beside(way);
  const out = () => (isatty(1) ? waitLine.beside(openSink(1, note)) : openSink(1, note));
  const sinks = starter ? null : { out: out(), err };
  let listener: Report | null = createReport(logFormat, tokens, paint, err);
  const isLogged = starter !== null || logFile !== null;
  let log: Log | null = null;
  /** What was said before there is a log. */
  const early: string[] = [];
  const recent = createLastLines(tokens);
  const report: Report = {
    line(...said) {
      listener?.line(...said);
      recent.said(said[0], said[1], said[2]);
      changes.touch();
      if (!isLogged) return;
      const text = Buffer.from(lineOf(logFormat, tokens, (_level, it) => it, said)).toString('latin1');
      if (log) log.write('singlepoll', text);
      else early.push(text);
    },
    drained: async (ms) => await listener?.drained(ms),
  };
  const changes = createChanges(report);
  return {
    ...{ report, recent },
    /** Touched by whatever is said, and by the worker's output. */
    changes,
    /** What is waited for, where stderr is a terminal. */
    waitLine,
    /** False: the worker's output goes to the log alone. */
    showsWorker: sinks !== null,
    /** Carries one stream of a worker to where it belongs; `onLines`: see pump.ts. */
    pump(from: OutputName, { onLines, ...options }: Pick<PumpOptions, 'source' | 'tokens' | 'onLines'>) {
      const lines = recent.stream(from);
      const pump = startPump({
        ...{ ...options, sink: sinks?.[from] ?? null },
        onLines(text) {
          lines.add(text);
          log?.write(from, text);
          // A phrase that is looked for stands again and again in a flood, so its end is enough.
          onLines(text.slice(-SEARCHED_MAX));
          changes.touch();
        },
      });
      return { ...pump, texts: lines.texts };
    },
    /** Begins to write the log; what was said before comes first. */
    async openLog(path: string): Promise<void> {
      if (log || !isLogged) return;
      // Without a log file nothing of it is loaded.
      const { openLog } = await import('./log.ts');
      log = openLog({ path, maxBytes: logSize, keep: logKeep });
      for (const text of early.splice(0)) log.write('singlepoll', text);
      const { problem } = log.facts();
      if (problem !== null) listener?.line('log', problem, 'warn');
    },
    logFacts: (): LogFacts | null => log?.facts() ?? null,
    /** Nobody listens any more but the log. */
    leaveStarter(): void {
      if (starter) listener = null;
    },
  };
}

/** How many characters of a line are kept, and how many of those are shown to whoever watches. */
const KEPT_MAX = 4096;
const SHOWN_MAX = 400;
/** More than is shown: a crash is reported by the last worker's lines alone. */
const LINES_MAX = 2 * LIVE_LINES;

type Kept = LiveLine & { readonly stream: object | null };

/** The last lines of a run, singlepoll's own and its workers', in one ring: for the report of a crash and for those who watch. */
export function createLastLines(tokens: readonly string[]) {
  let kept: Kept[] = [];

  function keep(lines: readonly Omit<Kept, 'at'>[]): void {
    const at = new Date().toISOString();
    kept = [...kept, ...lines.map((line) => ({ ...line, at }))].slice(-LINES_MAX);
  }

  return {
    /** Takes words of ours, except the heartbeat: whoever watches sees the same in the rows above, always fresh. */
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
