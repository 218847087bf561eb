/**
 * Bytes of answers: the Bot API's JSON with its headers, the bare statuses, and what faults send instead.
 * Source: tdlib/telegram-bot-api HttpConnection::send_response; tdlib/td HttpConnectionBase (unreadable requests).
 */
import type { ServerResponse } from 'node:http';
import type { Fault } from './faults.ts';

/** An answer with the headers that the server sends: JSON for a string, a download for bytes; `retryAfter` in seconds. */
export function send(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  retryAfter?: number,
): void {
  const keepAlive = response.req.headers.connection?.toLowerCase() !== 'close';
  response.writeHead(status, {
    'Content-Type': typeof body === 'string' ? 'application/json' : 'application/octet-stream',
    'Content-Length': Buffer.byteLength(body),
    Connection: keepAlive ? 'keep-alive' : 'close',
    ...(retryAfter !== undefined && { 'Retry-After': retryAfter }),
  });
  response.end(body);
}

/** What the server does with a request that it cannot read: a bare status, and the connection ends. */
export function sendEmpty(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'Content-Length': 0, Connection: 'close' });
  response.end();
}

/** HTTP status that a fault answers. */
export function faultStatus(fault: Fault): number {
  if (fault.kind === 'retry-after') return 429;
  return fault.kind === 'garbage' ? 200 : (fault.status ?? 502);
}

/** Answers `status`, `html`, `garbage` and `retry-after` faults. */
export function sendFault(response: ServerResponse, fault: Fault): void {
  const status = faultStatus(fault);
  if (fault.kind === 'html') {
    const page = `<html>\r\n<head><title>${status}</title></head>\r\n<body>\r\n<center><h1>${status}</h1></center>\r\n</body>\r\n</html>\r\n`;
    response.writeHead(status, { 'Content-Type': 'text/html', 'Content-Length': Buffer.byteLength(page) });
    response.end(page);
    return;
  }
  if (fault.kind === 'garbage') {
    send(response, status, '{"ok":true,"result":[{"update_id":\u0000');
    return;
  }
  const retryAfter = fault.kind === 'retry-after' ? (fault.retryAfter ?? 1) : undefined;
  const description =
    retryAfter === undefined ? FAULT_TEXTS[status] : `Too Many Requests: retry after ${retryAfter}`;
  const body = {
    ok: false,
    error_code: status,
    description: description ?? 'Internal Server Error',
    ...(retryAfter !== undefined && { parameters: { retry_after: retryAfter } }),
  };
  send(response, status, JSON.stringify(body), retryAfter);
}

const FAULT_TEXTS: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict: terminated by other getUpdates request; make sure that only one bot instance is running',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};
