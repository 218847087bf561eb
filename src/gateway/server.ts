/**
 * The worker's own Bot API endpoint on 127.0.0.1: every call is passed on (relay.ts), polls go through the door (polls.ts). It
 * decides nothing about the supervisor, but sends it news of what happens.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { openFilesMax } from '../machine/procfs.ts';
import { listenAt } from '../machine/sockets.ts';
import { openHttpClient } from '../telegram/http-client.ts';
import { shared } from '../turns.ts';
import { heldPolls } from './door.ts';
import { createFront, escapeTargets, type FrontOptions, type PollWay } from './front.ts';
import { booleanArg, readArgs, readBody, UnreadableRequest } from './params.ts';
import { createPeers, type PeersOptions, type Poller, programWords } from './peers.ts';
import { createPolls, type PollsOptions } from './polls.ts';
import { createForeign, relay } from './relay.ts';
import { answerError, askedOf, type Target, targetOf } from './request.ts';

interface GatewayOptions
  extends Pick<PeersOptions, 'tree' | 'learnTree'>,
    Pick<PollsOptions, 'mayPoll' | 'onNews'> {
  readonly apiRoot: string;
  readonly token: string;
  /** The token that the worker has to use: the real one, or one that is valid only here. */
  readonly workerToken: string;
  /** Null: a new port for each worker. */
  readonly port: number | null;
  readonly allowSetWebhook: boolean;
  /** Serves bots that do not know of the gateway, too; null: only those that use its address. */
  readonly intercept: LedCalls | null;
}

interface LedCalls extends Pick<FrontOptions, 'host' | 'cert' | 'key'> {
  /** A program may name another host only in its Host header. */
  readonly byHost: boolean;
  /** Names the user's own proxy. */
  readonly env: Readonly<NodeJS.ProcessEnv>;
  /** False: calls of other bots are refused (the sandbox). */
  readonly foreign: boolean;
}

export type Gateway = ReturnType<typeof createGateway>;

type Call = Exclude<Target, { kind: 'refused' }>;

/** How many calls of the worker can be under way at once; further ones wait. */
const CALLS_MAX = 64;
/** The Bot API server's limit (tdlib/td HttpReader): a query may hold a message of 4,096 letters, percent-encoded. */
const HEAD_BYTES_MAX = 256 * 1024;
const HEAD_MS_MAX = 10_000;
/** A getUpdates needs some hundred bytes; a setWebhook may bring a certificate. */
const READ_BYTES_MAX = 1024 * 1024;
/** Identifying a stranger takes long, so a loop that asks again at once is slowed down. */
const STRANGER_MS = 250;
/** With these a front end says that the Bot API can't be reached. */
const FRONT_ENDS = new Set([502, 503, 504]);

