// The Bot API stand-in in the test's own process, as the tests use it: who polled, what was sent, webhooks, faults.
// Webhook calls go over HTTP like anybody's; the record names fixture pollers by their parameter `poller`.
import type { RequestRecord } from '../../src/sandbox/core.ts';
import { startSandbox } from '../../src/sandbox/server.ts';
import { until } from './wait.ts';

export interface Poll {
  /** Of a fixture poller; null for a library. */
  pid: number | null;
  name: string;
  userAgent: string;
  /** Milliseconds since 1970. */
  at: number;
  status: number;
  delivered: readonly number[];
}

export async function openSandbox(token: string) {
  const raw = await startSandbox({ tokens: [token] });
  const bot = Number(token.split(':')[0]);
  const call = async <T = unknown>(method: string, params: Record<string, unknown> = {}): Promise<T> => {
    const response = await fetch(`${raw.root}/bot${token}/${method}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(params),
    });
    const body = (await response.json()) as { ok: boolean; result: T; description?: string };
    if (!body.ok) throw new Error(`${method}: ${body.description}`);
    return body.result;
  };
  return {
    root: raw.root,
    port: raw.port,
    raw,
    /** Every getUpdates of this bot, in the order of arrival. */
    polls: (): Poll[] =>
      raw.log
        .filter((record) => record.bot === bot && record.method.toLowerCase() === 'getupdates')
        .map((record) => {
          const poller = record.params.poller ?? '';
          const dot = poller.lastIndexOf('.');
          return {
            pid: dot > 0 ? Number(poller.slice(dot + 1)) : null,
            name: dot > 0 ? poller.slice(0, dot) : '',
            userAgent: record.userAgent,
            at: record.startedAtUnixMs,
            status: record.status,
            delivered: record.delivered,
          };
        }),
    /** Names of the methods called for this bot, in order. */
    methods: () =>
      raw.log.filter((record) => record.bot === bot).map((record) => record.method.toLowerCase()),
    /** All requests of any bot, with or without a good token. */
    requests: (): readonly RequestRecord[] => raw.log,
    call,
    async setWebhook(url: string): Promise<void> {
      // The program's own deleteWebhook may still be under way, and throws it out, or was a moment ago, and one a second is allowed, as on the real server.
      await until('setWebhook to be accepted', async () => {
        try {
          await call('setWebhook', { url });
          return true;
        } catch (error) {
          if (/terminated by other setWebhook|Too Many Requests/.test(String(error))) return false;
          throw error;
        }
      });
    },
    webhookInfo: () => call<{ url: string; pending_update_count: number }>('getWebhookInfo'),
    /** Adds a text message to the queue; gives its update id. */
    text: (text: string): number => raw.injectText(token, text),
    /** Texts that the bot sent. */
    sentTexts: () => raw.sent.map((message) => message.text),
    close: () => raw.close(),
  };
}

/** Pids in the order in which they polled, without repeats in a row: [a, b] for a a a b b. */
export function pollerSequence(polls: readonly Poll[]): (number | null)[] {
  const sequence: (number | null)[] = [];
  for (const poll of polls) if (sequence.at(-1) !== poll.pid) sequence.push(poll.pid);
  return sequence;
}

/**
 * The largest number of getUpdates of a bot that were open at the same time, seen from the clients: from arrival until
 * the answer or until the client hung up, whichever came first.
 */
export function maxOpenPolls(records: readonly RequestRecord[], bot: number): number {
  const edges: { atMs: number; step: 1 | -1 }[] = [];
  for (const record of records) {
    if (record.bot !== bot || record.method.toLowerCase() !== 'getupdates') continue;
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
