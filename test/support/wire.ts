// HTTP/1.x by hand: exact bytes out, exact bytes in. What a library would refuse to send or quietly repair is what
// the tests are about. Source: RFC 9112.
import type { Socket } from 'node:net';
import type { Gate, Side } from './relay.ts';
import { until } from './wait.ts';

export interface Answer {
  status: number;
  /** In order, names as sent, values as latin1. */
  headers: [string, string][];
  /** Without chunks. */
  body: Buffer;
  /** False where the connection ended before the body was whole. */
  whole: boolean;
}

export const header = (answer: Pick<Answer, 'headers'>, name: string): string | undefined =>
  answer.headers.find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];

export const json = <T = { ok: boolean; error_code?: number; description?: string; result?: unknown }>(
  answer: Answer,
): T => JSON.parse(answer.body.toString('utf8')) as T;

/** Splits what came over one connection into answers; informational ones (1xx) are among them. */
function parseAnswers(bytes: Buffer, closed: boolean): Answer[] {
  const answers: Answer[] = [];
  for (let at = 0; ; ) {
    const head = bytes.indexOf('\r\n\r\n', at);
    if (head === -1) return answers;
    const [first = '', ...lines] = bytes.toString('latin1', at, head).split('\r\n');
    const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1]);
    if (!status) throw new Error(`no status line: ${JSON.stringify(first.slice(0, 200))}`);
    const headers = lines.map((text): [string, string] => {
      const colon = text.indexOf(':');
      return [text.slice(0, colon), text.slice(colon + 1).trim()];
    });
    const { body, end } = bodyAt(bytes, head + 4, { status, headers }, closed);
    if (end === null && !closed) return answers;
    answers.push({ status, headers, body, whole: end !== null });
    at = end ?? bytes.length;
  }
}

/** The body that begins at `at`, as far as it is there, and its end; null: it is not whole. */
function bodyAt(bytes: Buffer, at: number, answer: Pick<Answer, 'status' | 'headers'>, closed: boolean) {
  const bare = answer.status < 200 || answer.status === 204 || answer.status === 304;
  if (bare || !/chunked/i.test(header(answer, 'transfer-encoding') ?? '')) {
    const length = bare ? 0 : header(answer, 'content-length');
    const end = length === undefined ? (closed ? bytes.length : null) : at + Number(length);
    return {
      body: bytes.subarray(at, end ?? bytes.length),
      end: end === null || end > bytes.length ? null : end,
    };
  }
  const chunks: Buffer[] = [];
  for (;;) {
    const line = bytes.indexOf('\r\n', at);
    const size = line === -1 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, line), 16);
    // Behind the last chunk: trailers up to an empty line.
    const end = size === 0 ? bytes.indexOf('\r\n\r\n', line) + 4 : line + 2 + size + 2;
    const isThere = end > line && end <= bytes.length;
    if (!isThere || size === 0) return { body: Buffer.concat(chunks), end: isThere ? end : null };
    chunks.push(bytes.subarray(line + 2, end - 2));
    at = end;
  }
}

/** Takes a connection over and collects what comes back. */
export function wire(socket: Socket) {
  const chunks: Buffer[] = [];
  let ended = false;
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  for (const event of ['end', 'close', 'error']) {
    socket.on(event, () => {
      ended = true;
    });
  }
  const bytes = () => {
    if (chunks.length > 1) chunks.splice(0, chunks.length, Buffer.concat(chunks));
    return chunks[0] ?? Buffer.alloc(0);
  };
  const answers = () => parseAnswers(bytes(), ended);
  const final = () => answers().filter(({ status }) => status >= 200);
  const seen = () =>
    `${ended ? 'closed after' : 'open, with'} ${bytes().length} bytes: ${JSON.stringify(bytes().toString('latin1').slice(0, 2000))}`;
  return {
    socket,
    /** Resolves when the bytes have left this process; also when the connection has gone. */
    send: (data: string | Buffer) =>
      new Promise<void>((resolve) => {
        if (socket.destroyed || ended) return resolve();
        void gone.then(resolve);
        socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data, () => resolve());
      }),
    text: () => bytes().toString('latin1'),
    /** The far side has ended or the connection has gone. */
    ended: () => ended,
    answers,
    /** Waits for `count` final answers (not 1xx). */
    until(count: number): Promise<Answer[]> {
      const enough = () => {
        const found = final();
        if (found.length >= count) return found;
        if (ended) throw new Error(`the connection ended before ${count} answers; ${seen()}`);
        return null;
      };
      return until(`${count} answers`, enough, { seen });
    },
    /** Waits for the end of the connection and gives the final answers before it. */
    async end(): Promise<Answer[]> {
      await until('the end of the connection', () => ended, { seen });
      return final();
    },
    close: () => socket.destroy(),
  };
}

export interface Ask {
  method?: string;
  /** The target as it stands in the request line; `{token}` is replaced. */
  target: string;
  headers?: readonly (readonly [string, string])[];
  body?: string | Buffer;
  /** Without: 127.0.0.1 and the port; null: no such header. */
  host?: string | null;
  side?: Side;
  version?: string;
}

/** A request as bytes, with Host, Connection: close and, where there is a body and no Transfer-Encoding, Content-Length. */
export function requestBytes(gate: Gate, ask: Ask): Buffer {
  const { headers = [], body, host = gate.host, version = 'HTTP/1.1' } = ask;
  const has = (name: string) => headers.some(([key]) => key.toLowerCase() === name);
  const data = body === undefined ? null : typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  const lines = [
    `${ask.method ?? (data ? 'POST' : 'GET')} ${ask.target.replaceAll('{token}', gate.token)} ${version}`,
    ...(host === null ? [] : [`Host: ${host}`]),
    ...headers.map(([name, value]) => `${name}: ${value}`),
    ...(has('connection') ? [] : ['Connection: close']),
    ...(data && !has('content-length') && !has('transfer-encoding')
      ? [`Content-Length: ${data.length}`]
      : []),
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), data ?? Buffer.alloc(0)]);
}

/** One request over a connection of its own; its final answer. From inside the tree unless told otherwise. */
export async function ask(gate: Gate, what: Ask): Promise<Answer> {
  const connection = wire(gate.dial(what.side ?? 'inside'));
  try {
    await connection.send(requestBytes(gate, what));
    const [answer] = await connection.until(1);
    return answer!;
  } finally {
    connection.close();
  }
}

/** Splits a body into chunks as chunked transfer coding has them, with the last one. */
export function chunked(body: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

export interface ApiAnswer extends Answer {
  json: { ok: boolean; result?: unknown; error_code?: number; description?: string };
  /** From the request to the whole answer. */
  ms: number;
}

/** A Bot API call with parameters as JSON, on a connection of its own that ends when `signal` aborts. */
export async function call(
  gate: Gate,
  method: string,
  params: object = {},
  options: { side?: Side; signal?: AbortSignal } = {},
): Promise<ApiAnswer> {
  const begunMs = performance.now();
  const connection = wire(gate.dial(options.side ?? 'inside'));
  options.signal?.addEventListener('abort', connection.close);
  const headers = [['Content-Type', 'application/json']] as const;
  const body = JSON.stringify(params);
  await connection.send(requestBytes(gate, { target: `/bot{token}/${method}`, headers, body }));
  const [answer] = await connection.until(1);
  connection.close();
  return { ...answer!, json: json(answer!), ms: performance.now() - begunMs };
}

/** Ids of the updates of an answer. */
export const idsIn = ({ json: { result } }: ApiAnswer): number[] =>
  (result as { update_id: number }[]).map((update) => update.update_id);
