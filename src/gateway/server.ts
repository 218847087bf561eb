/**
 * The worker's own Bot API endpoint on 127.0.0.1, and its only door to getUpdates: every call is passed on (relay.ts), polls go
 * through the door (polls.ts). Decides nothing about the supervisor: what happens is told as news.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { openHttpClient } from '../telegram/http-client.ts';
import { heldPolls } from './door.ts';
import { createForeign } from './foreign.ts';
import { createFront, type Distrust, type Front, type PollWay } from './front.ts';
import { booleanArg, readArgs, readBody, UnreadableRequest } from './params.ts';
import { createPeers, type Poller, programWords } from './peers.ts';
import { createPolls, type GatewayNews } from './polls.ts';
import { relay } from './relay.ts';
import { answerError, askedOf, type Target, targetOf } from './request.ts';

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
  readonly learnTree: () => Promise<unknown>;
  /** Serves bots that were not told of the gateway; null: only those that use its address. */
  readonly intercept: LedCalls | null;
  readonly onNews: (news: GatewayNews) => void;
}

export interface LedCalls {
  /** The libraries' host, whatever the API root is. */
  readonly host: string;
  /** A program may name another host in its Host alone. */
  readonly byHost: boolean;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Where the user's own proxy is named. */
  readonly env: Readonly<NodeJS.ProcessEnv>;
  /** False: calls of other bots have nowhere to go (the sandbox). */
  readonly foreign: boolean;
}

export type Gateway = ReturnType<typeof createGateway>;

interface Endpoint {
  readonly port: number;
  /** Ends all connections, too. */
  close(): void;
}

type Call = Exclude<Target, { kind: 'refused' }>;

/** Calls of the worker that can be under way at once; more wait their turn. */
const CALLS_MAX = 64;
/** As much as the Bot API server takes (tdlib/td HttpReader): a message of 4,096 letters in a query, percent-encoded. */
const HEAD_BYTES_MAX = 256 * 1024;
const HEAD_MS_MAX = 10_000;
/** A getUpdates needs some hundred bytes; a setWebhook may bring a certificate. */
const READ_BYTES_MAX = 1024 * 1024;
/** To find out who a stranger is takes long, so a loop that asks again at once is slowed down. */
const STRANGER_MS = 250;
/** A front end says with these that the Bot API can't be reached. */
const FRONT_ENDS = new Set([502, 503, 504]);

