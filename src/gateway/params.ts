/**
 * Reads a request to the Bot API like the server: target, query and body become one method and its parameters. The gateway builds every poll
 * from what is read here, so nothing else of a request reaches the API. Sources: tdlib/telegram-bot-api HttpConnection::handle, Query::arg,
 * Client::get_integer_arg, Client::to_bool; tdlib/td HttpReader.
 */
import type { IncomingMessage } from 'node:http';
import { unescape as percentDecode } from 'node:querystring';
import { parseObject } from '../config/files.ts';

type Route =
  | { readonly kind: 'api'; readonly token: string; readonly test: boolean; readonly method: string }
  | { readonly kind: 'file'; readonly token: string; readonly test: boolean; readonly path: string }
  | { readonly kind: 'control'; readonly path: string }
  | { readonly kind: 'none'; readonly description: string };

/** Splits a request target into its path (decoded, broken escapes stay) and its query (not decoded). */
export function splitTarget(target: string): { path: string; query: string } {
  const [, path = '', query = ''] = /^([^?#]*)(?:\?(.*))?/s.exec(target) ?? [];
  return { path: path.includes('%') ? percentDecode(path) : path, query };
}

const NOT_FOUND = { kind: 'none', description: 'Not Found' } as const;

export function routeOf(path: string): Route {
  if (!path.startsWith('/'))
    return { kind: 'none', description: 'Not Found: absolute URI is specified in the Request-Line' };
  if (path === '/sandbox' || path.startsWith('/sandbox/')) return { kind: 'control', path: path.slice(8) };
  const match = /^\/(file\/)?bot([^/]*)(\/test)?\/(.*)$/s.exec(path);
  if (!match) return NOT_FOUND;
  const [, file, token = '', test, rest = ''] = match;
  // `/test` directly before something other than a slash is refused, not taken for a method.
  if (test === undefined && rest.startsWith('test')) return NOT_FOUND;
  return file
    ? { kind: 'file', token, test: test !== undefined, path: rest }
    : { kind: 'api', token, test: test !== undefined, method: rest };
}

export interface UploadedFile {
  readonly field: string;
  readonly fileName: string;
  readonly contentType: string;
  readonly bytes: Buffer;
}

export interface Args {
  /** First value of `name`, or `''` if it is absent (the server does not distinguish the two). */
  get(name: string): string;
  add(name: string, value: string): void;
  entries(): Iterable<[string, string]>;
  readonly files: UploadedFile[];
}

export function createArgs(initial: Record<string, string> = {}): Args {
  const values = new Map<string, string>(Object.entries(initial));
  return {
    files: [],
    get: (name) => values.get(name) ?? '',
    add: (name, value) => {
      if (!values.has(name)) values.set(name, value);
    },
    entries: () => values.entries(),
  };
}

const INT32_MAX = 2_147_483_647;
const INT32_MIN = -2_147_483_648;

/** Leading digits with an optional minus, otherwise 0; the fallback for `''`; then clamped. Never fails. */
export function integerArg(
  args: Args,
  name: string,
  fallback: number,
  min = INT32_MIN,
  max = INT32_MAX,
): number {
  const text = args.get(name);
  const value = text === '' ? fallback : Number(/^-?\d+/.exec(text)?.[0] ?? 0);
  return Math.min(Math.max(value, min), max);
}

/** `true`, `yes`, `1`, trimmed, in any case; everything else is false. */
export function booleanArg(args: Args, name: string): boolean {
  return ['true', 'yes', '1'].includes(args.get(name).trim().toLowerCase());
}

function addFormParams(text: string, args: Args): void {
  for (const [name, value] of new URLSearchParams(text)) args.add(name, value);
}

/** Values that are no strings keep their JSON text. Like the server, it silently ignores a text that is no object. */
function addJsonParams(text: string, args: Args): void {
  const body = parseObject(text);
  for (const [name, value] of Array.isArray(body) ? [] : Object.entries(body ?? {}))
    args.add(name, typeof value === 'string' ? value : JSON.stringify(value));
}

/** The request can't be read and is answered with this status. */
export class UnreadableRequest extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

function addMultipart(body: Buffer, contentType: string, args: Args): void {
  const boundary = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType)?.slice(1).find(Boolean);
  if (boundary === undefined) throw new UnreadableRequest(400, 'boundary not found');
  const [, ...parts] = `\r\n${body.toString('latin1')}`.split(`\r\n--${boundary}`);
  for (const part of parts) {
    const end = part.indexOf('\r\n\r\n');
    if (part.startsWith('--') || end === -1) return;
    const head = Buffer.from(part.slice(0, end), 'latin1').toString('utf8');
    const field = (name: string) =>
      new RegExp(`[;\\s]${name}=(?:"([^"]*)"|([^;\\s]*))`, 'i').exec(head)?.slice(1).join('');
    const name = field('name');
    if (!name) throw new UnreadableRequest(400, 'field name in multipart/form-data not found');
    const bytes = Buffer.from(part.slice(end + 4), 'latin1');
    const fileName = field('filename');
    if (fileName === undefined) args.add(name, bytes.toString('utf8'));
    else {
      const contentType = /^content-type:\s*(.*)$/im.exec(head)?.[1] ?? 'application/octet-stream';
      args.files.push({ field: name, fileName, contentType, bytes });
    }
  }
}

/** Throws UnreadableRequest when the body is too big; rejects when the client goes away meanwhile. */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new UnreadableRequest(413, 'Request Entity Too Large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The parameters of a query and a body; a body of an unknown type is silently ignored. Throws UnreadableRequest. */
export function readArgs(query: string, body: Buffer, headers: IncomingMessage['headers']): Args {
  const args = createArgs();
  addFormParams(query, args);
  if (body.length === 0) return args;
  if (headers['content-encoding'])
    throw new UnreadableRequest(415, 'packed bodies (gzip, deflate) are not read');
  const type = headers['content-type'] ?? '';
  const lower = type.toLowerCase();
  if (lower.includes('multipart/form-data')) addMultipart(body, type, args);
  else if (lower.includes('application/x-www-form-urlencoded')) addFormParams(body.toString('utf8'), args);
  else if (lower.includes('application/json')) addJsonParams(body.toString('utf8'), args);
  return args;
}
