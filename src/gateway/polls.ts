/** Joins the door (door.ts) to the worker's open requests on one side and to the one poll upstream on the other. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { uptime } from 'node:os';
import { explain, type HttpClient, type WholeAnswer } from '../telegram/http-client.ts';
import {
  createDoorLoop,
  type DoorEffect,
  type DoorEvent,
  heldPolls,
  type Poll,
  type PollResult,
  type Untimed,
} from './door.ts';
import type { Args } from './params.ts';
import { answerJson, downstreamHeaders, NO_UPDATES, pollBody, readPoll, readPollAnswer } from './request.ts';
import { emptyLedger, type LedgerEvent, LOOK_EVERY_MS, stepLedger } from './theft.ts';

/** What the supervisor is told of the gateway. Pids are null where the system does not tell. */
export type GatewayNews =
  | { readonly kind: 'asked'; readonly offset: number | null }
  | { readonly kind: 'answered' }
  /** A poll goes out to the Bot API. */
  | { readonly kind: 'sent' }
  /** The Bot API has taken a poll: it has answered it, or lets it wait. */
  | { readonly kind: 'accepted'; readonly answered: boolean }
  /** A poll has succeeded and its answer has gone out to the worker. */
  | { readonly kind: 'completed'; readonly updates: number }
  /** Somebody else has taken updates while no poll of ours was open: theft.ts. */
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
  | { readonly kind: 'call-failed'; readonly problem: string };

export interface PollsOptions {
  readonly client: HttpClient;
  readonly root: URL;
  readonly token: string;
  /** Of a poller's name; null where the system does not tell. */
  readonly pidOf: (poller: string) => number | null;
  /** Asked before every poll that goes out and before every answer that is handed on. */
  readonly mayPoll: () => boolean;
  /** The worker has set a webhook, as it may: then the 409 of its polls is its own affair. */
  readonly ownWebhook: () => boolean;
  readonly onNews: (news: GatewayNews) => void;
}

export interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly args: Args;
  /** `/test` or nothing. */
  readonly environment: string;
  /** The poller, and by which of its connections it asks. */
  readonly name: string;
  readonly connection: number;
}

export interface Polls {
  ask(asked: Asked): void;
  /** Passes on what has happened around the polls. */
  tell(
    event:
      | Extract<Untimed<DoorEvent>, { kind: 'closed' | 'gone' }>
      | { readonly kind: 'opened' | 'released' | 'cleared' },
  ): void;
  /** No poll passes any more, until it may again. */
  shut(): void;
  /** The worker has dropped updates, or let them go another way. */
  dropped(): void;
  /** Names: who polls, and who is made to wait. */
  owner(): string | null;
  held(): readonly string[];
  /** For how long the poll that is open upstream has been; 0: none is. */
  openMs(): number;
  /** Asks the poll that is open upstream anew. */
  renew(): void;
  close(): void;
}

interface SentPoll {
  readonly attempt: number;
  readonly abort: AbortController;
  /** `updates`: their ids; null: it brings none. */
  answer: (WholeAnswer & { readonly updates: readonly number[] | null }) | null;
}

