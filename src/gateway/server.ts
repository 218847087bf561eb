/**
 * The worker's own Bot API endpoint, and its only door to getUpdates: every call is passed on (relay.ts), polls go through the door
 * (polls.ts). Decides nothing about the supervisor: what happens is told as news.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { openHttpClient } from '../telegram/http-client.ts';
import { booleanArg, UnreadableRequest } from './params.ts';
import { type Caller, createPeers, type Endpoint } from './peers.ts';
import { createPolls, type GatewayNews } from './polls.ts';
import { relay } from './relay.ts';
import { answerError, readArgs, readSmallBody, type Target, TooLarge, targetOf } from './request.ts';

export interface GatewayOptions {
  readonly apiRoot: string;
  readonly token: string;
  /** The token that the worker has to use: the real one, or one that is good here only. */
  readonly workerToken: string;
  /** Null: a fresh one for each worker. */
  readonly port: number | null;
  readonly allowSetWebhook: boolean;
  /** Whether polls may pass at this moment. */
  readonly mayPoll: () => boolean;
  /** Pids of the whole tree of the worker. */
  readonly tree: () => readonly number[];
  /** Finds out about processes that are new: those that have moved away are known by their environment only. */
  readonly learnTree?: () => Promise<unknown>;
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
  /** The API root of the next worker. */
  next(): string;
  /** The next worker runs: what earlier ones had is closed, none of them polls. In the same turn as `next`, before it can ask. */
  spawned(pid: number): void;
  /** The worker is asked to end: its open polls are answered, later ones still go through. */
  release(): void;
  /** No poll passes, and none is answered with updates, until the next worker or until `mayPoll` says so again. */
  shut(): void;
  /** Nothing is in the way of polling any more. */
  cleared(): void;
  pollers(): readonly Poller[];
  /** For how long the poll that is open upstream has been; 0: none is. */
  pollOpenMs(): number;
  /** Asks the poll that is open upstream anew: who polls too loses the poll to it. */
  renewPoll(): void;
  close(): void;
}

/** Calls of the worker that can be under way at once; more wait their turn. */
const CALLS_MAX = 64;

