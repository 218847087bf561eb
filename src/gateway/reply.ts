/** What the gateway says itself, in the Bot API's own shape (Query.cpp: ok, error_code, description). */
import type { ServerResponse } from 'node:http';

const JSON_TYPE = 'application/json';
/** How long the rest of an upload that has been answered already is read and dropped. */
const LINGER_MS = 10_000;

export function answerJson(response: ServerResponse, status: number, body: Buffer | string): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** An empty description: no body at all, as the server answers what it does not read. */
export function answerError(response: ServerResponse, status: number, description: string): void {
  if (response.headersSent || response.destroyed) return;
  // What is still to come of this request is not read: the connection is of no more use.
  if (!response.req.complete) response.setHeader('connection', 'close');
  if (description === '') {
    response.writeHead(status, { connection: 'close', 'content-length': 0 });
    response.end();
    return;
  }
  answerJson(response, status, JSON.stringify({ ok: false, error_code: status, description }));
}

export const NO_UPDATES = '{"ok":true,"result":[]}';

/**
 * Ends an answer that may have come before the whole of its request: the rest is read and dropped. Before a connection is
 * closed this has to be over, since the system resets one that has unread bytes, and a reset overtakes the answer.
 */
export function endBehind(response: ServerResponse, body: Buffer | string = ''): void {
  const { req: request } = response;
  if (request.complete || response.shouldKeepAlive) {
    response.end(body);
    if (!request.complete) request.resume();
    return;
  }
  response.flushHeaders();
  if (body.length > 0) response.write(body);
  const end = () => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(end, LINGER_MS).unref();
  request.once('end', end);
  request.once('close', end);
  request.resume();
}
