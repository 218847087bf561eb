// The test's end of the worker on strings (fixtures/workers/puppet.mjs): requests to the gateway from inside the worker's
// tree, at the moment that the test chooses, with what came back and how long it took.
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Bed, node } from './bed.ts';
import type { Running } from './cli.ts';
import { until, within } from './wait.ts';

export interface PuppetAnswer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  /** From the first byte sent to the last one read. */
  ms: number;
}

export interface ApiAnswer extends PuppetAnswer {
  json: { ok: boolean; result?: unknown; error_code?: number; description?: string; parameters?: object };
}

export interface PuppetRequest {
  verb?: string;
  /** After the root: `/bot<token>/getMe`. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** On a connection of its own. */
  fresh?: boolean;
  /** Closes the connection when it aborts; the answer never comes then. */
  signal?: AbortSignal;
}

export interface Puppet {
  readonly pid: number;
  /** TELEGRAM_API_ROOT of this worker. */
  readonly root: string;
  gone(): boolean;
  /** Rejects when the connection breaks, the puppet dies, or after 90 s. */
  request(request: PuppetRequest): Promise<PuppetAnswer>;
  /** A Bot API call with parameters as JSON. */
  call(
    method: string,
    params?: object,
    options?: { signal?: AbortSignal; fresh?: boolean },
  ): Promise<ApiAnswer>;
  exit(code: number): void;
  /** Starts another puppet below it; `detached`: in a session of its own. */
  fork(detached?: boolean): Promise<Puppet>;
}

export interface Puppets {
  /** The command of the worker, for `start`. */
  readonly command: string[];
  /** The next puppet that begins (one each time). */
  next(run: Running): Promise<Puppet>;
  /** `singlepoll start …args -- puppet`, and the worker that it started. */
  start(args?: readonly string[], env?: Record<string, string>): Promise<{ run: Running; puppet: Puppet }>;
}

/** Makes `b.env` ready for puppets. */
export async function puppets(t: TestContext, b: Bed): Promise<Puppets> {
  const path = join(b.dir, 'puppet.sock');
  const waiting: Puppet[] = [];
  const links = new Set<Socket>();
  const server = createServer((link) => {
    links.add(link);
    attach(link, b.token, (puppet) => waiting.push(puppet), nextPuppet);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => {
    for (const link of links) link.destroy();
    server.close();
  });
  b.env.SP_TEST_PUPPET = path;
  const command = node('puppet.mjs');

  function nextPuppet(seen: () => string = () => ''): Promise<Puppet> {
    return until('a puppet', () => waiting.shift() ?? null, { ms: 20_000, seen });
  }
  const next = (run: Running) => nextPuppet(run.seen);
  return {
    command,
    next,
    async start(args = [], env = {}) {
      const run = b.cli(['start', ...args, '--', ...command], { env: { ...b.env, ...env } });
      return { run, puppet: await next(run) };
    },
  };
}

interface Message {
  id?: number;
  hello?: number;
  root?: string;
  error?: string;
  status?: number;
  headers?: Record<string, string>;
  body?: string;
  ms?: number;
}

function attach(
  link: Socket,
  token: string,
  begun: (puppet: Puppet) => void,
  nextPuppet: () => Promise<Puppet>,
): void {
  const open = new Map<number, { resolve: (answer: PuppetAnswer) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  let gone = false;
  const order = (what: object) => {
    if (!gone) link.write(`${JSON.stringify(what)}\n`);
  };

  const request: Puppet['request'] = ({ verb = 'GET', path, headers = {}, body = '', fresh, signal }) => {
    const id = ++lastId;
    const answered = new Promise<PuppetAnswer>((resolve, reject) => {
      if (gone) return reject(new Error('the puppet is gone'));
      open.set(id, { resolve, reject });
      const bytes = Buffer.from(body);
      const sized = bytes.length > 0 && !('Transfer-Encoding' in headers);
      const all = sized ? { 'Content-Length': String(bytes.length), ...headers } : headers;
      order({ do: 'request', id, verb, path, headers: all, body: bytes.toString('base64'), fresh });
      signal?.addEventListener('abort', () => order({ do: 'abandon', target: id }));
    });
    // Looked at later, or never: a call that the test leaves open must not be an unhandled rejection.
    answered.catch(() => undefined);
    return within(`the answer to ${verb} ${path.replace(token, '<token>')}`, answered, 90_000);
  };

  const puppetOf = (pid: number, root: string): Puppet => ({
    pid,
    root,
    gone: () => gone,
    request,
    async call(method, params = {}, options = {}) {
      const answer = await request({
        verb: 'POST',
        path: `/bot${token}/${method}`,
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(params),
        ...options,
      });
      return { ...answer, json: parse(answer.body) };
    },
    exit: (code) => order({ do: 'exit', code }),
    fork(detached = false) {
      order({ do: 'fork', detached });
      return nextPuppet();
    },
  });

  const hear = (message: Message): void => {
    if (message.hello !== undefined) begun(puppetOf(message.hello, message.root ?? ''));
    const call = open.get(message.id ?? 0);
    open.delete(message.id ?? 0);
    if (message.error !== undefined) call?.reject(new Error(message.error));
    else
      call?.resolve({
        status: message.status ?? 0,
        headers: message.headers ?? {},
        body: Buffer.from(message.body ?? '', 'base64'),
        ms: message.ms ?? 0,
      });
  };
  let text = '';
  link.setEncoding('utf8');
  link.on('error', () => {});
  link.on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) hear(JSON.parse(line) as Message);
  });
  link.on('close', () => {
    gone = true;
    for (const { reject } of open.values()) reject(new Error('the puppet is gone'));
    open.clear();
  });
}

function parse(body: Buffer): ApiAnswer['json'] {
  try {
    return JSON.parse(body.toString('utf8')) as ApiAnswer['json'];
  } catch {
    return { ok: false, description: `no JSON: ${body.toString('utf8').slice(0, 200)}` };
  }
}
