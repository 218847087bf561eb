/**
 * From a request's body to parameters: reads it whole (bounded), undoes gzip and deflate, and picks the parser by
 * Content-Type. A body of any other type, or JSON that does not parse, is ignored without a word, as the server does.
 * Source: tdlib/td HttpReader::do_read_next.
 */
import type { IncomingMessage } from 'node:http';
import type { Args } from './args.ts';
import { addFormParams } from './form-params.ts';
import { addJsonParams } from './json-params.ts';
import { addMultipart, UnreadableRequest } from './multipart.ts';

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
