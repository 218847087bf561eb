/**
 * Carries out what probe-table.ts decides: its calls to the Bot API, its waits, and what the answers mean to it. It asks for
 * updates without an offset and looks at no more of them than the oldest one's id and date.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { BotApi, Reply, WebhookInfo } from './bot-api.ts';
import { isWebhookConflict } from './bot-api.ts';
import { type ProbeEvent, type ProbeStep, startProbe, stepProbe, type Verdict } from './probe-table.ts';

export interface ProbePorts {
  readonly api: BotApi;
  /** The pid of a supervisor of this bot on this machine that may poll; null: none. */
  readonly supervisor: () => Promise<number | null>;
  /** Gets ready to see who reacts to the next poll; what it gives is called when that goes out. */
  readonly beforePoll?: () => Promise<(sentAtMs: number) => void>;
  /** Called once, before anything is disturbed. */
  readonly beforeFirstPoll: () => void;
  /** Ends the probe with what is known by then. */
  readonly signal: AbortSignal;
}

/** A conflict is held back by the server for 3 s; 2 s more for the way. */
const POLL_GRACE_MS = 5_000;
const LOOK_TIMEOUT_MS = 5_000;
/** Updates that carry a date live for 24 h; one younger than this will not expire while we look, whoever's clock is right. */
const LASTING_S = 23 * 3600;

/** Never rejects over what the API or the network does. */
export async function runProbe(askedMs: number, ports: ProbePorts): Promise<Verdict> {
  let said = false;
  let { probe, action }: ProbeStep = startProbe(askedMs, performance.now());
  while (action.kind !== 'end') {
    if (action.kind === 'poll' && !said) {
      said = true;
      ports.beforeFirstPoll();
    }
    const event = await carryOut(action, ports);
    ({ probe, action } = stepProbe(probe, event, performance.now()));
  }
  return action.verdict;
}

async function carryOut(
  action: Exclude<ProbeStep['action'], { kind: 'end' }>,
  { api, supervisor, signal, beforePoll }: ProbePorts,
): Promise<ProbeEvent> {
  try {
    if (action.afterMs > 0) await pause(action.afterMs, undefined, { signal });
  } catch {
    return { kind: 'interrupted' };
  }
  let event: ProbeEvent;
  if (action.kind === 'look') {
    const options = { timeoutMs: LOOK_TIMEOUT_MS, signal };
    event = afterLook(await api.call<WebhookInfo>('getWebhookInfo', {}, options));
  } else {
    // Its worker must not be disturbed, nor be taken for a rival.
    const before = await supervisor();
    if (before !== null) return { kind: 'supervisor', pid: before };
    const onSent = await beforePoll?.();
    const sentAtMs = performance.now();
    onSent?.(sentAtMs);
    const params = { timeout: action.timeoutS, limit: 1 };
    const options = { timeoutMs: action.timeoutS * 1000 + POLL_GRACE_MS, signal };
    event = afterPoll(await api.call<Update[]>('getUpdates', params, options), sentAtMs);
    const meanwhile = event.kind === 'conflict' ? await supervisor() : null;
    if (meanwhile !== null) event = { kind: 'supervisor', pid: meanwhile };
  }
  // An answer that came at the same moment still counts.
  return signal.aborted && event.kind === 'fault' ? { kind: 'interrupted' } : event;
}

/** The part of an update that is read. */
interface Update {
  readonly update_id: number;
}

/** Exported for its tests, as `afterPoll` is. */
export function afterLook(reply: Reply<WebhookInfo>): ProbeEvent {
  return reply.kind === 'ok' ? { kind: 'webhook-info', url: reply.result.url } : failed(reply);
}

export function afterPoll(
  reply: Reply<readonly Update[]>,
  sentAtMs: number,
  nowS = Date.now() / 1000,
): ProbeEvent {
  if (reply.kind === 'ok') {
    const [first] = reply.result;
    if (first === undefined) return { kind: 'empty', sentAtMs };
    return { kind: 'updates', sentAtMs, firstId: first.update_id, lasting: isLasting(first, nowS) };
  }
  if (reply.kind === 'error' && reply.status === 409) {
    return isWebhookConflict(reply.description)
      ? { kind: 'webhook-conflict' }
      : { kind: 'conflict', sentAtMs };
  }
  return failed(reply);
}

function failed(reply: Exclude<Reply, { kind: 'ok' }>): ProbeEvent {
  switch (reply.kind) {
    case 'refused':
      return { kind: 'refused', reason: 'token', text: `${reply.status} ${reply.description}` };
    case 'error':
      return { kind: 'refused', reason: 'api', text: `${reply.status} ${reply.description}` };
    case 'flood':
      return { kind: 'fault', text: reply.description, retryAfterMs: reply.retryAfterMs };
    case 'outage':
      return { kind: 'fault', text: reply.description, retryAfterMs: null };
  }
}

/** Messages, edits and changes of members carry a date; what expires within minutes (inline and callback queries) does not. */
function isLasting(update: Update, nowS: number): boolean {
  return Object.values(update).some((part: unknown) => {
    const date = typeof part === 'object' && part !== null ? (part as { date?: unknown }).date : undefined;
    return typeof date === 'number' && nowS - date < LASTING_S;
  });
}
