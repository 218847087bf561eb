/** One getUpdates upstream: begun, read whole, or given up. */
import type { Dispatcher } from 'undici';
import type { Answer } from './landing.ts';

export interface Flight {
  /** Ends it: its connection is closed before `onEnd` is called with null. */
  abort(): void;
}

export interface FlightRequest {
  readonly path: string;
  readonly body: string;
  readonly userAgent: string | undefined;
  /** Asked when the connection is there, which may be long after it was begun (a machine that slept). */
  readonly mayGo: () => boolean;
  /** It goes out now: from here on whoever polls too loses the poll. */
  readonly onSent: () => void;
}

/** Normally it takes no time at all. */
const ABORT_TOLD_MS = 1_000;
/** A hundred updates have some hundred KB. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;

export function fly(
  to: Pick<Dispatcher, 'dispatch'>,
  { path, body, userAgent, mayGo, onSent }: FlightRequest,
  onEnd: (answer: (Answer & { readonly headers: readonly (string | Buffer)[] }) | Error | null) => void,
): Flight {
  let controller: Dispatcher.DispatchController | null = null;
  let aborted = false;
  let ended = false;
  let status = 0;
  let bytes = 0;
  let headers: readonly (string | Buffer)[] = [];
  const chunks: Buffer[] = [];

  function end(answer: Parameters<typeof onEnd>[0]): void {
    if (ended) return;
    ended = true;
    onEnd(aborted ? null : answer);
  }

  const request: Dispatcher.DispatchOptions = {
    method: 'POST',
    path,
    headers: [
      ...['content-type', 'application/x-www-form-urlencoded'],
      ...(userAgent === undefined ? [] : ['user-agent', userAgent]),
    ],
    body,
  };
  try {
    to.dispatch(request, {
      onRequestStart(started) {
        controller = started;
        if (!mayGo()) aborted = true;
        // Given up before it was sent: now it never is.
        if (aborted) started.abort(new Error('given up'));
        else onSent();
      },
      onResponseStart(started, code) {
        status = code;
        headers = (started as { rawHeaders?: readonly (string | Buffer)[] | null }).rawHeaders ?? [];
      },
      onResponseData(started, chunk) {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) started.abort(new Error('an answer of more than 32 MiB'));
        else chunks.push(chunk);
      },
      onResponseEnd: () => end({ status, body: Buffer.concat(chunks), headers }),
      onResponseError: (_started, error) => end(error),
    });
  } catch (error) {
    // The caller is still in the midst of deciding.
    setImmediate(end, error as Error);
  }

  return {
    abort() {
      if (aborted || ended) return;
      aborted = true;
      if (controller) {
        controller.abort(new Error('given up'));
        // Its connection is closed now. Should nobody say so, the polls must go on all the same.
        setTimeout(end, ABORT_TOLD_MS, null).unref();
      }
      // Not on its way yet, and never will be.
      else setImmediate(end, null);
    },
  };
}
