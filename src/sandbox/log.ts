/** The log of the latest Bot API requests, without tokens: which client polled when, and what the answer was. */
import type { ServerResponse } from 'node:http';
import { FOREIGN_TOKEN } from '../config/token.ts';
import { type Args, integerArg } from '../gateway/params.ts';

const REMEMBERED = 20_000;
const PARAM_CHARS_MAX = 1024;

export interface RequestRecord {
  readonly id: number;
  /** 0: the token names no bot. */
  readonly bot: number;
  /** As sent (any case); `''`: none. */
  readonly method: string;
  readonly params: Readonly<Record<string, string>>;
  /** Raw `offset` of a getUpdates; null for other methods. */
  readonly offset: number | null;
  readonly userAgent: string;
  /** The client's port: the same for all requests of one kept-alive connection. */
  readonly remotePort: number;
  /** This and the times below are of performance.now(). */
  readonly startedAtMs: number;
  readonly startedAtUnixMs: number;
  /** When it was answered or given up (reset, lost); null while it is open. */
  endedAtMs: number | null;
  /** When the client closed the connection before the answer, which the Bot API ignores; null otherwise. */
  clientGoneAtMs: number | null;
  /** HTTP status; 0: nothing was sent (reset, hang, lost answer). */
  status: number;
  error: string | null;
  delivered: readonly number[];
}

type RequestEvent = { readonly type: 'start' | 'end'; readonly request: RequestRecord };

export function createRequestLog() {
  const records: RequestRecord[] = [];
  const listeners = new Set<(event: RequestEvent) => void>();
  let lastId = 0;
  const announce = (type: RequestEvent['type'], request: RequestRecord): void => {
    for (const listener of [...listeners]) listener({ type, request });
  };
  return {
    records,
    /** Records a request that has arrived, and later when its client leaves. */
    start(response: ServerResponse, bot: number, method: string, args: Args): RequestRecord {
      const { headers, socket } = response.req;
      const startedAtMs = performance.now();
      const record: RequestRecord = {
        id: ++lastId,
        bot,
        method: shown(method),
        params: Object.fromEntries([...args.entries()].map(([name, value]) => [name, shown(value)])),
        offset: method.toLowerCase() === 'getupdates' ? integerArg(args, 'offset', 0) : null,
        userAgent: headers['user-agent'] ?? '',
        remotePort: socket.remotePort ?? 0,
        startedAtMs,
        startedAtUnixMs: Math.round(performance.timeOrigin + startedAtMs),
        ...{ endedAtMs: null, clientGoneAtMs: null, status: 0, error: null, delivered: [] },
      };
      response.once('close', () => {
        if (record.endedAtMs === null) record.clientGoneAtMs = performance.now();
      });
      records.push(record);
      if (records.length > REMEMBERED * 1.1) records.splice(0, records.length - REMEMBERED);
      announce('start', record);
      return record;
    },
    end(record: RequestRecord, outcome: Partial<RequestRecord>): void {
      Object.assign(record, outcome, { endedAtMs: performance.now() });
      announce('end', record);
    },
    /** Calls `listener` at each start and end; returns how to stop that. */
    onRequest(listener: (event: RequestEvent) => void): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function shown(text: string): string {
  return text.slice(0, PARAM_CHARS_MAX).replace(FOREIGN_TOKEN, '$1:…');
}

/** One request as a line: method, parameters, result, duration. */
export function describeRequest(record: RequestRecord): string {
  const { bot, method, params, status, error, startedAtMs, endedAtMs, delivered } = record;
  const time = new Date(record.startedAtUnixMs).toISOString().slice(11, 23);
  const asked = Object.entries(params).map(([name, value]) => ` ${name}=${value.slice(0, 40)}`);
  const outcome =
    endedAtMs === null
      ? `open${record.clientGoneAtMs === null ? '' : ', client gone'}`
      : `${status || 'no answer'}${error ? ` ${error}` : ''} after ${Math.round(endedAtMs - startedAtMs)} ms`;
  const updates = delivered.length === 0 ? '' : `, ${delivered.length} updates`;
  return `${time} ${bot} port ${record.remotePort} ${method}${asked.join('')} → ${outcome}${updates}`;
}
