/** Makes the gateway of a run, with its watch: what the worker is given of it, and who hears what it sees. */
import { randomBytes } from 'node:crypto';
import type { Config } from '../config/load.ts';
import { type GatewayListeners, type GatewayWatch, watchGateway } from '../gateway/events.ts';
import type { Gateway, GatewayOptions } from '../gateway/server.ts';
import type { Report } from '../output/report.ts';
import type { ApiReach } from './api-reach.ts';
import type { Changes } from './changes.ts';
import type { Facts } from './facts.ts';

export type GatewayModule = typeof import('../gateway/server.ts');

export interface GivenGateway {
  readonly port: Gateway;
  readonly watch: GatewayWatch;
  /** The worker's: the real one, or where it is sealed one of no other use. */
  readonly token: string;
}

interface GatewayAsks
  extends GatewayListeners,
    Required<Pick<GatewayOptions, 'tree' | 'learnTree' | 'mayPoll'>> {
  /** Null only where there is no gateway either. */
  readonly reach: ApiReach | null;
}

interface Opening {
  readonly config: Config;
  readonly report: Report;
  readonly changes: Changes;
  /** Null: no gateway was asked for. */
  readonly gatewayModule: Promise<GatewayModule> | null;
}

/** Null: the worker gets the API root itself. */
export async function openGateway(
  { config, report, changes, gatewayModule }: Opening,
  facts: Facts,
  sayUpdates: boolean,
  { tree, learnTree, mayPoll, reach, ...listeners }: GatewayAsks,
): Promise<GivenGateway | null> {
  if (!gatewayModule || !reach || config.token === null) return null;
  const { createGateway } = await gatewayModule;
  const { apiRoot, token, allowSetWebhook, gatewayPort } = config;
  const workerToken = config.sealed ? sealedToken(config.botId ?? 0) : token;
  const watch = watchGateway({ report, facts, config, sayUpdates, reach, ...listeners });
  const port = createGateway({
    apiRoot,
    token,
    workerToken,
    port: gatewayPort,
    allowSetWebhook,
    tree,
    learnTree,
    mayPoll,
    onNews(news) {
      watch.news(news);
      changes.touch();
    },
  });
  facts.pollers = port.pollers;
  facts.pollOpenMs = port.pollOpenMs;
  return { port, watch, token: workerToken };
}

/** In the shape of a token, of this run only. */
function sealedToken(botId: number): string {
  return `${botId}:${randomBytes(27).toString('base64url').slice(0, 35)}`;
}
