/**
 * The worker's own Bot API endpoint, and its only door to getUpdates: every call is passed on, polls go through the door
 * (core/door.ts), which this joins to sockets. Decides nothing about the supervisor: what happens is told as news.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Args } from '../bot-api/args.ts';
import { splitTarget } from '../bot-api/request-path.ts';
import {
  closedDoor,
  type Door,
  type DoorEffect,
  type DoorEvent,
  heldPolls,
  type Poll,
  stepDoor,
} from '../core/door.ts';
import { noteStreamed } from '../machine/garbage.ts';
import { connectionOf, type Endpoint, openEndpoint } from './endpoint.ts';
import { type Flight, fly } from './flight.ts';
import { downstreamHeaders } from './headers.ts';
import { landingOf } from './landing.ts';
import { createPeers, descendants, lives, type Peer } from './peer.ts';
import { pollBody, pollOffset, pollTimeoutMs, readArgs, readSmallBody, TooLarge } from './poll-request.ts';
import { relay } from './relay.ts';
import { answerError, answerJson, NO_UPDATES } from './reply.ts';
import { type Target, targetOf } from './target.ts';
import { openUpstream } from './upstream.ts';

/** What the supervisor hears of. Pids are null where the system does not tell. */
export type GatewayNews =
  | { readonly kind: 'asked'; readonly pid: number | null; readonly offset: number | null }
  | { readonly kind: 'answered' }
  /** The Bot API has taken a poll: it has answered it, or lets it wait. */
  | { readonly kind: 'accepted'; readonly answered: boolean }
  /** A poll has succeeded and its answer has gone out to the worker. */
  | { readonly kind: 'completed'; readonly updates: number }
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
  /** A piece of a big body, either way. */
  | { readonly kind: 'streamed'; readonly bytes: number };

export interface GatewayOptions {
  readonly apiRoot: string;
  readonly token: string;
  /** What the worker has to name: the token, or one that is good here only. */
  readonly workerToken: string;
  /** Null: a fresh one for each worker. */
  readonly port: number | null;
  readonly allowSetWebhook: boolean;
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  readonly onNews: (news: GatewayNews) => void;
}

export interface Poller {
  readonly pid: number | null;
  readonly role: 'owner' | 'held';
}

export interface Gateway {
  /** Opens what the next worker will get; rejects with the system's error. */
  prepare(): Promise<void>;
  /** `prepare` has done its work for the next worker. */
  ready(): boolean;
  /** The API root of the next worker. What earlier ones had is closed. */
  next(): string;
  spawned(pid: number): void;
  /** The worker is asked to end: its open polls are answered, later ones still go through. */
  release(): void;
  /** No poll goes out any more. */
  shut(): void;
  /** Nothing is in the way of polling any more. */
  cleared(): void;
  pollers(): readonly Poller[];
  /** For how long the poll that is open upstream has been; 0: none is. */
  pollOpenMs(): number;
  close(): void;
}

