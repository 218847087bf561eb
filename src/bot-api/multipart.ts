/**
 * Reads multipart/form-data as the server does. Pure: bytes in, parameters and files out.
 * Source: tdlib/td HttpReader::parse_multipart_form_data, read_next (boundary).
 */
import type { Args } from './args.ts';
import { addFormParams } from './form-params.ts';

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
