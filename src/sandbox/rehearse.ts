/**
 * Carries out what was typed at a sandbox and says what came of it. The only console file with effects.
 */
import { createInterface } from 'node:readline';
import { createArgs } from '../gateway/params.ts';
import { createApiClient } from './api-client.ts';
import { type Action, CONSOLE_HELP, parseLine } from './console.ts';
import type { RequestRecord } from './request-log.ts';
import type { Sandbox } from './server.ts';

/** Carries out one action; resolves with the lines to show (a rival answers at once and polls on). Never rejects. */
export async function perform(sandbox: Sandbox, action: Action, say: (line: string) => void): Promise<void> {
  const wanted = 'bot' in action ? action.bot : null;
  const known = sandbox.bots();
  const bot = wanted === null ? known[0] : known.find(({ id }) => id === wanted);
  if (!bot && 'bot' in action) return say(`no bot ${wanted ?? ''} here (try !bots, !bot)`);
  const token = bot?.token ?? '';
  switch (action.kind) {
    case 'nothing':
      return;
    case 'help':
      return say(CONSOLE_HELP);
    case 'error':
      return say(action.message);
    case 'text':
    case 'update': {
      const id =
        action.kind === 'text'
          ? sandbox.injectText(token, action.text)
          : sandbox.inject(token, action.update);
      return say(id === 0 ? 'kept out by allowed_updates, or the queue is full' : `update ${id} queued`);
    }
    case 'fault': {
      sandbox.fault(action.fault);
      const { kind, method = 'every method', status, count = 1 } = action.fault;
      return say(
        `fault ${kind}${status ? ` ${status}` : ''} on ${method}, ${count === 0 ? 'until !clear' : `${count}×`}`,
      );
    }
    case 'clear':
      sandbox.clearFaults();
      return say('no faults');
    case 'webhook': {
      const answer = await sandbox.call(token, 'setWebhook', createArgs({ url: action.url }));
      return say((answer.body as { description?: string }).description ?? String(answer.status));
    }
    case 'rival':
      say(`a rival polls bot ${bot?.id} for ${action.seconds} s`);
      return say(await playRival(sandbox.root, token, action.seconds));
    case 'revoke':
      sandbox.revoke(token);
      return say(`the token of bot ${bot?.id} is refused from now on`);
    case 'log':
      for (const record of sandbox.log.slice(-action.count)) say(describeRequest(record));
      return;
    case 'sent':
      for (const { method, chatId, text } of sandbox.sent.slice(-action.count))
        say(`${method} to ${chatId}: ${text}`);
      return;
    case 'bots':
      for (const { id, username } of known) say(`${id} @${username}`);
      return;
    case 'add-bot':
      return say(sandbox.addBot());
  }
}

/** Polls as a stubborn poller elsewhere would: long polls, retried 1 s after any error. Resolves with a sentence. */
export async function playRival(root: string, token: string, seconds: number): Promise<string> {
  const client = createApiClient(root, token);
  const end = AbortSignal.timeout(seconds * 1000);
  let polls = 0;
  let conflicts = 0;
  while (!end.aborted) {
    polls += 1;
    try {
      const reply = await client.call('getUpdates', { timeout: 30 }, 60_000, end);
      if (reply.status === 409) conflicts += 1;
    } catch {
      // The end, or a fault that was asked for.
    }
    if (!end.aborted) await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  client.close();
  return `the rival has left: ${polls} polls, ${conflicts} conflicts`;
}

/** One request as a line: method, what it asked, what came back, how long it took. */
export function describeRequest(record: RequestRecord): string {
  const time = new Date(record.startedAtUnixMs).toISOString().slice(11, 23);
  const asked = Object.entries(record.params)
    .map(([name, value]) => ` ${name}=${value.length > 40 ? `${value.slice(0, 40)}…` : value}`)
    .join('');
  const outcome =
    record.endedAtMs === null
      ? record.clientGoneAtMs === null
        ? 'open'
        : 'open, client gone'
      : `${record.status || 'no answer'}${record.error ? ` ${record.error}` : ''} after ${Math.round(record.endedAtMs - record.startedAtMs)} ms`;
  const updates = record.delivered.length === 0 ? '' : `, ${record.delivered.length} updates`;
  return `${time} ${record.bot} port ${record.remotePort} ${record.method}${asked} → ${outcome}${updates}`;
}

/** Reads lines until the input ends and carries each out; `say` gets every line to show. */
export async function rehearse(
  sandbox: Sandbox,
  input: NodeJS.ReadableStream,
  say: (line: string) => void,
): Promise<void> {
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    for await (const line of lines) {
      // Not awaited: a rival polls for a while, and the next line need not wait for it.
      void perform(sandbox, parseLine(line), say);
    }
  } catch {
    // A terminal that goes away ends the typing, not the sandbox.
  }
}
