/**
 * Where a run's own words and its worker's output go: to our stdout and stderr, to a log file, or to both; of a detached run to the
 * log, and its words also to who started it, until it is ready. Without a log file nothing of that is loaded.
 */
import type { Config } from '../config/load.ts';
import type { OutputName } from './last-lines.ts';
import type { Log, LogFacts, LogStream } from './log.ts';
import { createReport, type Report } from './report.ts';
import { openSink, type Sink } from './sink.ts';
import type { Paint } from './words.ts';

export interface RunOutput {
  readonly report: Report;
  /** Where the worker's output goes beside the log; null: nowhere else. Open as long as we are. */
  readonly sinks: Readonly<Record<OutputName, Sink>> | null;
  /** Begins to write the log; what was said before comes first. */
  openLog(path: string): Promise<void>;
  /** A new stream into the log, for the output of one worker; null: there is no log. */
  logStream(name: OutputName): LogStream | null;
  /** Null: there is no log. */
  logFacts(): LogFacts | null;
  /** Nobody listens any more but the log. */
  leaveStarter(): void;
}

export interface Starter {
  readonly sink: Sink;
  readonly paint: Paint;
}

/** `starter`: who waits for a detached run; null in the foreground, where `paint` is for our stderr. */
export function openRunOutput(
  { logFormat, logFile, logSize, logKeep }: Config,
  tokens: readonly string[],
  starter: Starter | null,
  paint: Paint,
): RunOutput {
  const sinks = starter ? null : { out: openSink(1), err: openSink(2) };
  const isLogged = starter !== null || logFile !== null;
  let listener: Report | null = createReport(
    logFormat,
    tokens,
    starter?.paint ?? paint,
    starter?.sink ?? sinks?.err,
  );
  let log: Log | null = null;
  /** Into the log; what is said before there is one waits for it. */
  let waiting: Buffer[] = [];
  let logged: LogStream = { write: (bytes) => void waiting.push(bytes), end: () => {} };
  const logSink: Sink = {
    write(bytes) {
      logged.write(bytes);
      return true;
    },
    onNote: () => {},
    droppedBytes: 0,
    close: () => {},
  };
  const intoLog = isLogged ? createReport(logFormat, tokens, (_level, text) => text, logSink) : null;
  return {
    report: {
      line(...said) {
        listener?.line(...said);
        intoLog?.line(...said);
      },
      drained: async (ms) => await listener?.drained(ms),
    },
    sinks,
    async openLog(path) {
      if (log || !isLogged) return;
      const { openLog } = await import('./log.ts');
      log = openLog({ path, maxBytes: logSize, keep: logKeep });
      logged = log.stream('singlepoll');
      for (const bytes of waiting) logged.write(bytes);
      waiting = [];
      const { problem } = log.facts();
      if (problem !== null) listener?.line('log', problem, 'warn');
    },
    logStream: (name) => log?.stream(name) ?? null,
    logFacts: () => log?.facts() ?? null,
    leaveStarter() {
      if (starter) listener = null;
    },
  };
}
