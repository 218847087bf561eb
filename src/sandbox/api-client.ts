/**
 * The smallest Bot API client that keeps its connection: what the sample bots and the rehearsed rival poll with.
 * It never retries and never prints; a body that is no JSON comes back as null.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

export interface ApiReply {
  readonly status: number;
  readonly ok: boolean;
  readonly result: unknown;
  /** Empty where the body had none. */
  readonly description: string;
  /** Seconds, from a 429; else 0. */
  readonly retryAfter: number;
}

export interface ApiClient {
  /** One POST. Rejects on network trouble, after `timeoutMs` without an answer, and when `signal` aborts. */
  call(method: string, params: object, timeoutMs: number, signal?: AbortSignal): Promise<ApiReply>;
  /** Drops the kept connections. */
  close(): void;
}

export function createApiClient(root: string, token: string): ApiClient {
  const secure = root.startsWith('https:');
  const agent = secure
    ? new HttpsAgent({ keepAlive: true, maxSockets: 4 })
    : new HttpAgent({ keepAlive: true, maxSockets: 4 });
  const send = secure ? httpsRequest : httpRequest;
  const base = `${root.replace(/\/+$/, '')}/bot${token}/`;

  return {
    call: (method, params, timeoutMs, signal) =>
      new Promise((resolve, reject) => {
        const body = JSON.stringify(params);
        const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
        const request = send(base + method, { method: 'POST', agent, headers, ...(signal && { signal }) });
        const timer = setTimeout(() => request.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
        const fail = (error: Error): void => {
          clearTimeout(timer);
          reject(error);
        };
        request.on('error', fail);
        request.on('response', (response) => {
          const chunks: Buffer[] = [];
          response.on('error', fail);
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => {
            clearTimeout(timer);
            resolve(replyOf(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8')));
          });
        });
        request.end(body);
      }),
    close: () => agent.destroy(),
  };
}

function replyOf(status: number, text: string): ApiReply {
  let body: {
    ok?: unknown;
    result?: unknown;
    description?: unknown;
    parameters?: { retry_after?: unknown };
  } = {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null) body = parsed;
  } catch {
    // A front end answers in HTML; the status says enough.
  }
  return {
    status,
    ok: body.ok === true,
    result: body.result ?? null,
    description: typeof body.description === 'string' ? body.description : '',
    retryAfter: Number(body.parameters?.retry_after ?? 0),
  };
}
