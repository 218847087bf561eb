/**
 * Carries one call of the worker to the Bot API and its answer back, unchanged. What is small goes whole, each way in one
 * piece, which takes half the time; what is big or of unknown length is streamed.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { downstreamHeaders, upstreamHeaders } from './headers.ts';
import { endBehind, errorBody, writeJsonHead } from './reply.ts';

export interface RelayOptions {
  readonly to: Pick<Dispatcher, 'dispatch'>;
  readonly path: string;
  /** The request's body where it has been read already. */
  readonly body?: Buffer;
  /** Called once, when the answer has begun (or the failure that took its place). */
  readonly onStatus?: (status: number, problem: string | null) => void;
  /** Called with each piece of a big body, either way, when it has been passed on. */
  readonly onStreamed: (bytes: number) => void;
}

/** More is streamed. */
const WHOLE_BYTES_MAX = 64 * 1024;

export function relay(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  const bytes = bodyBytes(request);
  if (options.body || bytes === 0) {
    dispatch(request, response, options, options.body ?? null);
  } else if (bytes > WHOLE_BYTES_MAX) {
    dispatch(request, response, options, pieces(request, options.onStreamed));
  } else {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => dispatch(request, response, options, joined(chunks)));
  }
}

function dispatch(
  request: IncomingMessage,
  response: ServerResponse,
  options: RelayOptions,
  body: Buffer | Readable | null,
): void {
  const carriage = new Carriage(response, body, options);
  try {
    options.to.dispatch(
      {
        method: request.method as Dispatcher.HttpMethod,
        path: options.path,
        headers: upstreamHeaders(request.rawHeaders),
        body,
      },
      carriage,
    );
  } catch (error) {
    carriage.fail(error as Error);
  }
}

/** The way back. */
class Carriage implements Dispatcher.DispatchHandler {
  private controller: Dispatcher.DispatchController | null = null;
  private over = false;
  private head: { status: number; headers: string[] } | null = null;
  /** Of an answer that is kept until it is complete; null: it is streamed. */
  private chunks: Buffer[] | null = null;

  constructor(
    private readonly response: ServerResponse,
    private readonly body: Buffer | Readable | null,
    private readonly options: RelayOptions,
  ) {
    response.on('close', () => {
      if (this.over) return;
      this.over = true;
      this.controller?.abort(new Error('the worker left'));
    });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.over) controller.abort(new Error('the worker left'));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 100) return void controller.abort(new Error(`no HTTP status: ${status}`));
    if (status < 200) return;
    const raw = (controller as { rawHeaders?: readonly (string | Buffer)[] | null }).rawHeaders ?? [];
    this.head = { status, headers: downstreamHeaders(raw) };
    this.options.onStatus?.(status, null);
    if (Number(headers['content-length'] ?? Number.POSITIVE_INFINITY) <= WHOLE_BYTES_MAX) this.chunks = [];
    else this.writeHead();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.chunks) {
      this.chunks.push(chunk);
      return;
    }
    this.options.onStreamed(chunk.length);
    if (this.response.write(chunk) || this.over) return;
    controller.pause();
    this.response.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    if (this.over) return;
    this.over = true;
    endSoon(this);
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.fail(error);
  }

  end(): void {
    if (this.chunks) this.writeHead();
    this.endBehind(this.chunks ? joined(this.chunks) : '');
  }

  fail(error: Error): void {
    if (this.over) return;
    this.over = true;
    // undici's errors name hosts and codes, never paths.
    const problem = (error as NodeJS.ErrnoException).code ?? error.message;
    this.options.onStatus?.(502, problem);
    if (this.response.headersSent) {
      this.response.destroy();
      return;
    }
    const body = errorBody(502, `Bad Gateway: singlepoll could not reach the Bot API (${problem})`);
    writeJsonHead(this.response, 502, body);
    this.endBehind(body);
  }

  private endBehind(body: Buffer | string): void {
    // What is left of an upload is not for undici any more.
    if (this.body instanceof Readable) this.body.destroy();
    endBehind(this.response, body);
  }

  drop(error: Error): void {
    this.response.destroy(error);
  }

  private writeHead(): void {
    if (!this.head || this.response.destroyed) return;
    // Without the reason phrase, which nobody reads and which may hold any byte.
    const { status, headers } = this.head;
    this.response.sendDate = false;
    this.response.writeHead(status, headers);
  }
}

let ending: Carriage[] = [];

/**
 * Answers that arrive together leave together: the first write wakes the worker, which costs more than all else about it; the
 * others find it awake.
 */
function endSoon(carriage: Carriage): void {
  if (ending.push(carriage) > 1) return;
  setImmediate(() => {
    const all = ending;
    ending = [];
    for (const each of all) {
      try {
        each.end();
      } catch (error) {
        // A header that Node does not write, for one: this answer is lost, not the others.
        each.drop(error as Error);
      }
    }
  });
}

/** In a stream of its own, since undici destroys one that it has no more use for, and its connection with it. */
function pieces(request: IncomingMessage, onStreamed: (bytes: number) => void): Readable {
  const take = (chunk: Buffer) => {
    onStreamed(chunk.length);
    if (!body.push(chunk)) request.pause();
  };
  const body = new Readable({
    read: () => void request.resume(),
    destroy(error, done) {
      request.off('data', take);
      done(error);
    },
  });
  body.on('error', () => {});
  // Not yet: undici begins to read once it has a connection.
  request.pause();
  request.on('data', take);
  request.on('end', () => body.push(null));
  request.on('close', () => {
    if (!request.complete) body.destroy(new Error('the worker left'));
  });
  return body;
}

/** Infinite where only its end will tell. */
function bodyBytes({ headers }: IncomingMessage): number {
  if (headers['transfer-encoding'] !== undefined) return Number.POSITIVE_INFINITY;
  return Number(headers['content-length'] ?? 0);
}

function joined(chunks: readonly Buffer[]): Buffer {
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
