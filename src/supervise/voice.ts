/**
 * Where a run's own words and its worker's output go: to our stdout and stderr, to a log file, or to both; of a detached run to the
 * log, and its words also to who started it, until it is ready. Without a log file nothing of this is loaded.
 */
import type { Config } from '../config/load.ts';
import type { Log, LogFacts, LogStream } from '../log/log.ts';
import type { StreamName } from '../log/stamp.ts';
import type { Paint } from '../output/paint.ts';
import { createReport, type Report } from '../output/report.ts';
import type { Sink } from '../output/sink.ts';

export interface Voice {
  readonly report: Report;
  /** False: what the worker prints goes into the log alone. */
  readonly printsOutput: boolean;
  /** Begins to write the log; what was said before comes first. Where none is wanted, nothing happens. */
  openLog(path: string): Promise<void>;
  /** A new stream into the log, for the output of one worker; null: there is no log. */
  logStream(name: StreamName): LogStream | null;
  /** Null: there is no log. */
  logFacts(): LogFacts | null;
  /** Nobody listens any more but the log. */
  leaveStarter(): void;
}

export interface Starter {
  readonly sink: Sink;
  readonly paint: Paint;
}

type Format = Config['logFormat'];

/** `starter`: who waits for a detached run; null in the foreground, where `paint` is for our stderr. */
export function createVoice(
  { logFormat, logFile, logSize, logKeep }: Config,
  tokens: readonly string[],
  starter: Starter | null,
  paint: Paint,
): Voice {
  const words = starter
    ? createReport(logFormat, tokens, starter.paint, starter.sink)
    : createReport(logFormat, tokens, paint);
  if (!starter && logFile === null) {
    return {
      report: words,
      printsOutput: true,
      openLog: async () => {},
      logStream: () => null,
      logFacts: () => null,
      leaveStarter: () => {},
    };
  }
  let log: Log | null = null;
  let present: Report | null = words;
  const logged = loggedReport(logFormat, tokens);
  return {
    report: {
      line(...said) {
        present?.line(...said);
        logged.report.line(...said);
      },
      drained: async (ms) => await present?.drained(ms),
    },
    printsOutput: starter === null,
    async openLog(path) {
      if (log) return;
      const { openLog } = await import('../log/log.ts');
      log = openLog({ path, maxBytes: logSize, keep: logKeep });
      logged.begin(log.stream('singlepoll'));
      const { problem } = log.facts();
      if (problem !== null) present?.line('log', problem, 'warn');
    },
    logStream: (name) => log?.stream(name) ?? null,
    logFacts: () => log?.facts() ?? null,
    leaveStarter() {
      if (starter) present = null;
    },
  };
}

/** Keeps the lines until there is a log. */
function loggedReport(
  format: Format,
  tokens: readonly string[],
): { report: Report; begin: (stream: LogStream) => void } {
  let waiting: Buffer[] = [];
  let stream: LogStream | null = null;
  const sink: Sink = {
    write(bytes) {
      if (stream) stream.write(bytes);
      else waiting.push(bytes);
      return true;
    },
    onNote: () => {},
    droppedBytes: 0,
    close: () => {},
  };
  return {
    report: createReport(format, tokens, (_level, text) => text, sink),
    begin(opened) {
      stream = opened;
      for (const bytes of waiting) stream.write(bytes);
      waiting = [];
    },
  };
}
