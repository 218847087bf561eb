/** What the gateway says itself, in the Bot API's own shape (Query.cpp: ok, error_code, description). */
import type { ServerResponse } from 'node:http';

const JSON_TYPE = 'application/json';

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
