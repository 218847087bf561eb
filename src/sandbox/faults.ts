/** Requested faults: which calls fail, how and how often, and the answers of some of them. */
import { STATUS_CODES } from 'node:http';
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

export interface Fault {
  /**
   * status: that HTTP status with the usual JSON · html: the same with a front end's HTML page · retry-after: 429 ·
   * reset: the connection is reset and the call not carried out · hang: never answered · garbage: 200 with a body that
   * is no JSON · slow: carried out at once, answered `ms` later · gone: carried out, but the answer is lost.
   */
  readonly kind: (typeof FAULT_KINDS)[number];
  /** Only this method (any case); absent: all. */
  readonly method?: string | undefined;
  /** Only this bot id; absent: all. */
  readonly bot?: number | undefined;
  /** HTTP status of `status` and `html`; default 502. */
  readonly status?: number | undefined;
  /** For `retry-after`: seconds; default 1. */
  readonly retryAfter?: number | undefined;
  /** For `slow`: milliseconds; default 1000. */
  readonly ms?: number | undefined;
  /** How many calls; default 1, 0 = until cleared. */
  readonly count?: number | undefined;
}

export function createFaults() {
  let active: { readonly fault: Fault; left: number }[] = [];
  /** The pending faults; `count` is the number of calls left. */
  const list = (): Fault[] =>
    active.map(({ fault, left }) => ({ ...fault, count: Number.isFinite(left) ? left : 0 }));
  return {
    list,
    add(fault: Fault): Fault[] {
      active.push({ fault, left: fault.count === 0 ? Number.POSITIVE_INFINITY : (fault.count ?? 1) });
      return list();
    },
    clear(): Fault[] {
      active = [];
      return list();
    },
    /** Takes the oldest fault that matches this call, and counts it down; null: there is none. */
    strike(method: string, id: number): Fault | null {
      const hit = active.find(
        ({ fault: { bot = id, method: wanted = method } }) =>
          wanted.toLowerCase() === method.toLowerCase() && bot === id,
      );
      if (!hit) return null;
      hit.left -= 1;
      active = active.filter(({ left }) => left > 0);
      return hit.fault;
    },
  };
}

/** Checks a fault that came as JSON; throws an error that says what is wrong with it. */
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

/** The answer of a `status`, `html`, `garbage` or `retry-after` fault. */
export function faultAnswer({ kind, status = 502, retryAfter = 1 }: Fault): {
  readonly status: number;
  readonly text: string;
  readonly retryAfter?: number;
} {
  if (kind === 'html')
    return { status, text: `<html>\r\n<head><title>${status}</title></head>\r\n</html>\r\n` };
  if (kind === 'garbage') return { status: 200, text: '{"ok":true,"result":[{"update_id":\u0000' };
  const answer =
    kind === 'retry-after'
      ? tooManyRequests(retryAfter)
      : failure(status, status === 409 ? CONFLICT.poller : (STATUS_CODES[status] ?? ''));
  return { ...answer, text: JSON.stringify(answer.body) };
}