const REOPEN_LOOK_MS = 50;
/** A loop that moves to a new connection is not a second poller, so a held poll is told of only after this. */
const SECOND_AFTER_MS = 500;
/** A hundred updates have some hundred KB. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;

export function createPolls(options: PollsOptions): Polls {
  const { client, root, token, pidOf, mayPoll, ownWebhook, onNews } = options;
  const prefix = `${root.pathname.replace(/\/+$/, '')}/bot${token}`;
  const waiting = new Map<number, Asked>();
  /** The poll upstream, and its answer until that is passed on. */
  let sent: SentPoll | null = null;
  let lastPoll = 0;
  let closed = false;
  let reopening: NodeJS.Timeout | undefined;
  let ledger = emptyLedger;
  let ledgerLooks: NodeJS.Timeout | undefined;
  let environmentBefore = '';

  const loop = createDoorLoop({
    now: () => performance.now(),
    timer(atMs, due) {
      // Rounded up: a timer that comes a fraction too early would only be set again.
      const timer = setTimeout(due, Math.ceil(atMs - performance.now()));
      return () => clearTimeout(timer);
    },
    perform,
  });

  function send(event: Untimed<DoorEvent>): void {
    if (!closed) loop.send(event);
  }

  function end(attempt: number, result: PollResult): void {
    send({ kind: 'ended', attempt, result, random: Math.random() });
  }

  function note(event: Untimed<LedgerEvent>): void {
    // Unlike performance.now(), uptime goes on while the machine is suspended, as the age of updates does.
    const [next, taken] = stepLedger(ledger, { ...event, atMs: uptime() * 1_000 } as LedgerEvent);
    ledger = next;
    if (taken > 0) onNews({ kind: 'stolen', updates: taken });
  }

  /** Shuts the door where polls may not pass. */
  function passes(): boolean {
    if (mayPoll()) return true;
    shut();
    return false;
  }

  function shut(): void {
    if (!loop.door.open) return;
    // Another machine may poll meanwhile.
    note({ kind: 'unsure' });
    send({ kind: 'shut' });
  }

  /** A doubt about the right to poll passes within moments; polls that wait meanwhile go on then. */
  function reopenSoon(): void {
    clearTimeout(reopening);
    if (loop.door.open || closed) return;
    if (mayPoll()) send({ kind: 'opened' });
    else if (waiting.size > 0) reopening = setTimeout(reopenSoon, REOPEN_LOOK_MS);
  }

  function perform(effect: Exclude<DoorEffect, { do: 'wake' }>): void {
    switch (effect.do) {
      case 'send':
        return void sendPoll(effect);
      case 'abort':
        if (sent?.attempt === effect.attempt) sent.abort.abort();
        return;
      case 'pass':
        return void pass(effect.poll, effect.attempt);
      case 'empty': {
        const response = take(effect.poll.id);
        if (!response) return;
        answerJson(response, 200, NO_UPDATES);
        if (effect.why === 'overdue')
          onNews({ kind: 'outage', problem: 'getUpdates was not answered in time' });
        return;
      }
      case 'accepted':
        return void onNews({ kind: 'accepted', answered: false });
      case 'held':
        setTimeout(() => tellHeld(effect.poll), SECOND_AFTER_MS).unref();
        return;
      case 'owner':
        // `owner()` tells.
        return;
    }
  }

  function sendPoll({ attempt, poll, timeoutMs }: Extract<DoorEffect, { do: 'send' }>): void {
    const asked = waiting.get(poll.id);
    // A client that has hung up takes its parameters with it: without them the poll would ask the wrong environment. It
    // counts as answered: that its connection has ended is told a turn later, and nobody else has to wait for that.
    if (!asked) return void end(attempt, { kind: 'verdict' });
    if (!passes()) return void end(attempt, { kind: 'outage' });
    const { args, environment, request } = asked;
    const abort = new AbortController();
    sent = { attempt, abort, answer: null };
    noteSent(args, environment);
    const sentAtMs = performance.now();
    const userAgent = request.headers['user-agent'];
    client
      .ask({
        path: `${prefix}${environment}/getUpdates`,
        headers: [
          'content-type',
          'application/x-www-form-urlencoded',
          ...(userAgent === undefined ? [] : ['user-agent', userAgent]),
        ],
        body: pollBody(args, timeoutMs),
        answerBytesMax: ANSWER_BYTES_MAX,
        signal: abort.signal,
        mayGo() {
          if (!mayPoll()) abort.abort();
          return !abort.signal.aborted;
        },
        onSent: () => onNews({ kind: 'sent' }),
      })
      .finally(() => clearInterval(ledgerLooks))
      .then(
        (answer) => receive(attempt, answer, performance.now() - sentAtMs),
        (error: unknown) => {
          if (!abort.signal.aborted) {
            note({ kind: 'unsure' });
            onNews({ kind: 'outage', problem: explain(error, root) });
          }
          end(attempt, { kind: 'outage' });
        },
      );
  }

  /** Each environment of a bot has a queue of its own. */
  function noteSent(args: Args, environment: string): void {
    if (environment !== environmentBefore) note({ kind: 'unsure' });
    environmentBefore = environment;
    const { offset, limit } = readPoll(args);
    note({ kind: 'asked', offset: offset ?? 0, limit });
    clearInterval(ledgerLooks);
    ledgerLooks = setInterval(note, LOOK_EVERY_MS, { kind: 'looked' }).unref();
  }

  function receive(attempt: number, answer: WholeAnswer, livedMs: number): void {
    const { result: read, updates, problem, refused } = readPollAnswer(answer.status, answer.body);
    const result: PollResult = read.kind === 'webhook' && ownWebhook() ? { kind: 'verdict' } : read;
    if (sent?.attempt === attempt) sent.answer = { ...answer, updates };
    if (!refused) tellResult(result, problem, livedMs);
    end(attempt, result);
    // A refusal ends the supervisor: the worker is to have it before that.
    if (refused) onNews({ kind: 'refused', description: problem ?? 'Unauthorized' });
  }

  function tellResult(result: PollResult, problem: string | null, livedMs: number): void {
    switch (result.kind) {
      case 'updates':
        return void onNews({ kind: 'accepted', answered: true });
      case 'verdict':
        return;
      case 'conflict':
        note({ kind: 'conflict' });
        return void onNews({ kind: 'conflict', livedMs });
      case 'webhook':
        note({ kind: 'unsure' });
        return void onNews({ kind: 'webhook' });
      case 'flood':
        return void onNews({ kind: 'flood', retryAfterMs: result.retryAfterMs });
      case 'outage':
        note({ kind: 'unsure' });
        return void onNews({ kind: 'outage', problem: problem ?? 'no answer' });
    }
  }

  function pass(poll: Poll, attempt: number): void {
    const response = take(poll.id);
    if (sent?.attempt !== attempt) return;
    const { answer } = sent;
    sent.answer = null;
    if (!response || !answer) return;
    // The updates are not confirmed, so the next poller gets them again.
    if (!passes()) return void answerJson(response, 200, NO_UPDATES);
    const { status, rawHeaders, body, updates } = answer;
    // Counted when the worker's side of the connection has it: one that died meanwhile will be given it again.
    if (updates !== null) {
      response.once('finish', () => onNews({ kind: 'completed', updates: updates.length }));
      note({ kind: 'passed', ids: updates, bytes: body.length });
    }
    response.sendDate = false;
    response.writeHead(status, downstreamHeaders(rawHeaders));
    response.end(body);
  }

  function take(id: number): ServerResponse | null {
    const asked = waiting.get(id);
    waiting.delete(id);
    return asked && !asked.response.destroyed ? asked.response : null;
  }

  function tellHeld(poll: Poll): void {
    const { door } = loop;
    if (!heldPolls(door).some((it) => it.id === poll.id) || !door.owner) return;
    onNews({ kind: 'second', owner: pidOf(door.owner.poller), held: pidOf(poll.poller) });
  }

  return {
    ask(asked) {
      const { name: poller, connection } = asked;
      const id = ++lastPoll;
      const { offset, timeoutMs } = readPoll(asked.args);
      waiting.set(id, asked);
      onNews({ kind: 'asked', offset });
      asked.response.once('close', () => {
        waiting.delete(id);
        onNews({ kind: 'answered' });
      });
      send({ kind: 'asked', poll: { id, poller, connection, askedAtMs: performance.now(), timeoutMs } });
      reopenSoon();
    },
    tell(event) {
      // A webhook that stood in the way had taken updates.
      if (event.kind === 'cleared') note({ kind: 'unsure' });
      send(event);
    },
    shut,
    dropped: () => note({ kind: 'unsure' }),
    owner: () => loop.door.owner?.poller ?? null,
    held: () => [...new Set(heldPolls(loop.door).map((it) => it.poller))],
    renew: () => sent?.abort.abort(),
    openMs: () => (loop.door.upstream === null ? 0 : performance.now() - loop.door.upstream.startedAtMs),
    close() {
      send({ kind: 'shut' });
      closed = true;
      clearTimeout(reopening);
      clearInterval(ledgerLooks);
      loop.stop();
    },
  };
}