export function createGateway(options: GatewayOptions) {
  const { onNews, tree, learnTree, mayPoll, intercept } = options;
  let { token, workerToken } = options;
  const root = new URL(options.apiRoot);
  const rootPath = root.pathname.replace(/\/+$/, '');
  // Apart from all other calls, so that nothing can take a poll's place.
  const pollClient = openHttpClient({ root, connections: 1 });
  const callClient = openHttpClient({ root, connections: CALLS_MAX });
  let present: Endpoint | null = null;
  let coming: Endpoint | null = null;
  let preparing: Promise<void> | null = null;
  /** Of workers that have ended. */
  const past: Endpoint[] = [];
  /** The worker has set a webhook, as it may: then the 409 of its polls is its own affair. */
  let ownWebhook = false;
  let closed = false;
  const foreign = intercept && createForeign(intercept.env);
  const distrust: Distrust = { programs: new Set(), silent: new Map() };

  const peers = createPeers({
    ...{ tree, learnTree },
    onLeft: (connection) => polls.send({ kind: 'closed', connection }),
    onDeath: (poller) => polls.send({ kind: 'gone', poller }),
  });
  const polls = createPolls({
    ...{ client: pollClient, root, mayPoll, onNews },
    prefix: () => `${rootPath}/bot${token}`,
    pidOf: peers.pidOf,
    ownWebhook: () => ownWebhook,
  });

  /** At a port (0: any free one); rejects with the system's error. */
  async function listen(port: number): Promise<Endpoint> {
    const sockets = new Set<Socket>();
    const http = createServer(
      {
        maxHeaderSize: HEAD_BYTES_MAX,
        headersTimeout: HEAD_MS_MAX,
        // An upload may take as long as it takes.
        requestTimeout: 0,
        // Never: closing would cross the worker's next call now and then, and the clock costs more than routing a call.
        keepAliveTimeout: 0,
        connectionsCheckingInterval: HEAD_MS_MAX,
        noDelay: true,
      },
      (request, response) => handle(request, response, front),
    );
    const front = intercept && openFront(http, intercept);
    const server = front?.server ?? http;
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    http.on('connection', (socket) => {
      socket.on('close', () => {
        // A worker's end shows here first, and its successor is started before anything is done about the connections it had.
        setImmediate(peers.left, socket);
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: '127.0.0.1', port, exclusive: true }, resolve);
    });
    // EMFILE and the like: the next connection may fare better.
    server.on('error', ignore);
    return {
      port: (server.address() as AddressInfo).port,
      close() {
        server.close();
        http.close();
        for (const socket of sockets) socket.destroy();
      },
    };
  }

  function openFront(http: Server, { host, cert, key, foreign: mayLeave }: LedCalls): Front {
    return createFront({
      ...{ http, host, cert, key, distrust, headMs: HEAD_MS_MAX, mayPass: mayLeave && workerToken === token },
      async programOf(socket) {
        const caller = await peers.find(socket);
        return caller.kind === 'poller' ? programWords(peers.pidOf(caller.name)) : null;
      },
      tunnel: (far, port) => foreign?.tunnel(far, port) ?? Promise.reject(new Error('closed')),
      onDistrust: (program, way) => onNews({ kind: 'distrust', program, way }),
    });
  }

  function handle(request: IncomingMessage, response: ServerResponse, front: Front | null): void {
    // A client that has gone is noticed by the end of its connection.
    response.on('error', ignore);
    request.on('error', ignore);
    const asked = askedOf(request, front?.wayOf(request.socket) ?? 'plain', intercept);
    if (asked.by === 'other-host') {
      proxied(request, response, asked.url).catch((error) => unreadable(response, error));
      return;
    }
    const target = targetOf({ ...asked, method: request.method, headers: request.headers }, workerToken);
    if (target.kind === 'refused') {
      if (asked.by !== 'plain' && FOREIGN.has(target.status) && target.token !== token)
        passForeign(request, response, asked.url);
      else {
        if (workerToken !== token && target.token === token) onNews({ kind: 'unsealed' });
        answerError(response, target.status, target.description);
      }
      return;
    }
    const { method } = target;
    if (method === 'getupdates')
      poll(request, response, target, asked.by).catch((error) => unreadable(response, error));
    else if (method === 'setwebhook' || method === 'deletewebhook')
      changeWebhook(request, response, target).catch((error) => unreadable(response, error));
    else {
      if (method === 'logout' || method === 'close') onNews({ kind: 'farewell', method });
      forward(request, response, target);
    }
  }

  function forward(
    request: IncomingMessage,
    response: ServerResponse,
    { kind, method, rest }: Call,
    read: { readonly body?: Buffer; readonly onStatus?: (status: number) => void } = {},
  ): void {
    const begunAtMs = performance.now();
    relay(request, response, {
      client: callClient,
      path: `${rootPath}${kind === 'file' ? '/file' : ''}/bot${token}${rest}`,
      ...(read.body && { body: read.body }),
      onStatus(status, problem) {
        read.onStatus?.(status);
        if (method === '') return;
        if (problem === null && !FRONT_ENDS.has(status))
          onNews({ kind: 'called', tookMs: performance.now() - begunAtMs });
        // An upload that its sender broke off says nothing of the Bot API.
        else if (problem === null || request.complete)
          onNews({ kind: 'call-failed', problem: problem ?? `HTTP ${status}` });
      },
    });
  }

  /** Null: it is none of the worker's, and has been told so. */
  async function callerOf(request: IncomingMessage, response: ServerResponse): Promise<Poller | null> {
    const caller = await peers.find(request.socket);
    if (caller.kind === 'poller') return caller;
    if (caller.kind === 'gone') response.destroy();
    else {
      onNews({ kind: 'stranger', pid: caller.pid });
      setTimeout(answerError, STRANGER_MS, response, 403, STRANGER).unref();
    }
    return null;
  }

  /** A call of another bot, or of none, that was led here. */
  function passForeign(request: IncomingMessage, response: ServerResponse, path: string): void {
    if (!intercept?.foreign) return void answerError(response, 401, NO_FOREIGN);
    const url = `https://${intercept.host}${path}`;
    proxied(request, response, url).catch((error) => unreadable(response, error));
  }

  /** For a program that takes the gateway for its proxy: nobody but the worker may. */
  async function proxied(request: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
    if (await callerOf(request, response)) foreign?.pass(request, response, new URL(url));
  }

  async function poll(
    request: IncomingMessage,
    response: ServerResponse,
    target: Call,
    by: PollWay,
  ): Promise<void> {
    // Before a byte of the body is read: strangers would fill our memory with bodies.
    const poller = await callerOf(request, response);
    if (poller === null) return;
    onNews({ kind: 'came', by, pid: peers.pidOf(poller.name) });
    const args = readArgs(target.query, await readBody(request, READ_BYTES_MAX), request.headers);
    // Its connection may have ended meanwhile, or its worker.
    if ((await peers.find(request.socket)) === poller)
      polls.ask({ request, response, args, environment: target.environment, poller });
    else response.destroy();
  }

  async function changeWebhook(
    request: IncomingMessage,
    response: ServerResponse,
    target: Call,
  ): Promise<void> {
    const body = await readBody(request, READ_BYTES_MAX);
    const args = readArgs(target.query, body, request.headers);
    const url = target.method === 'setwebhook' ? args.get('url') : '';
    if (url !== '' && !options.allowSetWebhook) {
      onNews({ kind: 'webhook-turned-down' });
      return answerError(response, 409, NO_WEBHOOK);
    }
    // Before it is done and after: an answer may come in between.
    const drops = url !== '' || booleanArg(args, 'drop_pending_updates');
    if (drops) polls.dropped();
    forward(request, response, target, {
      body,
      onStatus(status) {
        if (drops) polls.dropped();
        if (status !== 200) return;
        ownWebhook = url !== '';
        onNews({ kind: 'webhook-of-worker', url });
      },
    });
  }

  async function open(): Promise<void> {
    const opened = await listen(options.port ?? 0);
    if (closed) opened.close();
    else coming = opened;
  }

  /** Frees the ports; what comes next is opened anew. */
  function leave(): void {
    for (const it of [...past.splice(0), present, coming]) it?.close();
    present = null;
    coming = null;
  }

  return {
    leave,
    /** Opens what the next worker will get; rejects with the system's error. Two that ask at once ask for the same. */
    prepare(): Promise<void> {
      if (coming || closed || (options.port !== null && present)) return Promise.resolve();
      preparing ??= open().finally(() => {
        preparing = null;
      });
      return preparing;
    },
    /** `prepare` has done its work for the next worker. */
    ready: () => coming !== null || (options.port !== null && present !== null),
    /** The API root of the next worker, whose bot may have got a new token. */
    next(rotated = token): string {
      if (workerToken === token) workerToken = rotated;
      token = rotated;
      if (present && coming) past.push(present);
      // Without a fresh one (no descriptors left) the old one goes on.
      present = coming ?? present;
      coming = null;
      return `http://127.0.0.1:${present?.port ?? 0}`;
    },
    /** The next worker runs: what earlier ones had is closed, none of them polls. In the same turn as `next`, before it can ask. */
    spawned(pid: number): void {
      for (const it of past.splice(0)) it.close();
      const { owner } = polls.door();
      peers.restart(pid);
      if (owner !== null) polls.send({ kind: 'gone', poller: owner.poller });
      polls.send({ kind: 'opened' });
    },
    /** The worker is asked to end: its open polls are answered, later ones still go through. */
    release: () => polls.send({ kind: 'released' }),
    /** No poll passes, and none is answered with updates, until the next worker or until `mayPoll` says so again. */
    shut: polls.shut,
    /** Nothing is in the way of polling any more. A webhook that stood there had taken updates. */
    cleared(): void {
      polls.dropped();
      polls.send({ kind: 'cleared' });
    },
    /** For how long the poll that is open upstream has been; 0: none is. */
    pollOpenMs(): number {
      const { upstream } = polls.door();
      return upstream === null ? 0 : performance.now() - upstream.startedAtMs;
    },
    /** Asks the poll that is open upstream anew: who polls too loses the poll to it. */
    renewPoll: polls.renew,
    /** Who polls, and who is made to wait. Pid null where the system does not tell. */
    pollers() {
      const { owner } = polls.door();
      const held = new Set(heldPolls(polls.door()).map(({ poller }) => poller));
      return [
        ...(owner === null ? [] : [{ pid: peers.pidOf(owner.poller), role: 'owner' as const }]),
        ...[...held].map((it) => ({ pid: peers.pidOf(it), role: 'held' as const })),
      ];
    },
    close(): void {
      polls.close();
      closed = true;
      leave();
      foreign?.close();
      pollClient.close();
      callClient.close();
    },
  };
}

function ignore(): void {}

/** Statuses that show a redirected call to be none of this bot's: another token, or no path of a bot. */
const FOREIGN = new Set([401, 404]);

function unreadable(response: ServerResponse, error: unknown): void {
  if (!(error instanceof UnreadableRequest)) return void response.destroy();
  answerError(response, error.status, `singlepoll can't read this request: ${error.message}`);
}

const STRANGER =
  'Forbidden: this is the gateway of a singlepoll worker, and only its own processes may poll through it';
const NO_FOREIGN = 'Unauthorized: with --sandbox no other bot can be reached';
const NO_WEBHOOK =
  'Conflict: singlepoll keeps this bot on getUpdates, so its worker cannot set a webhook; start with --allow-set-webhook to let it';
