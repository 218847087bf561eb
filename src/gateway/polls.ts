/** Joins the door (door.ts) to the worker's open requests on this side and to the one poll upstream on the other. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type DoorEffect, type DoorEvent, heldPolls, type Poll, type PollResult } from './door.ts';
import { createDoorLoop, type Untimed } from './door-loop.ts';
import { connectionOf } from './endpoint.ts';
import { type Flight, fly } from './flight.ts';
import { downstreamHeaders } from './headers.ts';
import { landingOf } from './landing.ts';
import type { GatewayNews } from './news.ts';
import type { Args } from './params.ts';
import { pollBody, pollLimit, pollOffset, pollTimeoutMs } from './poll-request.ts';
import { answerJson, NO_UPDATES } from './reply.ts';
import { watchThefts } from './theft-watch.ts';
import type { Upstream } from './upstream.ts';

export interface PollsOptions {
  readonly upstream: Upstream;
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
}

export interface Polls {
  ask(asked: Asked, poller: string): void;
  /** What has happened around the polls. */
  tell(
    event: Extract<Untimed<DoorEvent>, { kind: 'closed' | 'gone' | 'opened' | 'released' | 'cleared' }>,
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

const REOPEN_LOOK_MS = 50;
/** A request that is only on its way over from an ended connection of the same loop is not a second poller. */
const SECOND_AFTER_MS = 500;

/** The poll upstream, and what it has brought until that is passed on. */
interface Flying {
  readonly attempt: number;
  readonly flight: Flight;
  answer: {
    readonly status: number;
    readonly headers: string[];
    readonly body: Buffer;
    readonly updates: readonly number[] | null;
  } | null;
}

export function createPolls({ upstream, token, pidOf, mayPoll, ownWebhook, onNews }: PollsOptions): Polls {
  const waiting = new Map<number, Asked>();
  let flying: Flying | null = null;
  let lastPoll = 0;
  let closed = false;
  /** Because polls may not pass. */
  let shut = false;
  let reopening: NodeJS.Timeout | undefined;
  const thefts = watchThefts((updates) => onNews({ kind: 'stolen', updates }));

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

  /** Shuts the door where polls may not pass. */
  function passes(): boolean {
    if (mayPoll()) return true;
    shutDoor();
    return false;
  }

  function shutDoor(): void {
    if (shut) return;
    shut = true;
    // Another machine may poll meanwhile.
    thefts.tell({ kind: 'unsure' });
    send({ kind: 'shut' });
  }

  /** A doubt about the right to poll passes within moments; who waits meanwhile is looked after. */
  function reopenSoon(): void {
    clearTimeout(reopening);
    if (!shut || closed) return;
    if (mayPoll()) {
      shut = false;
      send({ kind: 'opened' });
    } else if (waiting.size > 0) reopening = setTimeout(reopenSoon, REOPEN_LOOK_MS);
  }

  function perform(effect: Exclude<DoorEffect, { do: 'wake' }>): void {
    switch (effect.do) {
      case 'send':
        takeOff(effect);
        break;
      case 'abort':
        if (flying?.attempt === effect.attempt) flying.flight.abort();
        break;
      case 'pass':
        pass(effect.poll, effect.attempt);
        break;
      case 'empty': {
        const response = take(effect.poll.id);
        if (!response) break;
        answerJson(response, 200, NO_UPDATES);
        if (effect.why === 'overdue')
          onNews({ kind: 'outage', problem: 'getUpdates was not answered in time' });
        break;
      }
      case 'accepted':
        onNews({ kind: 'accepted', answered: false });
        break;
      case 'held':
        setTimeout(() => sayHeld(effect.poll), SECOND_AFTER_MS).unref();
        break;
      case 'owner':
        // Told of by the simulation only; here it shows in `owner`.
        break;
    }
  }

  function takeOff({ attempt, poll, timeoutMs }: Extract<DoorEffect, { do: 'send' }>): void {
    const asked = waiting.get(poll.id);
    // A client that has hung up takes its parameters with it: without them the poll would ask the wrong environment. It
    // counts as answered: that its connection has ended is told a turn later, and nobody else has to wait for that.
    if (!asked) return void send({ kind: 'ended', attempt, result: { kind: 'verdict' }, random: 0 });
    if (!passes()) return void send({ kind: 'ended', attempt, result: { kind: 'outage' }, random: 0 });
    const begunAtMs = performance.now();
    const request = {
      path: `${upstream.prefix}/bot${token}${asked.environment}/getUpdates`,
      body: pollBody(asked.args, timeoutMs),
      userAgent: asked.request.headers['user-agent'],
      mayGo: mayPoll,
      onSent: () => onNews({ kind: 'sent' }),
    };
    const flight = fly(upstream.polls, request, (answer) => {
      thefts.ended();
      const land = (result: PollResult) => send({ kind: 'ended', attempt, result, random: Math.random() });
      if (answer === null) {
        land({ kind: 'outage' });
        return;
      }
      if (answer instanceof Error) {
        thefts.tell({ kind: 'unsure' });
        onNews({ kind: 'outage', problem: upstream.explain(answer) });
        land({ kind: 'outage' });
        return;
      }
      const { result: seen, updates, problem, refused } = landingOf(answer);
      const result: PollResult = seen.kind === 'webhook' && ownWebhook() ? { kind: 'verdict' } : seen;
      // A refusal ends the supervisor: the worker is to have it before that.
      if (!refused) sayLanding(result, problem, performance.now() - begunAtMs);
      if (flying?.attempt === attempt) {
        flying.answer = {
          status: answer.status,
          headers: downstreamHeaders(answer.headers),
          body: answer.body,
          updates,
        };
      }
      land(result);
      if (refused) onNews({ kind: 'refused', description: problem ?? 'Unauthorized' });
    });
    flying = { attempt, flight, answer: null };
    const { args, environment } = asked;
    thefts.asked({ offset: pollOffset(args) ?? 0, limit: pollLimit(args), environment });
  }

  function sayLanding(result: PollResult, problem: string | null, livedMs: number): void {
    switch (result.kind) {
      case 'updates':
        onNews({ kind: 'accepted', answered: true });
        break;
      case 'verdict':
        break;
      case 'conflict':
        thefts.tell({ kind: 'conflict' });
        onNews({ kind: 'conflict', livedMs });
        break;
      case 'webhook':
        thefts.tell({ kind: 'unsure' });
        onNews({ kind: 'webhook' });
        break;
      case 'flood':
        onNews({ kind: 'flood', retryAfterMs: result.retryAfterMs });
        break;
      case 'outage':
        thefts.tell({ kind: 'unsure' });
        onNews({ kind: 'outage', problem: problem ?? 'no answer' });
        break;
    }
  }

  function pass(poll: Poll, attempt: number): void {
    const response = take(poll.id);
    if (flying?.attempt !== attempt) return;
    const { answer } = flying;
    flying.answer = null;
    if (!response || !answer) return;
    // Not confirmed, so whoever polls next is given them again.
    if (!passes()) return void answerJson(response, 200, NO_UPDATES);
    const { status, headers, body, updates } = answer;
    // Counted when the worker's side of the connection has it: one that died meanwhile will be given it again.
    if (updates !== null) {
      response.once('finish', () => onNews({ kind: 'completed', updates: updates.length }));
      thefts.tell({ kind: 'passed', ids: updates, bytes: body.length });
    }
    response.sendDate = false;
    response.writeHead(status, headers);
    response.end(body);
  }

  function take(id: number): ServerResponse | null {
    const asked = waiting.get(id);
    waiting.delete(id);
    return asked && !asked.response.destroyed ? asked.response : null;
  }

  function sayHeld(poll: Poll): void {
    const { door } = loop;
    if (!heldPolls(door).some((it) => it.id === poll.id) || !door.owner) return;
    onNews({ kind: 'second', owner: pidOf(door.owner.poller), held: pidOf(poll.poller) });
  }

  return {
    ask(asked, poller) {
      const { request, response, args } = asked;
      const id = ++lastPoll;
      waiting.set(id, asked);
      onNews({ kind: 'asked', offset: pollOffset(args) });
      response.once('close', () => {
        waiting.delete(id);
        onNews({ kind: 'answered' });
      });
      const poll = {
        id,
        poller,
        connection: connectionOf(request.socket),
        askedAtMs: performance.now(),
        timeoutMs: pollTimeoutMs(args),
      };
      send({ kind: 'asked', poll });
      reopenSoon();
    },
    tell(event) {
      if (event.kind === 'opened') shut = false;
      // A webhook that stood in the way had taken updates.
      if (event.kind === 'cleared') thefts.tell({ kind: 'unsure' });
      send(event);
    },
    shut: shutDoor,
    dropped: () => thefts.tell({ kind: 'unsure' }),
    owner: () => loop.door.owner?.poller ?? null,
    held: () => [...new Set(heldPolls(loop.door).map((it) => it.poller))],
    renew: () => flying?.flight.abort(),
    openMs: () => (loop.door.upstream === null ? 0 : performance.now() - loop.door.upstream.startedAtMs),
    close() {
      send({ kind: 'shut' });
      closed = true;
      clearTimeout(reopening);
      thefts.ended();
      loop.stop();
    },
  };
}