/** A request that is only on its way over from an ended connection of the same loop is not a second poller. */
const SECOND_AFTER_MS = 500;
/** A process is dead some time after its sockets are closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];

interface Waiting {
  readonly response: ServerResponse;
  readonly request: IncomingMessage;
  readonly args: Args;
  readonly environment: string;
}

export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { token, workerToken, onNews } = options;
  const upstream = await openUpstream(options.apiRoot, process.env);
  const waiting = new Map<number, Waiting>();
  const pids = new Map<string, number>();
  const pollersByConnection = new Map<number, string>();
  const flights = new Map<number, Flight>();
  const answers = new Map<number, { status: number; headers: string[]; body: Buffer; updates: number }>();
  const queue: DoorEvent[] = [];
  let door: Door = closedDoor;
  let busy = false;
  let timer: NodeJS.Timeout | null = null;
  let lastPoll = 0;
  let leader: number | null = null;
  let present: Endpoint | null = null;
  let coming: Endpoint | null = null;
  /** The worker has set a webhook, as it may: then the 409 of its polls is its own affair. */
  let ownWebhook = false;
  let closed = false;

  const peers = createPeers((thorough) => {
    if (thorough) return options.tree();
    return [...pids.values(), ...(leader === null ? [] : descendants(leader))];
  });

  type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;
  function send(event: Untimed<DoorEvent>): void {
    if (closed) return;
    queue.push({ ...event, atMs: performance.now() } as DoorEvent);
    if (busy) return;
    busy = true;
    try {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const [following, effects] = stepDoor(door, next);
        door = following;
        for (const effect of effects) perform(effect);
      }
    } finally {
      busy = false;
    }
  }

  function perform(effect: DoorEffect): void {
    switch (effect.do) {
      case 'fly':
        return void takeOff(effect);
      case 'abort':
        flights.get(effect.attempt)?.abort();
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
        onNews({ kind: 'accepted', answered: false });
        return;
      case 'held':
        setTimeout(() => sayHeld(effect.poll), SECOND_AFTER_MS).unref();
        return;
      case 'owner':
        return;
      case 'wake':
        if (timer !== null) clearTimeout(timer);
        timer =
          effect.atMs === null
            ? null
            : // Rounded up: a timer that comes a fraction too early would only be set again.
              setTimeout(() => send({ kind: 'due' }), Math.ceil(effect.atMs - performance.now()));
    }
  }

  function takeOff({ attempt, poll, timeoutMs }: Extract<DoorEffect, { do: 'fly' }>): void {
    const asked = waiting.get(poll.id);
    const begunAtMs = performance.now();
    const path = `${upstream.prefix}/bot${token}${asked?.environment ?? ''}/getUpdates`;
    const request = {
      path,
      body: asked ? pollBody(asked.args, timeoutMs) : '',
      userAgent: asked?.request.headers['user-agent'],
    };
    const flight = fly(upstream.polls, request, (answer) => {
      flights.delete(attempt);
      const land = (landing: Extract<DoorEvent, { kind: 'landed' }>['landing']) =>
        send({ kind: 'landed', attempt, landing, random: Math.random() });
      if (answer === null) return land({ kind: 'outage' });
      if (answer instanceof Error) {
        onNews({ kind: 'outage', problem: (answer as NodeJS.ErrnoException).code ?? answer.message });
        return land({ kind: 'outage' });
      }
      const { landing: seen, problem, refused } = landingOf(answer);
      const landing = seen.kind === 'webhook' && ownWebhook ? { kind: 'verdict' as const } : seen;
      const livedMs = performance.now() - begunAtMs;
      // A refusal ends the supervisor: the worker is to have it before that.
      if (!refused) tell(landing, problem, livedMs);
      answers.set(attempt, {
        status: answer.status,
        headers: downstreamHeaders(answer.headers),
        body: answer.body,
        updates: landing.kind === 'updates' ? landing.count : 0,
      });
      land(landing);
      answers.delete(attempt);
      if (refused) onNews({ kind: 'refused', description: problem ?? 'Unauthorized' });
    });
    flights.set(attempt, flight);
  }

  function tell(
    landing: Extract<DoorEvent, { kind: 'landed' }>['landing'],
    problem: string | null,
    livedMs: number,
  ): void {
    switch (landing.kind) {
      case 'updates':
        return void onNews({ kind: 'accepted', answered: true });
      case 'verdict':
        return;
      case 'conflict':
        return void onNews({ kind: 'conflict', livedMs });
      case 'webhook':
        return void onNews({ kind: 'webhook' });
      case 'flood':
        return void onNews({ kind: 'flood', retryAfterMs: landing.retryAfterMs });
      case 'outage':
        return void onNews({ kind: 'outage', problem: problem ?? 'no answer' });
    }
  }

  function pass(poll: Poll, attempt: number): void {
    const response = take(poll.id);
    const answer = answers.get(attempt);
    if (!response || !answer) return;
    const completed = answer.status === 200;
    const { updates } = answer;
    // Counted when the worker's side of the connection has it: one that died meanwhile will be given it again.
    if (completed) response.once('finish', () => onNews({ kind: 'completed', updates }));
    response.sendDate = false;
    response.writeHead(answer.status, answer.headers);
    response.end(answer.body);
  }

  function take(id: number): ServerResponse | null {
    const asked = waiting.get(id);
    waiting.delete(id);
    return asked && !asked.response.destroyed ? asked.response : null;
  }

  function sayHeld(poll: Poll): void {
    if (!heldPolls(door).some((it) => it.id === poll.id) || !door.owner) return;
    onNews({
      kind: 'second',
      owner: pids.get(door.owner.poller) ?? null,
      held: pids.get(poll.poller) ?? null,
    });
  }

  function handle(request: IncomingMessage, response: ServerResponse, port: number): void {
    response.on('error', ignore);
    request.on('error', ignore);
    const target = targetOf(
      {
        method: request.method ?? '',
        target: request.url ?? '',
        host: request.headers.host,
        origin: request.headers.origin,
      },
      workerToken,
      port,
    );
    if (hosts(request) > 1) return void answerError(response, 400, 'Bad Request: more than one Host');
    if (target.kind === 'refused' && workerToken !== token && decodedTarget(request).includes(token))
      onNews({ kind: 'unsealed' });
    if (target.kind === 'refused') return void answerError(response, target.status, target.description);
    if (target.kind === 'file') {
      const path = `${upstream.prefix}/file/bot${token}${target.environment}${target.rest}${target.query}`;
      return void relay(request, response, { to: upstream.calls, path, onStreamed });
    }
    if (READ.has(target.method)) {
      // Before a byte of the body is read: strangers would fill our memory with them.
      const asks = target.method === 'getupdates' || target.method === '';
      if (asks && !admit(request, response, port)) return;
      inspect(request, response, target).catch((error: unknown) => unreadable(response, error));
      return;
    }
    forward(request, response, target, null);
  }

  function onStreamed(bytes: number): void {
    noteStreamed(bytes);
    onNews({ kind: 'streamed', bytes });
  }

  function forward(
    request: IncomingMessage,
    response: ServerResponse,
    target: Extract<Target, { kind: 'call' }>,
    body: Buffer | null,
    onStatus?: (status: number) => void,
  ): void {
    const begunAtMs = performance.now();
    relay(request, response, {
      to: upstream.calls,
      path: `${upstream.prefix}/bot${token}${target.environment}${target.rest}${target.query}`,
      ...(body ? { body } : {}),
      onStreamed,
      onStatus(status, problem) {
        if (problem === null) onNews({ kind: 'called', tookMs: performance.now() - begunAtMs });
        onStatus?.(status);
      },
    });
  }

  /** Calls whose parameters have to be read before they are passed on. */
  async function inspect(
    request: IncomingMessage,
    response: ServerResponse,
    target: Extract<Target, { kind: 'call' }>,
  ): Promise<void> {
    const body = await readSmallBody(request);
    const args = readArgs(target.query, body, request.headers);
    const method = target.method === '' ? args.get('method').toLowerCase() : target.method;
    switch (method) {
      case 'getupdates':
        return ask(request, response, args, target.environment);
      case 'setwebhook':
      case 'deletewebhook': {
        const sets = method === 'setwebhook' && args.get('url') !== '';
        if (sets && !options.allowSetWebhook) {
          onNews({ kind: 'webhook-turned-down' });
          return void answerError(
            response,
            409,
            'Conflict: singlepoll keeps this bot on getUpdates, so its worker cannot set a webhook; start with --allow-set-webhook to let it',
          );
        }
        return forward(request, response, target, body, (status) => {
          if (status !== 200) return;
          ownWebhook = sets;
          onNews({ kind: 'webhook-of-worker', url: sets ? args.get('url') : '' });
        });
      }
      case 'logout':
      case 'close':
        onNews({ kind: 'farewell', method });
    }
    forward(request, response, target, body);
  }

  function ask(request: IncomingMessage, response: ServerResponse, args: Args, environment: string): void {
    const connection = connectionOf(request.socket);
    const poller = pollersByConnection.get(connection);
    // It has hung up meanwhile.
    if (poller === undefined) return;
    const id = ++lastPoll;
    waiting.set(id, { request, response, args, environment });
    onNews({ kind: 'asked', pid: pids.get(poller) ?? null, offset: pollOffset(args) });
    response.once('close', () => {
      waiting.delete(id);
      onNews({ kind: 'answered' });
    });
    const poll = { id, poller, connection, askedAtMs: performance.now(), timeoutMs: pollTimeoutMs(args) };
    send({ kind: 'asked', poll });
  }

  /** True for a process of the worker; anybody else has been answered. */
  function admit(request: IncomingMessage, response: ServerResponse, port: number): boolean {
    const { socket } = request;
    const connection = connectionOf(socket);
    if (socket.destroyed) return false;
    if (!pollersByConnection.has(connection)) {
      const peer = peers.of(socket.remotePort ?? 0, port);
      if (peer.kind === 'stranger') {
        onNews({ kind: 'stranger', pid: peer.pid });
        // Finding out has cost something: a loop that asks again at once is slowed down.
        setTimeout(answerError, STRANGER_MS, response, 403, STRANGER).unref();
        return false;
      }
      if (peer.kind === 'gone') {
        response.destroy();
        return false;
      }
      pollersByConnection.set(connection, nameOf(peer));
    }
    return true;
  }

  function nameOf(peer: Peer): string {
    if (peer.kind !== 'member') return 'worker';
    const name = `pid ${peer.pid}`;
    pids.set(name, peer.pid);
    return name;
  }

  function left(connection: number): void {
    const poller = pollersByConnection.get(connection);
    pollersByConnection.delete(connection);
    if (poller === undefined) return;
    send({ kind: 'closed', connection });
    const pid = pids.get(poller);
    if (pid !== undefined) for (const ms of DEATH_LOOKS_MS) setTimeout(seeDeath, ms, poller, pid).unref();
  }

  function seeDeath(poller: string, pid: number): void {
    if (pids.get(poller) !== pid || lives(pid)) return;
    pids.delete(poller);
    send({ kind: 'gone', poller });
  }

  async function open(port: number): Promise<Endpoint> {
    return await openEndpoint({ port, handle, onClosed: left, members: peers.members });
  }

  return {
    async prepare() {
      if (coming || closed) return;
      if (options.port !== null && present) return;
      const opened = await open(options.port ?? 0);
      if (coming || closed) opened.close();
      else coming = opened;
    },
    ready: () => coming !== null || (options.port !== null && present !== null),
    next() {
      const before = present;
      // Without a fresh one (no descriptors left) the old one goes on.
      present = coming ?? present;
      coming = null;
      if (before !== present) before?.close();
      // Not when the sockets tell: by then the next worker may have polled.
      for (const connection of [...pollersByConnection.keys()]) left(connection);
      if (door.owner) send({ kind: 'gone', poller: door.owner.poller });
      pids.clear();
      leader = null;
      send({ kind: 'opened' });
      return `http://127.0.0.1:${present?.port ?? 0}`;
    },
    spawned(pid) {
      leader = pid;
    },
    release: () => send({ kind: 'released' }),
    shut: () => send({ kind: 'shut' }),
    cleared: () => send({ kind: 'cleared' }),
    pollOpenMs: () => (door.flight === null ? 0 : performance.now() - door.flight.startedAtMs),
    pollers() {
      const held = new Set(heldPolls(door).map((it) => it.poller));
      const rows: Poller[] = [...held].map((it) => ({ pid: pids.get(it) ?? null, role: 'held' }));
      return door.owner ? [{ pid: pids.get(door.owner.poller) ?? null, role: 'owner' }, ...rows] : rows;
    },
    close() {
      send({ kind: 'shut' });
      closed = true;
      if (timer !== null) clearTimeout(timer);
      present?.close();
      coming?.close();
      upstream.close();
    },
  };
}

/** Who is gone is noticed by other means. */
function ignore(): void {}

const STRANGER_MS = 250;
const STRANGER =
  'Forbidden: this is the gateway of a singlepoll worker, and only its own processes may poll through it';

/** An empty method is named by a parameter. */
const READ = new Set(['', 'getupdates', 'setwebhook', 'deletewebhook', 'logout', 'close']);

function decodedTarget({ url }: IncomingMessage): string {
  return splitTarget(url ?? '').path;
}

function hosts({ rawHeaders }: IncomingMessage): number {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (rawHeaders[i]!.length === 4 && rawHeaders[i]!.toLowerCase() === 'host') count++;
  return count;
}

function unreadable(response: ServerResponse, error: unknown): void {
  if (error instanceof TooLarge) return void answerError(response, 413, 'Request Entity Too Large');
  const status = (error as { status?: unknown }).status;
  if (typeof status === 'number') return void answerError(response, status, '');
  response.destroy();
}
