/**
 * The worker's own Bot API endpoint, and its only door to getUpdates: every call is passed on, polls go through the door
 * (polls.ts). Decides nothing about the supervisor: what happens is told as news.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { noteStreamed } from '../machine/garbage.ts';
import { connectionOf, type Endpoint, openEndpoint } from './endpoint.ts';
import type { GatewayNews } from './news.ts';
import { booleanArg } from './params.ts';
import { createPeers, descendants, lives, type Peer } from './peers.ts';
import { readArgs, readSmallBody, TooLarge } from './poll-request.ts';
import { createPolls } from './polls.ts';
import { relay } from './relay.ts';
import { answerError } from './reply.ts';
import { type Target, targetOf } from './target.ts';
import { openUpstream } from './upstream.ts';

export interface GatewayOptions {
  readonly apiRoot: string;
  readonly token: string;
  /** What the worker has to name: the token, or one that is good here only. */
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

/** A process is dead some time after its sockets are closed. */
const DEATH_LOOKS_MS = [0, 20, 100, 500, 2_000];

export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { token, workerToken, onNews } = options;
  const upstream = await openUpstream(options.apiRoot, process.env);
  const pids = new Map<string, number>();
  const pollersByConnection = new Map<number, string>();
  let leader: number | null = null;
  let present: Endpoint | null = null;
  let coming: Endpoint | null = null;
  /** Of workers that have ended. */
  const past: Endpoint[] = [];
  /** The worker has set a webhook, as it may: then the 409 of its polls is its own affair. */
  let ownWebhook = false;
  let closed = false;

  const peers = createPeers((thorough) => {
    if (thorough) return options.tree();
    return [...pids.values(), ...(leader === null ? [] : descendants(leader))];
  });

  const pidOf = (poller: string): number | null => pids.get(poller) ?? null;
  const polls = createPolls({
    ...{ upstream, token, pidOf, onNews },
    mayPoll: options.mayPoll,
    ownWebhook: () => ownWebhook,
  });

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
    if (target.kind === 'refused') {
      if (workerToken !== token && target.token === token) onNews({ kind: 'unsealed' });
      answerError(response, target.status, target.description);
      return;
    }
    if (target.kind === 'file') {
      const path = `${upstream.prefix}/file/bot${token}${target.environment}${target.rest}${target.query}`;
      return void relay(request, response, { to: upstream.calls, path, onStreamed });
    }
    if (READ.has(target.method)) {
      // Before a byte of the body is read: strangers would fill our memory with them.
      const asks = target.method === 'getupdates' || target.method === '';
      const read = () =>
        inspect(request, response, target).catch((error: unknown) => unreadable(response, error));
      const admitted = !asks || admit(request, response, port);
      if (admitted === true) void read();
      else if (admitted) void admitted.then((yes) => (yes ? read() : undefined));
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
    target: Extract<Target, { kind: 'call' }>,
  ): Promise<void> {
    const body = await readSmallBody(request);
    const args = readArgs(target.query, body, request.headers);
    const method = target.method === '' ? args.get('method').toLowerCase() : target.method;
    switch (method) {
      case 'getupdates': {
        const poller = pollersByConnection.get(connectionOf(request.socket));
        // None: it has hung up meanwhile.
        if (poller !== undefined)
          polls.ask({ request, response, args, environment: target.environment }, poller);
        return;
      }
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

  let learning: Promise<unknown> | null = null;

  /** True for a process of the worker; anybody else has been answered. */
  function admit(
    request: IncomingMessage,
    response: ServerResponse,
    port: number,
  ): boolean | Promise<boolean> {
    const { socket } = request;
    const connection = connectionOf(socket);
    if (socket.destroyed) return false;
    if (pollersByConnection.has(connection)) return true;
    const judge = (peer: Peer): boolean => {
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
      return true;
    };
    const find = () => peers.of(socket.remotePort ?? 0, port);
    const peer = find();
    if (peer.kind !== 'stranger' || !options.learnTree) return judge(peer);
    // It may be one of the worker's that is new and has moved away from it. Many at once share the answer.
    learning ??= options.learnTree().finally(() => {
      learning = null;
    });
    return learning.then(
      () => {
        if (socket.destroyed) return false;
        const again = find();
        return judge(again.kind === 'stranger' && again.pid === undefined ? peer : again);
      },
      () => judge(peer),
    );
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
    polls.tell({ kind: 'closed', connection });
    const pid = pids.get(poller);
    if (pid !== undefined) for (const ms of DEATH_LOOKS_MS) setTimeout(seeDeath, ms, poller, pid).unref();
  }

  function seeDeath(poller: string, pid: number): void {
    if (pids.get(poller) !== pid || lives(pid)) return;
    pids.delete(poller);
    polls.tell({ kind: 'gone', poller });
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
      if (present && coming) past.push(present);
      // Without a fresh one (no descriptors left) the old one goes on.
      present = coming ?? present;
      coming = null;
      return `http://127.0.0.1:${present?.port ?? 0}`;
    },
    spawned(pid) {
      for (const it of past.splice(0)) it.close();
      // Not when the sockets tell: by then the next worker may have polled.
      for (const connection of [...pollersByConnection.keys()]) left(connection);
      const owner = polls.owner();
      if (owner !== null) polls.tell({ kind: 'gone', poller: owner });
      pids.clear();
      leader = pid;
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
        ...(owner === null ? [] : [{ pid: pidOf(owner), role: 'owner' as const }]),
        ...polls.held().map((it) => ({ pid: pidOf(it), role: 'held' as const })),
      ];
    },
    close() {
      polls.close();
      closed = true;
      for (const it of [...past, present, coming]) it?.close();
      upstream.close();
    },
  };
}

/** Who is gone is noticed by other means. */
function ignore(): void {}

/** What stands in front of the Bot API says that it can't be reached. */
const FRONT_ENDS = new Set([502, 503, 504]);

const STRANGER_MS = 250;
const STRANGER =
  'Forbidden: this is the gateway of a singlepoll worker, and only its own processes may poll through it';

/** An empty method is named by a parameter. */
const READ = new Set(['', 'getupdates', 'setwebhook', 'deletewebhook', 'logout', 'close']);

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
