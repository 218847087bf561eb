/**
 * The record of every Bot API request, bounded, without tokens. What tests judge by: who polled, when, and what came back.
 */

export interface RequestRecord {
  /** Rises by one with every request. */
  readonly id: number;
  /** 0 where the token names no bot. */
  readonly bot: number;
  /** As sent (any case); `''` where there was none. */
  readonly method: string;
  readonly params: Readonly<Record<string, string>>;
  /** Raw `offset` of a getUpdates; null elsewhere. */
  readonly offset: number | null;
  readonly userAgent: string;
  /** The client's port: the same for all requests of one kept-alive connection. */
  readonly remotePort: number;
  /** performance.now() of the sandbox when the request arrived. */
  readonly startedAtMs: number;
  /** The same moment, milliseconds since 1970. */
  readonly startedAtUnixMs: number;
  /** performance.now() when it was answered, or given up (reset, lost); null while it is open. */
  endedAtMs: number | null;
  /** performance.now() when the client closed the connection before the answer; null otherwise. The Bot API does not care. */
  clientGoneAtMs: number | null;
  /** HTTP status; 0 where nothing was sent (reset, hang, lost answer). */
  status: number;
  error: string | null;
  /** Ids of the updates in a getUpdates answer. */
  delivered: readonly number[];
  /** It became the bot's long poll, or was a 409 held for 3 s. */
  waited: boolean;
  /** The fault that struck it. */
  fault: string | null;
}

export interface RequestEvent {
  readonly type: 'start' | 'end';
  readonly request: RequestRecord;
}

export interface RequestLog {
  readonly records: RequestRecord[];
  start(record: RequestRecord): void;
  end(record: RequestRecord): void;
  onRequest(listener: (event: RequestEvent) => void): () => void;
}

export function createRequestLog(limit: number): RequestLog {
  const records: RequestRecord[] = [];
  const listeners = new Set<(event: RequestEvent) => void>();
  const tell = (type: RequestEvent['type'], request: RequestRecord): void => {
    for (const listener of [...listeners]) listener({ type, request });
  };
  return {
    records,
    start(record) {
      records.push(record);
      if (records.length > limit * 1.1) records.splice(0, records.length - limit);
      tell('start', record);
    },
    end: (record) => tell('end', record),
    onRequest(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * The largest number of getUpdates of a bot that were open at the same time, seen from the clients: from arrival until
 * the answer or until the client hung up, whichever came first. With `ports`, only requests from these client ports.
 */
export function maxOpenPolls(
  records: readonly RequestRecord[],
  bot: number,
  ports?: ReadonlySet<number>,
): number {
  const edges: { atMs: number; step: 1 | -1 }[] = [];
  for (const record of records) {
    if (record.bot !== bot || record.method.toLowerCase() !== 'getupdates') continue;
    if (ports && !ports.has(record.remotePort)) continue;
    const endMs = Math.min(
      record.endedAtMs ?? Number.POSITIVE_INFINITY,
      record.clientGoneAtMs ?? Number.POSITIVE_INFINITY,
    );
    edges.push({ atMs: record.startedAtMs, step: 1 }, { atMs: endMs, step: -1 });
  }
  // At one instant, ends come first: a poll that begins the moment another ends does not overlap it.
  edges.sort((a, b) => a.atMs - b.atMs || a.step - b.step);
  let open = 0;
  let most = 0;
  for (const { step } of edges) {
    open += step;
    most = Math.max(most, open);
  }
  return most;
}
