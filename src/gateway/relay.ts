/**
 * Carries one call of the worker to the Bot API and its answer back, unchanged. What is small goes whole, each way in one
 * piece, which takes half the time; what is big or of unknown length is streamed.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { noteStreamed } from '../machine/garbage.ts';
import { downstreamHeaders, upstreamHeaders } from './headers.ts';
import { answerError } from './reply.ts';

export interface RelayOptions {
  readonly to: Pick<Dispatcher, 'dispatch'>;
  readonly path: string;
  /** The request's body where it has been read already. */
  readonly body?: Buffer;
  /** Called once, when the answer has begun (or the failure that took its place). */
  readonly onStatus?: (status: number, problem: string | null) => void;
}

/** More is streamed. */
const WHOLE_BYTES_MAX = 64 * 1024;

export function relay(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  const bytes = bodyBytes(request);
  if (options.body || bytes === 0) {
    dispatch(request, response, options, options.body ?? null);
  } else if (bytes > WHOLE_BYTES_MAX) {
    // Counted without being set flowing: that is undici's to do, once it has a connection.
    request.pause();
    request.on('data', (chunk: Buffer) => noteStreamed(chunk.length));
    dispatch(request, response, options, request);
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
  body: Buffer | IncomingMessage | null,
): void {
  const carriage = new Carriage(response, options.onStatus);
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
  private head: { status: number; text: string | undefined; headers: string[] } | null = null;
  /** Of an answer that is kept until it is complete; null: it is streamed. */
  private chunks: Buffer[] | null = null;

  constructor(
    private readonly response: ServerResponse,
    private readonly onStatus: RelayOptions['onStatus'],
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
    statusText?: string,
  ): void {
    if (status < 200) return;
    const raw = (controller as { rawHeaders?: readonly (string | Buffer)[] | null }).rawHeaders ?? [];
    this.head = { status, text: statusText, headers: downstreamHeaders(raw) };
    this.onStatus?.(status, null);
    if (Number(headers['content-length'] ?? Number.POSITIVE_INFINITY) <= WHOLE_BYTES_MAX) this.chunks = [];
    else this.writeHead();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.chunks) {
      this.chunks.push(chunk);
      return;
    }
    noteStreamed(chunk.length);
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
    if (!this.chunks) {
      this.response.end();
      return;
    }
    this.writeHead();
    this.response.end(joined(this.chunks));
  }

  fail(error: Error): void {
    if (this.over) return;
    this.over = true;
    // undici's errors name hosts and codes, never paths.
    const problem = (error as NodeJS.ErrnoException).code ?? error.message;
    this.onStatus?.(502, problem);
    if (this.response.headersSent) this.response.destroy();
    else answerError(this.response, 502, `Bad Gateway: singlepoll could not reach the Bot API (${problem})`);
  }

  private writeHead(): void {
    if (!this.head || this.response.destroyed) return;
    const { status, text, headers } = this.head;
    this.response.sendDate = false;
    if (text === undefined) this.response.writeHead(status, headers);
    else this.response.writeHead(status, text, headers);
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
    for (const each of all) each.end();
  });
}

/** Infinite where only its end will tell. */
function bodyBytes({ headers }: IncomingMessage): number {
  if (headers['transfer-encoding'] !== undefined) return Number.POSITIVE_INFINITY;
  return Number(headers['content-length'] ?? 0);
}

function joined(chunks: readonly Buffer[]): Buffer {
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
