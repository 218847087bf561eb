/** What the supervisor hears of the gateway. Pids are null where the system does not tell. */
export type GatewayNews =
  | { readonly kind: 'asked'; readonly offset: number | null }
  | { readonly kind: 'answered' }
  /** A poll goes out to the Bot API. */
  | { readonly kind: 'sent' }
  /** The Bot API has taken a poll: it has answered it, or lets it wait. */
  | { readonly kind: 'accepted'; readonly answered: boolean }
  /** A poll has succeeded and its answer has gone out to the worker. */
  | { readonly kind: 'completed'; readonly updates: number }
  /** Updates that were taken by somebody else while no poll of ours was open: theft.ts. */
  | { readonly kind: 'stolen'; readonly updates: number }
  | { readonly kind: 'conflict'; readonly livedMs: number }
  | { readonly kind: 'webhook' }
  | { readonly kind: 'outage'; readonly problem: string }
  | { readonly kind: 'flood'; readonly retryAfterMs: number }
  | { readonly kind: 'refused'; readonly description: string }
  /** A second poller of the worker is still made to wait for the first. */
  | { readonly kind: 'second'; readonly owner: number | null; readonly held: number | null }
  /** Pid undefined: one of a crowd, which it was not looked for in. */
  | { readonly kind: 'stranger'; readonly pid: number | null | undefined }
  | { readonly kind: 'webhook-turned-down' }
  /** The worker has set (or taken away) its own webhook, as it was allowed to. */
  | { readonly kind: 'webhook-of-worker'; readonly url: string }
  /** The worker was given a sealed token, and uses the real one all the same. */
  | { readonly kind: 'unsealed' }
  | { readonly kind: 'farewell'; readonly method: 'logout' | 'close' }
  | { readonly kind: 'called'; readonly tookMs: number }
  /** A call of the worker has not reached the Bot API. */
  | { readonly kind: 'call-failed'; readonly problem: string }
  /** A piece of a big body, either way. */
  | { readonly kind: 'streamed'; readonly bytes: number };
