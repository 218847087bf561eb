/**
 * Faults on request: which calls go wrong, how, and how often, and what some of them answer.
 */
import { type ServerResponse, STATUS_CODES } from 'node:http';
import { CONFLICT, failure, tooManyRequests } from './bot.ts';

export const FAULT_KINDS = [
  'status',
  'html',
  'retry-after',
  'reset',
  'hang',
  'garbage',
  'slow',
  'gone',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Fault {
  /**
   * status: that HTTP status with the usual JSON · html: the same with a front end's HTML page · retry-after: 429 ·
   * reset: the connection is reset, the call is not carried out · hang: no answer ever · garbage: 200 with a body that
   * is no JSON · slow: carried out at once, answered `ms` later · gone: carried out, but the answer is lost.
   */
  readonly kind: FaultKind;
  /** Only this method (any case); all when absent. */
  readonly method?: string | undefined;
  /** Only this bot id; all when absent. */
  readonly bot?: number | undefined;
  /** HTTP status of `status` and `html`; default 502. */
  readonly status?: number | undefined;
  /** Seconds, of `retry-after`; default 1. */
  readonly retryAfter?: number | undefined;
  /** Milliseconds, of `slow`; default 1000. */
  readonly ms?: number | undefined;
  /** How many calls; default 1, 0 = until cleared. */
  readonly count?: number | undefined;
}

export interface Faults {
  add(fault: Fault): void;
  clear(): void;
  /** The fault that strikes this call, used up by one; null for none. The oldest that matches wins. */
  strike(method: string, bot: number): Fault | null;
  /** With the calls that are left as `count`. */
  list(): readonly Fault[];
}

export function createFaults(): Faults {
  let active: { readonly fault: Fault; left: number }[] = [];
  return {
    add(fault) {
      active.push({ fault, left: fault.count === 0 ? Number.POSITIVE_INFINITY : (fault.count ?? 1) });
    },
    clear() {
      active = [];
    },
    strike(method, bot) {
      const hit = active.find(
        ({ fault }) =>
          (fault.method === undefined || fault.method.toLowerCase() === method.toLowerCase()) &&
          (fault.bot === undefined || fault.bot === bot),
      );
      if (!hit) return null;
      hit.left -= 1;
      active = active.filter(({ left }) => left > 0);
      return hit.fault;
    },
    list: () => active.map(({ fault, left }) => ({ ...fault, count: Number.isFinite(left) ? left : 0 })),
  };
}

/** Reads a fault that came as JSON; throws an error that says what is wrong with it. */
export function checkedFault(given: Readonly<Record<string, unknown>>): Fault {
  const { kind, method, status = 502 } = given as Partial<Fault>;
  if (!FAULT_KINDS.some((known) => known === kind))
    throw new Error(`kind must be one of ${FAULT_KINDS.join(', ')}`);
  if (method !== undefined && typeof method !== 'string') throw new Error('method must be a string');
  for (const name of ['bot', 'status', 'retryAfter', 'ms', 'count'])
    if (given[name] !== undefined && !(Number.isInteger(given[name]) && (given[name] as number) >= 0))
      throw new Error(`${name} must be a whole number, 0 or more`);
  if (status < 200 || status > 599) throw new Error('status must be from 200 to 599');
  return given as unknown as Fault;
}

/** Answers a `status`, `html`, `garbage` or `retry-after` fault; returns the HTTP status. */
export function answerFault(response: ServerResponse, fault: Fault): number {
  const { kind, status = 502, retryAfter = 1 } = fault;
  const send = (code: number, type: string, body: string, headers = {}): number => {
    const length = Buffer.byteLength(body);
    response.writeHead(code, { 'Content-Type': type, 'Content-Length': length, ...headers }).end(body);
    return code;
  };
  if (kind === 'html')
    return send(status, 'text/html', `<html>\r\n<head><title>${status}</title></head>\r\n</html>\r\n`);
  if (kind === 'garbage') return send(200, 'application/json', '{"ok":true,"result":[{"update_id":\u0000');
  if (kind === 'retry-after')
    return send(429, 'application/json', JSON.stringify(tooManyRequests(retryAfter).body), {
      'Retry-After': retryAfter,
    });
  const { body } = failure(status, status === 409 ? CONFLICT.poller : (STATUS_CODES[status] ?? ''));
  return send(status, 'application/json', JSON.stringify(body));
}
