/**
 * One Bot API request from its bytes to its answer: parameters, record, fault or call. A poll is never ended because its
 * client went away (the real server does not notice either); the record notes it, for judging overlaps.
 * Source: tdlib/telegram-bot-api HttpConnection::handle.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Route } from '../gateway/params.ts';
import { type Args, addBody, addFormParams, createArgs, integerArg, readBody } from '../gateway/params.ts';
import { type Answer, failure } from './answer.ts';
import type { Clock } from './clock.ts';
import type { Fault, Faults } from './faults.ts';
import type { RequestLog, RequestRecord } from './request-log.ts';
import { faultStatus, send, sendFault } from './wire.ts';
import type { World } from './world.ts';

const PARAM_CHARS_MAX = 1024;
const TOKEN = /\d{5,}:[A-Za-z0-9_-]{24,}/g;

export interface ExchangePorts {
  readonly clock: Clock;
  readonly world: World;
  readonly log: RequestLog;
  readonly faults: Faults;
}

export interface Incoming {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly route: Exclude<Route, { kind: 'control' }>;
  /** Not decoded. */
  readonly query: string;
  readonly startedAtMs: number;
}

/** Returns the function that serves one request; it rejects with UnreadableRequest, or when the client left early. */
export function createExchange(ports: ExchangePorts): (incoming: Incoming) => Promise<void> {
  const { clock, world, log, faults } = ports;
  let lastId = 0;

  /** Starts the record of a request; the returned function ends it. */
  function startRecord(
    record: RequestRecord,
    request: IncomingMessage,
  ): (change: Partial<RequestRecord>) => void {
    const { socket } = request;
    const noteGone = (): void => {
      record.clientGoneAtMs ??= performance.now();
    };
    socket.once('close', noteGone);
    log.start(record);
    return (change) => {
      socket.off('close', noteGone);
      Object.assign(record, change, { endedAtMs: performance.now() });
      log.end(record);
    };
  }

  function carryOut(
    call: (reply: (answer: Answer) => void) => void,
    fault: Fault | null,
    incoming: Incoming,
    end: (change: Partial<RequestRecord>) => void,
  ): void {
    const { request, response } = incoming;
    const deliver = (answer: Answer): void => {
      const { delivered = [], waited = false, status } = answer;
      end({ delivered, waited, status, error: status === 200 ? null : errorOf(answer) });
      send(response, status, JSON.stringify(answer.body), answer.retryAfter);
    };
    const breakOff = (error: string): void => {
      end({ error });
      request.socket.resetAndDestroy();
    };
    switch (fault?.kind) {
      case undefined:
        call(deliver);
        return;
      case 'slow':
        call((answer) => {
          clock.after(fault?.ms ?? 1000, () => deliver(answer));
        });
        return;
      case 'gone':
        call(() => breakOff('answer lost'));
        return;
      case 'reset':
        breakOff('connection reset');
        return;
      case 'hang':
        return;
      default:
        end({ status: faultStatus(fault as Fault), error: `fault ${fault?.kind}` });
        sendFault(response, fault as Fault);
    }
  }

  return async (incoming) => {
    const { request, response, route, query } = incoming;
    const args = createArgs();
    addFormParams(query, args);
    addBody(await readBody(request), request.headers, args);
    if (route.kind === 'none') return sendNotFound(response, route.description);
    if (route.kind === 'file') {
      const file = world.find(route.token, route.test) && world.chats.file(route.path);
      return file ? send(response, 200, file.bytes) : sendNotFound(response, 'Not Found');
    }
    const method = route.method === '' ? args.get('method') : route.method;
    const record = newRecord(incoming, ++lastId, world.find(route.token, route.test)?.id ?? 0, method, args);
    const end = startRecord(record, request);
    const fault = faults.strike(method, record.bot);
    record.fault = fault?.kind ?? null;
    carryOut((reply) => world.call(route.token, route.test, method, args, reply), fault, incoming, end);
  };
}

function sendNotFound(response: ServerResponse, description: string): void {
  send(response, 404, JSON.stringify(failure(404, description).body));
}

function errorOf(answer: Answer): string {
  return (answer.body as { description?: string }).description ?? `status ${answer.status}`;
}

function shown(text: string): string {
  return text.slice(0, PARAM_CHARS_MAX).replace(TOKEN, (token) => `${token.split(':')[0]}:…`);
}

function newRecord(incoming: Incoming, id: number, bot: number, method: string, args: Args): RequestRecord {
  const { request, startedAtMs } = incoming;
  return {
    id,
    bot,
    method: shown(method),
    params: Object.fromEntries([...args.entries()].map(([name, value]) => [name, shown(value)])),
    offset: method.toLowerCase() === 'getupdates' ? integerArg(args, 'offset', 0) : null,
    userAgent: request.headers['user-agent'] ?? '',
    remotePort: request.socket.remotePort ?? 0,
    startedAtMs,
    startedAtUnixMs: Math.round(performance.timeOrigin + startedAtMs),
    endedAtMs: null,
    clientGoneAtMs: null,
    status: 0,
    error: null,
    delivered: [],
    waited: false,
    fault: null,
  };
}
