/**
 * Reads a request to the Bot API exactly as the server does, for the gateway and the sandbox: target, query and body become one
 * method and its parameters. A difference from the server would be a hole: a poll could pass unseen.
 * Sources: tdlib/telegram-bot-api HttpConnection::handle, Query::arg, Client::get_integer_arg, Client::to_bool;
 * tdlib/td HttpReader (parse_url, urldecode, parse_parameters, parse_json_parameters, parse_multipart_form_data), to_integer.
 */
import type { IncomingMessage } from 'node:http';

export type Route =
  | { readonly kind: 'api'; readonly token: string; readonly test: boolean; readonly method: string }
  | { readonly kind: 'file'; readonly token: string; readonly test: boolean; readonly path: string }
  | { readonly kind: 'control'; readonly path: string }
  | { readonly kind: 'none'; readonly description: string };

/** Percent-decodes bytes; a broken escape stays as it is. */
export function percentDecode(text: string, plusIsSpace: boolean): string {
  const spaced = plusIsSpace ? text.replaceAll('+', ' ') : text;
  if (!spaced.includes('%')) return spaced;
  const bytes = Buffer.from(spaced, 'utf8').toString('latin1');
  const decoded = bytes.replace(/%([\da-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(decoded, 'latin1').toString('utf8');
}

/** Splits a request target into its path (decoded) and its query (not decoded); a fragment ends the path only. */
export function splitTarget(target: string): { path: string; query: string } {
  const end = target.search(/[?#]/);
  if (end === -1) return { path: percentDecode(target, false), query: '' };
  return {
    path: percentDecode(target.slice(0, end), false),
    query: target[end] === '?' ? target.slice(end + 1) : '',
  };
}

const NOT_FOUND = { kind: 'none', description: 'Not Found' } as const;

/** Says what a decoded path asks for. */
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
  /** First value of `name`, or `''` where it is absent (the server does not tell the two apart). */
  get(name: string): string;
  has(name: string): boolean;
  add(name: string, value: string): void;
  entries(): Iterable<[string, string]>;
  readonly files: UploadedFile[];
}

export function createArgs(initial: Record<string, string> = {}): Args {
  const values = new Map<string, string>(Object.entries(initial));
  return {
    files: [],
    get: (name) => values.get(name) ?? '',
    has: (name) => values.has(name),
    add: (name, value) => {
      if (!values.has(name)) values.set(name, value);
    },
    entries: () => values.entries(),
  };
}

const INT32_MAX = 2_147_483_647;
const INT32_MIN = -2_147_483_648;

/** Leading digits with an optional minus, else 0; `''` is the fallback; then clamped. Never fails. */
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

export function addFormParams(text: string, args: Args): void {
  if (text === '') return;
  for (const pair of text.split('&')) {
    const equals = pair.indexOf('=');
    const name = equals === -1 ? pair : pair.slice(0, equals);
    args.add(percentDecode(name, true), equals === -1 ? '' : percentDecode(pair.slice(equals + 1), true));
  }
}

const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const SCALAR = /-?\d[\d.eE+-]*|true|false|null/y;
const DEPTH_MAX = 100;

/** Adds what can be read of `text` to `args`; never throws. */
export function addJsonParams(text: string, args: Args): void {
  let at = 0;
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    if (found !== null) at += found.length;
    return found;
  };
  const skip = (char: string): boolean => {
    if (text[at] !== char) return false;
    at++;
    return true;
  };
  const string = (): string | null => {
    const quoted = match(STRING);
    if (quoted === null) return null;
    try {
      const safe = quoted.replace(
        /[\u0000-\u001f]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
      return JSON.parse(safe) as string;
    } catch {
      return null;
    }
  };
  /** Passes over one value; false where there is none. */
  const value = (depth: number): boolean => {
    if (depth > DEPTH_MAX) return false;
    if (text[at] === '"') return match(STRING) !== null;
    const close = text[at] === '{' ? '}' : text[at] === '[' ? ']' : null;
    if (close === null) return match(SCALAR) !== null;
    at++;
    for (match(SPACE); !skip(close); match(SPACE)) {
      if (close === '}') {
        if (match(STRING) === null) return false;
        match(SPACE);
        if (!skip(':')) return false;
        match(SPACE);
      }
      if (!value(depth + 1)) return false;
      match(SPACE);
      if (text[at] !== close && !skip(',')) return false;
    }
    return true;
  };

  match(SPACE);
  if (text[at] === '"') {
    const content = string();
    if (content !== null && at === text.length) args.add('content', content);
    return;
  }
  if (!skip('{')) return;
  for (match(SPACE); at < text.length && !skip('}'); match(SPACE)) {
    const name = string();
    match(SPACE);
    if (name === null || !skip(':')) return;
    match(SPACE);
    const start = at;
    if (text[at] === '"') {
      const content = string();
      if (content === null) return;
      args.add(name, content);
    } else {
      if (!value(0)) return;
      args.add(name, text.slice(start, at));
    }
    match(SPACE);
    if (text[at] !== '}' && !skip(',')) return;
  }
}

/** The server cannot read the request: it answers this status with an empty body and closes the connection. */
export class UnreadableRequest extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'UnreadableRequest';
    this.status = status;
  }
}

const BOUNDARY_MAX = 70;
const FILES_MAX = 100;

function boundaryOf(contentType: string): string {
  const start = contentType.toLowerCase().indexOf('boundary');
  const equals = start === -1 ? -1 : contentType.indexOf('=', start);
  if (equals === -1) throw new UnreadableRequest(400, 'boundary not found');
  const value = contentType
    .slice(equals + 1)
    .split(';', 1)[0]
    ?.replace(/^"(.*)"$/, '$1');
  if (!value || value.length > BOUNDARY_MAX) throw new UnreadableRequest(400, 'boundary too big or empty');
  return value;
}

function partHeaders(text: string): { name: string; fileName: string | null; contentType: string } {
  const part = { name: '', fileName: null as string | null, contentType: 'application/octet-stream' };
  for (const line of text.split(/\r\n(?![ \t])/)) {
    const colon = line.indexOf(':');
    const header = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (header === 'content-type') part.contentType = value;
    if (header !== 'content-disposition') continue;
    if (!value.startsWith('form-data;'))
      throw new UnreadableRequest(400, 'expected form-data content disposition');
    for (const field of value.slice('form-data;'.length).split(';')) {
      const [key = '', ...rest] = field.split('=');
      const content = rest
        .join('=')
        .trim()
        .replace(/^"(.+)"$/s, '$1');
      if (key.trim() === 'name') part.name = content;
      if (key.trim() === 'filename') part.fileName = content;
    }
  }
  if (part.name === '') throw new UnreadableRequest(400, 'field name in multipart/form-data not found');
  return part;
}

/** Adds the parts of `body` to `args`. Throws UnreadableRequest. */
export function addMultipart(body: Buffer, contentType: string, args: Args): void {
  const boundary = boundaryOf(contentType);
  const separator = Buffer.from(`\r\n--${boundary}`);
  const first = body.indexOf(separator.subarray(2));
  if (first === -1) return;
  let at = first + separator.length - 2;
  while (body.toString('latin1', at, at + 2) !== '--') {
    const headersEnd = body.indexOf('\r\n\r\n', at);
    if (headersEnd === -1) return;
    if (headersEnd === at) throw new UnreadableRequest(400, 'headers in multipart/form-data are empty');
    const part = partHeaders(body.toString('utf8', at + 2, headersEnd));
    const end = body.indexOf(separator, headersEnd + 4);
    if (end === -1) return;
    const content = body.subarray(headersEnd + 4, end);
    if (part.fileName !== null) {
      if (args.files.length === FILES_MAX) throw new UnreadableRequest(413, 'too much files attached');
      args.files.push({
        field: part.name,
        fileName: part.fileName,
        contentType: part.contentType,
        bytes: Buffer.from(content),
      });
    } else if (part.contentType.startsWith('application/x-www-form-urlencoded')) {
      addFormParams(content.toString('utf8'), args);
    } else args.add(part.name, content.toString('utf8'));
    at = end + separator.length;
  }
}

const BODY_BYTES_MAX = 60 * 1024 * 1024;

/** Reads the whole body. Throws UnreadableRequest when it is too big; rejects when the client goes away meanwhile. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new UnreadableRequest(413, `content length is ${bytes}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Adds the parameters of a body to `args`; `bytesMax` when unpacked. Throws UnreadableRequest. */
export function addBody(
  raw: Buffer,
  headers: IncomingMessage['headers'],
  args: Args,
  bytesMax = BODY_BYTES_MAX,
): void {
  if (raw.length === 0) return;
  const body = decoded(raw, (headers['content-encoding'] ?? '').trim().toLowerCase(), bytesMax);
  const type = headers['content-type'] ?? 'application/octet-stream';
  const lower = type.toLowerCase();
  if (lower.includes('multipart/form-data')) addMultipart(body, type, args);
  else if (lower.includes('application/x-www-form-urlencoded')) addFormParams(body.toString('utf8'), args);
  else if (lower.includes('application/json')) addJsonParams(body.toString('utf8'), args);
}

function decoded(body: Buffer, encoding: string, bytesMax: number): Buffer {
  if (encoding === '') return body;
  if (encoding !== 'gzip' && encoding !== 'deflate')
    throw new UnreadableRequest(415, 'unsupported content-encoding');
  try {
    // Loaded for the first packed body only: hardly a bot sends one.
    const { unzipSync } = process.getBuiltinModule('node:zlib');
    return unzipSync(body, { maxOutputLength: bytesMax });
  } catch (error) {
    throw new UnreadableRequest(400, String(error));
  }
}
