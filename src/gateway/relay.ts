/** Carries one call of the worker to the Bot API and its answer back, streamed both ways, unchanged. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
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

export function relay(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  let controller: Dispatcher.DispatchController | null = null;
  let over = false;
  response.once('close', () => {
    if (over) return;
    over = true;
    controller?.abort(new Error('the worker left'));
  });

  function failed(error: Error): void {
    if (over) return;
    over = true;
    // undici's errors name hosts and codes, never paths.
    const problem = (error as NodeJS.ErrnoException).code ?? error.message;
    options.onStatus?.(502, problem);
    if (response.headersSent) response.destroy();
    else answerError(response, 502, `Bad Gateway: singlepoll could not reach the Bot API (${problem})`);
  }

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      controller = started;
      if (over) started.abort(new Error('the worker left'));
    },
    onResponseStart(started, status, _headers, statusText) {
      if (status < 200) return;
      const raw = (started as { rawHeaders?: readonly (string | Buffer)[] | null }).rawHeaders ?? [];
      options.onStatus?.(status, null);
      response.sendDate = false;
      response.writeHead(status, statusText, downstreamHeaders(raw));
    },
    onResponseData(started, chunk) {
      if (response.write(chunk) || over) return;
      started.pause();
      response.once('drain', () => started.resume());
    },
    onResponseEnd() {
      if (over) return;
      over = true;
      response.end();
    },
    onResponseError(_started, error) {
      failed(error);
    },
  };
  try {
    options.to.dispatch(
      {
        method: request.method as Dispatcher.HttpMethod,
        path: options.path,
        headers: upstreamHeaders(request.rawHeaders),
        body: options.body ?? (hasBody(request) ? request : null),
      },
      handler,
    );
  } catch (error) {
    failed(error as Error);
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
