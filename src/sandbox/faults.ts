/**
 * Faults on request: which calls go wrong, how, and how often. Pure bookkeeping; the server acts them out.
 */

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
  list(): readonly Fault[];
}

export function createFaults(): Faults {
  let active: { fault: Fault; left: number }[] = [];
  return {
    add(fault) {
      const count = fault.count ?? 1;
      active.push({ fault, left: count === 0 ? Number.POSITIVE_INFINITY : count });
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
    list: () =>
      active.map(({ fault, left }) => ({ ...fault, count: left === Number.POSITIVE_INFINITY ? 0 : left })),
  };
}

/** Reads a fault that came as JSON; a string says what is wrong with it. */
export function parseFault(value: unknown): Fault | string {
  if (typeof value !== 'object' || value === null) return 'a JSON object is needed';
  const given = value as Record<string, unknown>;
  const kind = given.kind;
  if (!FAULT_KINDS.includes(kind as FaultKind)) return `kind must be one of ${FAULT_KINDS.join(', ')}`;
  for (const name of ['bot', 'status', 'retryAfter', 'ms', 'count'])
    if (given[name] !== undefined && !(Number.isInteger(given[name]) && (given[name] as number) >= 0))
      return `${name} must be a whole number, 0 or more`;
  if (given.method !== undefined && typeof given.method !== 'string') return 'method must be a string';
  const status = given.status as number | undefined;
  if (status !== undefined && (status < 200 || status > 599)) return 'status must be from 200 to 599';
  return {
    kind: kind as FaultKind,
    method: given.method as string | undefined,
    bot: given.bot as number | undefined,
    status,
    retryAfter: given.retryAfter as number | undefined,
    ms: given.ms as number | undefined,
    count: given.count as number | undefined,
  };
}
