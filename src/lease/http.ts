/**
 * HTTP to an engine, by the few parts of undici that this needs (the whole costs 10 MB more): kept-alive connections, a limit of
 * time that destroys them, and answers that go on and on, line by line. Nothing is tried twice.
 */
import type { Dispatcher } from 'undici';
import Pool from 'undici/lib/dispatcher/pool.js';
import { closedTrouble, lateTrouble, socketTrouble } from './trouble.ts';
import type { LeaseTls, LeaseUrl } from './url.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

export interface HttpStream {
  /** The status has come; 200 or not. */
  onOpen(status: number): void;
  onLine(line: string): void;
  onEnd(): void;
}

export interface Http {
  /** Rejects with LeaseIoError or LeaseConfigError; any status is an answer. */
  call(request: HttpRequest, ms: number): Promise<HttpAnswer>;
  /** On a connection of its own. Returns what ends it, after which nothing is told. */
  stream(request: HttpRequest, told: HttpStream): () => void;
  close(): Promise<void>;
}

/** A record has less than 1 KiB; an answer that tells of it, a few. */
const ANSWER_BYTES_MAX = 1024 * 1024;
const CALLS_AT_ONCE_MAX = 4;
/** Longer than any pause between two renewals. */
const KEEP_ALIVE_MS = 60_000;
/** A watch may be silent for long; this finds out that the other side is gone. */
const PROBE_AFTER_MS = 10_000;

interface Line {
  readonly pool: Pick<Dispatcher, 'dispatch' | 'destroy'>;
  /** Destroys its sockets, those that are being connected too. */
  readonly cut: AbortController;
}

/** `tls` is asked for each new set of connections. */
export function openHttp(url: LeaseUrl, origin: string, tls: () => LeaseTls): Http {
  let calls: Line | null = null;
  let closed = false;
  const streams = new Set<() => void>();
  const ending = new Set<Promise<unknown>>();

  function open(connections: number): Line {
    const cut = new AbortController();
    const pool = new Pool(origin, {
      connections,
      pipelining: 1,
      // Its own clocks tick twice a second.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      connect: {
        ...(tls() as object),
        timeout: 0,
        keepAlive: true,
        keepAliveInitialDelay: PROBE_AFTER_MS,
        signal: cut.signal,
      },
    });
    return { pool, cut };
  }

  function end({ pool, cut }: Line): void {
    cut.abort();
    const over = pool.destroy().catch(() => {});
    ending.add(over);
    over.finally(() => ending.delete(over));
  }

  function dispatch(line: Line, request: HttpRequest, handler: Dispatcher.DispatchHandler): void {
    const { method, path, headers, body } = request;
    try {
      line.pool.dispatch({ method, path, headers, body: body ?? null }, handler);
    } catch (error) {
      handler.onResponseError?.(null as never, error as Error);
    }
  }

  return {
    call(request, ms) {
      return new Promise((resolve, reject) => {
        if (closed) return reject(closedTrouble(url));
        let line: Line;
        try {
          line = calls ??= open(CALLS_AT_ONCE_MAX);
        } catch (error) {
          return reject(error);
        }
        let sent = false;
        let status = 0;
        let bytes = 0;
        const chunks: Buffer[] = [];
        const fail = (error: Error): void => {
          clearTimeout(timer);
          // A new try gets a new connection, and reads the certificates again.
          if (calls === line) calls = null;
          end(line);
          reject(error);
        };
        const timer = setTimeout(() => fail(lateTrouble(url, ms, sent)), ms);
        dispatch(line, request, {
          onRequestStart: () => {
            sent = true;
          },
          onResponseStart(_controller, code) {
            status = code;
          },
          onResponseData(controller, chunk) {
            bytes += chunk.length;
            if (bytes > ANSWER_BYTES_MAX) controller.abort(new Error('an answer of more than 1 MiB'));
            else chunks.push(chunk);
          },
          onResponseEnd() {
            clearTimeout(timer);
            resolve({ status, text: Buffer.concat(chunks).toString() });
          },
          onResponseError: (_controller, error) =>
            fail(closed ? closedTrouble(url) : socketTrouble(url, error, sent)),
        });
      });
    },
    stream(request, told) {
      let over = false;
      let line: Line | null = null;
      let rest = '';
      const decoder = new TextDecoder();
      const finish = (): void => {
        if (over) return;
        over = true;
        streams.delete(finish);
        if (line) end(line);
      };
      const finishAndTell = (): void => {
        if (over) return;
        finish();
        told.onEnd();
      };
      try {
        if (!closed) line = open(1);
      } catch {
        // The calls tell what is wrong.
      }
      if (!line) {
        setImmediate(finishAndTell);
        return finish;
      }
      streams.add(finish);
      dispatch(line, request, {
        onRequestStart: () => {},
        onResponseStart: (_controller, status) => over || told.onOpen(status),
        onResponseData(_controller, chunk) {
          const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
          rest = lines.pop() ?? '';
          if (rest.length > ANSWER_BYTES_MAX) return finishAndTell();
          for (const text of lines) if (!over && text !== '') told.onLine(text);
        },
        onResponseEnd: finishAndTell,
        onResponseError: finishAndTell,
      });
      return finish;
    },
    async close() {
      closed = true;
      for (const finish of streams) finish();
      if (calls) end(calls);
      calls = null;
      await Promise.all(ending);
    },
  };
}