export function createGateway(options: GatewayOptions): Gateway {
  const { token, workerToken, onNews } = options;
  const root = new URL(options.apiRoot);
  const prefix = root.pathname.replace(/\/+$/, '');
  // Apart from all other calls, so that nothing can take a poll's place.
  const pollClient = openHttpClient({ root, connections: 1 });
  const callClient = openHttpClient({ root, connections: CALLS_MAX });
  let present: Endpoint | null = null;
  let coming: Endpoint | null = null;
  /** Of workers that have ended. */
  const past: Endpoint[] = [];
  /** The worker has set a webhook, as it may: then the 409 of its polls is its own affair. */
  let ownWebhook = false;
  let closed = false;

  const peers = createPeers({
    handle,
    tree: options.tree,
    learnTree: options.learnTree,
    onLeft: (connection) => polls.tell({ kind: 'closed', connection }),
    onDeath: (poller) => polls.tell({ kind: 'gone', poller }),
  });
  const polls = createPolls({
    client: pollClient,
    root,
    token,
    pidOf: peers.pidOf,
    mayPoll: options.mayPoll,
    ownWebhook: () => ownWebhook,
    onNews,
  });

  function handle(request: IncomingMessage, response: ServerResponse, port: number): void {
    // A client that has gone is noticed by the end of its connection.
    response.on('error', ignore);
    request.on('error', ignore);
    const target = targetOf(request, workerToken, port);
    if (target.kind === 'refused') {
      if (workerToken !== token && target.token === token) onNews({ kind: 'unsealed' });
      return void answerError(response, target.status, target.description);
    }
    if (target.kind === 'file') {
      const path = `${prefix}/file/bot${token}${target.environment}${target.rest}${target.query}`;
      return void relay(request, response, { client: callClient, path });
    }
    if (!INSPECTED.has(target.method)) return void forward(request, response, target);
    // The caller is identified before a byte of the body is read, since strangers would fill our memory with bodies.
    const caller: Caller | Promise<Caller> = mayAskUpdates(target)
      ? peers.find(request.socket, port)
      : { kind: 'poller' };
    const go = (it: Caller) => {
      if (admitted(it, response))
        inspect(request, response, target).catch((error: unknown) => unreadable(response, error));
    };
    if (caller instanceof Promise) void caller.then(go);
    else go(caller);
  }

  function admitted(caller: Caller, response: ServerResponse): boolean {
    if (caller.kind === 'gone') response.destroy();
    if (caller.kind === 'stranger') {
      onNews({ kind: 'stranger', pid: caller.pid });
      // The search is costly, so a loop that asks again at once is slowed down.
      setTimeout(answerError, STRANGER_MS, response, 403, STRANGER).unref();
    }
    return caller.kind === 'poller';
  }

  function forward(
    request: IncomingMessage,
    response: ServerResponse,
    target: CallTarget,
    body?: Buffer,
    onStatus?: (status: number) => void,
  ): void {
    const begunAtMs = performance.now();
    relay(request, response, {
      client: callClient,
      path: `${prefix}/bot${token}${target.environment}${target.rest}${target.query}`,
      ...(body ? { body } : {}),
      onStatus(status, problem) {
        if (problem === null && !FRONT_ENDS.has(status))
          onNews({ kind: 'called', tookMs: performance.now() - begunAtMs });
        // An upload that its sender broke off says nothing of the Bot API.
        else if (problem === null || request.complete)
          onNews({ kind: 'call-failed', problem: problem ?? `HTTP ${status}` });
        onStatus?.(status);
      },
    });
  }

  /** Calls whose parameters have to be read before they are passed on. */
  async function inspect(
    request: IncomingMessage,
    response: ServerResponse,
    target: CallTarget,
  ): Promise<void> {
    const body = await readSmallBody(request);
    const args = readArgs(target.query, body, request.headers);
    const method = target.method === '' ? args.get('method').toLowerCase() : target.method;
    switch (method) {
      case 'getupdates': {
        const poller = peers.nameOf(request.socket);
        // Null: it has hung up meanwhile.
        if (poller) polls.ask({ request, response, args, environment: target.environment, ...poller });
        return;
      }
      case 'setwebhook':
      case 'deletewebhook': {
        const sets = method === 'setwebhook' && args.get('url') !== '';
        if (sets && !options.allowSetWebhook) {
          onNews({ kind: 'webhook-turned-down' });
          return answerError(response, 409, NO_WEBHOOK);
        }
        // Before it is done and after: an answer may come in between.
        const drops = sets || booleanArg(args, 'drop_pending_updates');
        if (drops) polls.dropped();
        return forward(request, response, target, body, (status) => {
          if (drops) polls.dropped();
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

  return {
    async prepare() {
      if (coming || closed) return;
      if (options.port !== null && present) return;
      const opened = await peers.listen(options.port ?? 0);
      if (coming || closed) opened.close();
      else coming = opened;
    },
    ready: () => coming !== null || (options.port !== null && present !== null),
    next() {
      if (present && coming) past.push(present);
      // Without a fresh one (no descriptors left) the old one goes on.
      present = coming ?? present;
      coming = null;
      return `http://127.0.0.1:${present?.port ?? 0}`;
    },
    spawned(pid) {
      for (const it of past.splice(0)) it.close();
      const owner = polls.owner();
      peers.restart(pid);
      if (owner !== null) polls.tell({ kind: 'gone', poller: owner });
      polls.tell({ kind: 'opened' });
    },
    release: () => polls.tell({ kind: 'released' }),
    shut: polls.shut,
    cleared: () => polls.tell({ kind: 'cleared' }),
    pollOpenMs: polls.openMs,
    renewPoll: polls.renew,
    pollers() {
      const owner = polls.owner();
      return [
        ...(owner === null ? [] : [{ pid: peers.pidOf(owner), role: 'owner' as const }]),
        ...polls.held().map((it) => ({ pid: peers.pidOf(it), role: 'held' as const })),
      ];
    },
    close() {
      polls.close();
      closed = true;
      for (const it of [...past, present, coming]) it?.close();
      pollClient.close();
      callClient.close();
    },
  };
}

function ignore(): void {}

/** A front end says with these that the Bot API can't be reached. */
const FRONT_ENDS = new Set([502, 503, 504]);

const STRANGER_MS = 250;
const STRANGER =
  'Forbidden: this is the gateway of a singlepoll worker, and only its own processes may poll through it';
const NO_WEBHOOK =
  'Conflict: singlepoll keeps this bot on getUpdates, so its worker cannot set a webhook; start with --allow-set-webhook to let it';

type CallTarget = Extract<Target, { kind: 'call' }>;

/** An empty method is named by a parameter. */
const INSPECTED = new Set(['', 'getupdates', 'setwebhook', 'deletewebhook', 'logout', 'close']);

function mayAskUpdates({ method }: CallTarget): boolean {
  return method === 'getupdates' || method === '';
}

function unreadable(response: ServerResponse, error: unknown): void {
  if (error instanceof TooLarge) answerError(response, 413, 'Request Entity Too Large');
  else if (error instanceof UnreadableRequest) answerError(response, error.status, '');
  else response.destroy();
}