export function createGateway(options: GatewayOptions) {
  const { onNews, tree, learnTree, mayPoll, intercept } = options;
  let { token, workerToken } = options;
  const root = new URL(options.apiRoot);
  const rootPath = root.pathname.replace(/\/+$/, '');
  // Polls have their own connection, so that no other call can delay them.
  const pollClient = openHttpClient(root, 1);
  const callClient = openHttpClient(root, CALLS_MAX);
  type Endpoint = Awaited<ReturnType<typeof listen>>;
  let present: Endpoint | null = null;
  let coming: Endpoint | null = null;
  let ownWebhook = false;
  let closed = false;
  const foreign = intercept && createForeign(intercept.env);

  const peers = createPeers({
    ...{ tree, learnTree },
    onLeft: (connection) => polls.send({ kind: 'closed', connection }),
    onDeath: (poller) => polls.send({ kind: 'gone', poller }),
  });
  const polls = createPolls({
    ...{ client: pollClient, root, mayPoll, onNews },
    prefix: () => `${rootPath}/bot${token}`,
    ownWebhook: () => ownWebhook,
  });

  const front =
    intercept &&
    foreign &&
    createFront({
      ...{ host: intercept.host, cert: intercept.cert, key: intercept.key, headMs: HEAD_MS_MAX },
      tunnel: foreign.tunnel,
      mayPass: () => intercept.foreign && workerToken === token,
      async programOf(socket) {
        const caller = await peers.find(socket);
        return caller.kind === 'poller' ? programWords(caller.pid) : null;
      },
      onDistrust: (program, way) => onNews({ kind: 'distrust', program, way }),
    });

  async function listen(port: number) {
    const http = createServer(
      {
        maxHeaderSize: HEAD_BYTES_MAX,
        headersTimeout: HEAD_MS_MAX,
        // Uploads have no time limit.
        requestTimeout: 0,
        // Never closed for being idle: that could hit the worker's next call, and the timer costs more than routing a call.
        keepAliveTimeout: 0,
        // Each look wakes an idle process up.
        connectionsCheckingInterval: 60_000,
        noDelay: true,
      },
      (request, response) => {
        handle(request, response).catch((error) => unreadable(response, error));
      },
    );
    escapeTargets(http);
    const server = front?.open(http) ?? http;
    // The server closes each further connection at once: the supervisor needs the other half to see its worker, and to be asked.
    server.maxConnections = openFilesMax() / 2;
    const endpoint = await listenAt(server, { host: '127.0.0.1', port });
    return {
      port: endpoint.port,
      close() {
        endpoint.close();
        http.close();
      },
    };
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The end of the connection shows that a client has gone.
    response.on('error', ignore);
    request.on('error', ignore);
    const asked = askedOf(request, front?.wayOf(request.socket) ?? 'plain', intercept);
    if (asked.by === 'other-host') return proxied(request, response, asked.url);
    const target = targetOf(request, asked, workerToken);
    if (target.kind === 'refused') {
      // A call that was led here without this bot's token.
      if (asked.by !== 'plain' && target.token !== undefined && target.token !== token)
        return intercept?.foreign
          ? proxied(request, response, `https://${intercept.host}${asked.url}`)
          : answerError(response, 401, NO_FOREIGN);
      if (workerToken !== token && target.token === token) onNews({ kind: 'unsealed' });
      return answerError(response, target.status, target.description);
    }
    const { method } = target;
    if (method === 'getupdates') return poll(request, response, target, asked.by);
    if (method === 'setwebhook' || method === 'deletewebhook')
      return changeWebhook(request, response, target);
    if (method === 'logout' || method === 'close') onNews({ kind: 'farewell', method });
    forward(request, response, target);
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
        // An upload that its sender aborted says nothing about the Bot API.
        else if (problem === null || request.complete)
          onNews({ kind: 'call-failed', problem: problem ?? `HTTP ${status}` });
      },
    });
  }

  /** Null: the caller is not of the worker, and has been told so. */
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

  async function proxied(request: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
    if (await callerOf(request, response)) foreign?.pass(request, response, new URL(url));
  }

  async function poll(request: IncomingMessage, response: ServerResponse, target: Call, by: PollWay) {
    // Checked before the body is read, as strangers could fill our memory with bodies.
    const poller = await callerOf(request, response);
    if (poller === null) return;
    onNews({ kind: 'came', by, pid: poller.pid });
    const args = readArgs(target.query, await readBody(request, READ_BYTES_MAX), request.headers);
    // The connection or its worker may have ended meanwhile.
    if ((await peers.find(request.socket)) === poller)
      polls.ask({ request, response, args, environment: target.environment, poller });
    else response.destroy();
  }

  async function changeWebhook(request: IncomingMessage, response: ServerResponse, target: Call) {
    const body = await readBody(request, READ_BYTES_MAX);
    const args = readArgs(target.query, body, request.headers);
    const url = target.method === 'setwebhook' ? args.get('url') : '';
    if (url !== '' && !options.allowSetWebhook) {
      onNews({ kind: 'webhook-turned-down' });
      return answerError(response, 409, NO_WEBHOOK);
    }
    // Noted before the call and after it, as the answer of a poll may come in between.
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

  /** Frees the ports; the next worker gets a new one. */
  function leave(): void {
    for (const it of [present, coming]) it?.close();
    present = null;
    coming = null;
  }

  return {
    leave,
    /** Opens the next worker's endpoint; rejects with the system's error. Simultaneous calls share it. */
    prepare: shared(async () => {
      if (coming || closed || (options.port !== null && present)) return;
      const opened = await listen(options.port ?? 0);
      if (closed) opened.close();
      else coming = opened;
    }),
    ready: () => coming !== null || (options.port !== null && present !== null),
    /** Shuts the last worker's endpoint, and returns the API root for the next one; `rotated`: the bot's token if that has changed. */
    next(rotated = token): string {
      if (workerToken === token) workerToken = rotated;
      token = rotated;
      // If no new one could be opened (no descriptors left), the old one stays in use.
      if (coming) present?.close();
      present = coming ?? present;
      coming = null;
      return `http://127.0.0.1:${present?.port ?? 0}`;
    },
    /** The next worker runs. Call it in the same turn as `next`, before the worker can ask. */
    spawned(pid: number): void {
      const { owner } = polls.door();
      peers.restart(pid);
      if (owner !== null) polls.send({ kind: 'gone', poller: owner.poller });
      polls.send({ kind: 'opened' });
    },
    /** The worker is asked to end: answers its open polls; later ones still pass. */
    release: () => polls.send({ kind: 'released' }),
    /** Lets no poll pass or be answered with updates until the next worker starts or `mayPoll` is true again. */
    shut: polls.shut,
    /** Updates went another way, which is no theft: to another machine that held the lease. */
    dropped: polls.dropped,
    /** The webhook that blocked polling, and that may have taken updates, is gone. */
    cleared(): void {
      polls.dropped();
      polls.send({ kind: 'cleared' });
    },
    /** How long the poll upstream has been open; 0: none is. */
    pollOpenMs(): number {
      const { upstream } = polls.door();
      return upstream === null ? 0 : performance.now() - upstream.startedAtMs;
    },
    /** Sends the poll upstream again, which ends the poll of a rival. */
    renewPoll: polls.renew,
    looked: polls.looked,
    /** The processes that poll and those that have to wait. Pid null: the system does not tell. */
    pollers() {
      const { owner } = polls.door();
      const held = new Set(heldPolls(polls.door()).map(({ poller }) => poller));
      return [
        ...(owner === null ? [] : [{ pid: owner.poller, role: 'owner' as const }]),
        ...[...held].map((pid) => ({ pid, role: 'held' as const })),
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

const ignore = () => {};

function unreadable(response: ServerResponse, error: unknown): void {
  if (!(error instanceof UnreadableRequest)) return void response.destroy();
  answerError(response, error.status, `singlepoll can't read this request: ${error.message}`);
}

const STRANGER =
  'Forbidden: this is the gateway of a singlepoll worker, and only its own processes may poll through it';
const NO_FOREIGN = 'Unauthorized: with --sandbox no other bot can be reached';
const NO_WEBHOOK =
  'Conflict: singlepoll keeps this bot on getUpdates, so its worker cannot set a webhook; start with --allow-set-webhook to let it';
