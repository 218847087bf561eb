/** Connects the door (door.ts) with the worker's open requests and with the one poll upstream. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { uptime } from 'node:os';
import { classify, type Reply } from '../telegram/bot-api.ts';
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
import type { GatewayNews } from './events.ts';
import type { Args } from './params.ts';
import type { Poller } from './peers.ts';
import { answerJson, NO_UPDATES, pollBody, readPoll } from './request.ts';
import { emptyLedger, type LedgerEvent, stepLedger } from './theft.ts';

export interface PollsOptions {
  readonly client: HttpClient;
  readonly root: URL;
  /** Path of the API root and the bot, before environment and method. */
  readonly prefix: () => string;
  /** Asked before every poll that is sent and every answer that is passed on. */
  readonly mayPoll: () => boolean;
  /** The worker has set an allowed webhook itself, so its polls get their 409 unchanged. */
  readonly ownWebhook: () => boolean;
  readonly onNews: (news: GatewayNews) => void;
}

interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly args: Args;
  readonly environment: string;
  readonly poller: Poller;
}

/** How often it is looked whether a short doubt about the right to poll is over. */
const REOPEN_LOOK_MS = 50;
/** A loop that moves to a new connection is no second poller, so a held poll is reported only after this. */
const SECOND_AFTER_MS = 500;
/** A hundred updates have some hundred KB. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;

export function createPolls(options: PollsOptions) {
  const { client, root, prefix, mayPoll, ownWebhook, onNews } = options;
  const waiting = new Map<number, Asked>();
  /** Gives up the poll upstream. */
  let giveUp = new AbortController();
  /** The answer to the poll upstream, while the door decides what happens to it. `updates`: their ids; null: it is an error. */
  let received: { readonly answer: WholeAnswer; readonly updates: readonly number[] | null } | null = null;
  let lastPoll = 0;
  let closed = false;
  let reopening: NodeJS.Timeout | undefined;
  let ledger = emptyLedger;

  const loop = createDoorLoop({
    now: () => performance.now(),
    timer(atMs, due) {
      // Rounded up, as a timer that fires a fraction too early would have to be set again.
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
    // Unlike performance.now(), uptime includes suspend, as the age of updates does.
    const [next, taken] = stepLedger(ledger, { ...event, atMs: uptime() * 1_000 } as LedgerEvent);
    ledger = next;
    if (taken > 0) onNews({ kind: 'stolen', updates: taken });
  }

  /** Whether polls may pass; shuts the door if not. */
  function passes(): boolean {
    if (mayPoll()) return true;
    shut();
    return false;
  }

  function shut(): void {
    if (!loop.door.open) return;
    // Another machine may poll from now on.
    note({ kind: 'unsure' });
    send({ kind: 'shut' });
  }

  /** Opens the door again once polls may pass; those that wait go on then. */
  function reopenSoon(): void {
    clearTimeout(reopening);
    if (loop.door.open || closed) return;
    if (mayPoll()) send({ kind: 'opened' });
    else if (waiting.size > 0) reopening = setTimeout(reopenSoon, REOPEN_LOOK_MS);
  }

  function perform(effect: DoorEffect): void {
    switch (effect.do) {
      case 'send':
        return void sendPoll(effect);
      case 'abort':
        return void giveUp.abort();
      case 'pass':
        return void pass(effect.poll);
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
        setTimeout(tellHeld, SECOND_AFTER_MS, effect.poll).unref();
    }
  }

  function sendPoll({ attempt, poll, timeoutMs }: Extract<DoorEffect, { do: 'send' }>): void {
    const asked = waiting.get(poll.id);
    // The client has hung up. The door learns that a turn later, so this frees it for other polls now.
    if (!asked) return void end(attempt, { kind: 'verdict' });
    if (!passes()) return void end(attempt, { kind: 'outage' });
    const { args, environment, request } = asked;
    const userAgent = request.headers['user-agent'];
    const abort = new AbortController();
    giveUp = abort;
    const { offset, limit } = readPoll(args);
    note({ kind: 'asked', offset: offset ?? 0, limit });
    const sentAtMs = performance.now();
    client
      .ask({
        path: `${prefix()}${environment}/getUpdates`,
        headers: [
          ...['content-type', 'application/x-www-form-urlencoded'],
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
      .then(
        (answer) => receive(attempt, answer, performance.now() - sentAtMs),
        (error: unknown) => {
          end(attempt, abort.signal.aborted ? { kind: 'outage' } : outage(explain(error, root)));
        },
      );
  }

  function outage(problem: string): PollResult {
    note({ kind: 'unsure' });
    onNews({ kind: 'outage', problem });
    return { kind: 'outage' };
  }

  function receive(attempt: number, answer: WholeAnswer, livedMs: number): void {
    const reply = classify<unknown>(answer.status, answer.body.toString('utf8'));
    const updates =
      reply.kind === 'ok' && Array.isArray(reply.result)
        ? reply.result.map((it: { update_id?: unknown } | null) => Number(it?.update_id))
        : null;
    received = { answer, updates };
    end(attempt, resultOf(reply, livedMs));
    received = null;
    // A refusal ends the supervisor, so it is passed to the worker first.
    if (reply.kind === 'refused' && reply.status === 401)
      onNews({ kind: 'refused', description: reply.description });
  }

  /** What an answer means to the door; also sends the news about it. */
  function resultOf(reply: Reply, livedMs: number): PollResult {
    switch (reply.kind) {
      case 'ok':
        if (!Array.isArray(reply.result)) return outage('an answer that is none to getUpdates');
        onNews({ kind: 'accepted', answered: true });
        return { kind: 'updates' };
      case 'flood':
        onNews({ kind: 'flood', retryAfterMs: reply.retryAfterMs });
        return { kind: 'flood', retryAfterMs: reply.retryAfterMs };
      case 'outage':
        return outage(reply.description);
      case 'refused':
        return { kind: 'verdict' };
      case 'error':
        if (reply.conflict === null || (reply.conflict === 'webhook' && ownWebhook()))
          return { kind: 'verdict' };
        note({ kind: reply.conflict === 'webhook' ? 'unsure' : 'conflict' });
        onNews(reply.conflict === 'webhook' ? { kind: 'webhook' } : { kind: 'conflict', livedMs });
        return { kind: reply.conflict === 'webhook' ? 'webhook' : 'conflict' };
    }
  }

  function pass(poll: Poll): void {
    const response = take(poll.id);
    if (!response || !received) return;
    const { answer, updates } = received;
    // The next poller gets the updates again, as they are not confirmed.
    if (!passes()) return void answerJson(response, 200, NO_UPDATES);
    // Counted once the answer is written to the connection: a worker that died meanwhile gets the updates again.
    if (updates !== null) {
      response.once('finish', () => onNews({ kind: 'completed', updates: updates.length }));
      note({ kind: 'passed', ids: updates, bytes: answer.body.length });
    }
    answerJson(response, answer.status, answer.body);
  }

  function take(id: number): ServerResponse | null {
    const asked = waiting.get(id);
    waiting.delete(id);
    return asked && !asked.response.destroyed ? asked.response : null;
  }

  function tellHeld(poll: Poll): void {
    const { owner } = loop.door;
    if (!heldPolls(loop.door).includes(poll) || !owner) return;
    onNews({ kind: 'second', owner: owner.poller, held: poll.poller });
  }

  return {
    ask(asked: Asked): void {
      const { pid: poller, connection } = asked.poller;
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
    send,
    /** Lets no poll pass until `mayPoll` is true again. */
    shut,
    /** Updates were dropped, or went to a webhook. */
    dropped: () => note({ kind: 'unsure' }),
    /** To be called every LOOK_EVERY_MS (theft.ts). */
    looked: () => note({ kind: 'looked' }),
    door: () => loop.door,
    renew: () => giveUp.abort(),
    close(): void {
      send({ kind: 'shut' });
      closed = true;
      clearTimeout(reopening);
      loop.stop();
    },
  };
}
