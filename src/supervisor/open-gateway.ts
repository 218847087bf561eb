/** Makes the gateway of a run, with its watch: what the worker is given of it, and who hears what it sees. */
import { randomBytes } from 'node:crypto';
import { type GatewayWatch, watchGateway } from '../gateway/events.ts';
import type { Gateway } from '../gateway/server.ts';
import type { Bus } from '../output/listeners.ts';
import type { ApiReach } from '../telegram/api-reach.ts';
import type { Loop } from './loop.ts';
import type { Startup } from './startup.ts';
import type { Status } from './status-document.ts';
import type { WorkerTree } from './worker-tree.ts';

export interface GivenGateway {
  readonly port: Gateway;
  readonly watch: GatewayWatch;
  /** The worker's: the real one, or where it is sealed one of no other use. */
  readonly token: string;
}

interface Opening {
  readonly startup: Startup;
  readonly status: Status;
  readonly bus: Bus;
  readonly loop: Loop;
  readonly tree: WorkerTree;
  readonly mayPoll: () => boolean;
  /** Null only where there is no gateway either. */
  readonly reach: ApiReach | null;
}

/** Null: the worker gets the API root itself. */
export async function openGateway(opening: Opening): Promise<GivenGateway | null> {
  const { startup, status, bus, loop, tree, mayPoll, reach } = opening;
  const { config, report, output, gatewayModule, rehearse } = startup;
  if (!gatewayModule || !reach || config.token === null) return null;
  const { createGateway } = await gatewayModule;
  const { apiRoot, token, allowSetWebhook, gatewayPort } = config;
  const workerToken = config.sealed ? sealedToken(config.botId ?? 0) : token;
  const watch = watchGateway({
    ...{ report, status, config, sayUpdates: rehearse !== null, reach },
    pollOpenMs: () => port.pollOpenMs(),
    onPolled: () => loop.send({ kind: 'polled' }),
    onBlocked: (ending) => loop.send({ kind: 'blocked', ending }),
    onDeaf: (reason) => loop.send({ kind: 'ask-restart', reason }),
    onWebhook: bus.webhookSeen.tell,
    onConflict: () => bus.conflict.tell(false),
    onSent: bus.pollSent.tell,
  });
  const port = createGateway({
    apiRoot,
    token,
    workerToken,
    port: gatewayPort,
    allowSetWebhook,
    tree: () => tree.list(loop.state.pid).map(({ pid }) => pid),
    learnTree: tree.learn,
    mayPoll,
    onNews(news) {
      watch.news(news);
      output.changes.touch();
    },
  });
  status.sources.gateway = { latencyMs: watch.latencyMs, pollers: port.pollers, pollOpenMs: port.pollOpenMs };
  bus.apiReached.add(watch.reached);
  bus.webhookCleared.add(port.cleared);
  return { port, watch, token: workerToken };
}

/** In the shape of a token, of this run only. */
function sealedToken(botId: number): string {
  return `${botId}:${randomBytes(27).toString('base64url').slice(0, 35)}`;
}
