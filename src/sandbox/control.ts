/**
 * The sandbox's own HTTP surface under /sandbox: what a user or an outside test asks of the sandbox itself. JSON in, JSON
 * out. A token leaves only in the answer that creates it.
 */
import { type Fault, parseFault } from './faults.ts';
import type { RequestRecord } from './request-log.ts';
import type { Sandbox } from './server.ts';

export interface ControlAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** What the control surface needs beyond the Sandbox itself. */
export interface ControlPorts {
  readonly sandbox: Sandbox;
  readonly bots: () => readonly { id: number; token: string; username: string; bot: BotFacts }[];
  readonly faults: () => readonly Fault[];
  readonly clearFaults: () => void;
  readonly records: () => readonly RequestRecord[];
}

interface BotFacts {
  pendingCount(): number;
  polling(): boolean;
  webhookInfo(): object;
}

const HELP =
  'see GET /sandbox; POST /sandbox/bots, /sandbox/updates, /sandbox/faults; GET /sandbox/log, /sandbox/sent';

function problem(status: number, error: string): ControlAnswer {
  return { status, body: { error } };
}

/** Answers one control request. `path` comes without `/sandbox`, `body` as text. */
export function control(
  ports: ControlPorts,
  verb: string,
  path: string,
  query: URLSearchParams,
  bodyText: string,
): ControlAnswer {
  let body: Record<string, unknown> = {};
  if (bodyText.trim() !== '') {
    try {
      body = JSON.parse(bodyText) as Record<string, unknown>;
    } catch {
      return problem(400, 'the body is not JSON');
    }
    if (typeof body !== 'object' || body === null) return problem(400, 'a JSON object is needed');
  }
  const { sandbox } = ports;
  switch (`${verb} ${path.replace(/\/$/, '')}`) {
    case 'GET ':
      return { status: 200, body: overview(ports) };
    case 'POST /bots': {
      if (body.token !== undefined && typeof body.token !== 'string')
        return problem(400, 'token must be a string');
      try {
        const token = sandbox.addBot(body.token as string | undefined);
        return { status: 201, body: { id: Number(token.split(':')[0]), token } };
      } catch (error) {
        return problem(400, (error as Error).message);
      }
    }
    case 'POST /updates':
      return inject(ports, body);
    case 'GET /log':
      return { status: 200, body: select(ports.records(), query) };
    case 'GET /sent': {
      const bot = query.get('bot');
      return { status: 200, body: sandbox.sent.filter((sent) => bot === null || sent.bot === Number(bot)) };
    }
    case 'GET /faults':
      return { status: 200, body: ports.faults() };
    case 'POST /faults': {
      const fault = parseFault(body);
      if (typeof fault === 'string') return problem(400, fault);
      sandbox.fault(fault);
      return { status: 201, body: ports.faults() };
    }
    case 'DELETE /faults':
      ports.clearFaults();
      return { status: 200, body: [] };
    default:
      return problem(404, HELP);
  }
}

function overview(ports: ControlPorts): object {
  return {
    root: ports.sandbox.root,
    bots: ports.bots().map(({ id, username, bot }) => ({
      id,
      username,
      pendingUpdates: bot.pendingCount(),
      polling: bot.polling(),
      webhook: (bot.webhookInfo() as { url: string }).url,
    })),
    requests: ports.records().at(-1)?.id ?? 0,
    sent: ports.sandbox.sent.length,
    faults: ports.faults().length,
  };
}

function inject(ports: ControlPorts, body: Record<string, unknown>): ControlAnswer {
  const known = ports.bots();
  const bot = body.bot === undefined ? known[0] : known.find(({ id }) => id === Number(body.bot));
  if (!bot) return problem(404, 'no such bot');
  const { update, text } = body;
  if (typeof update === 'object' && update !== null)
    return { status: 201, body: { update_id: ports.sandbox.inject(bot.token, update) } };
  if (typeof text === 'string')
    return { status: 201, body: { update_id: ports.sandbox.injectText(bot.token, text) } };
  return problem(400, 'text (a string) or update (an object) is needed');
}

function select(records: readonly RequestRecord[], query: URLSearchParams): readonly RequestRecord[] {
  const bot = query.get('bot');
  const since = Number(query.get('since') ?? 0);
  return records.filter((record) => record.id > since && (bot === null || record.bot === Number(bot)));
}
