/**
 * What a running sandbox can be asked to do: one list of actions for the lines typed at it and for its HTTP interface under
 * /sandbox (JSON in, JSON out). A token appears only in the answer that creates it.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  checkedFault,
  FAULTS,
  type Fault,
  type RequestRecord,
  type SandboxBot,
  type SandboxCore,
} from './core.ts';

type Input = Readonly<Record<string, unknown>>;
export type Sandbox = SandboxCore & { readonly root: string };

/** Returns JSON, for HTTP and the terminal; throws an error that says why something can't be done. */
type Action = (sandbox: Sandbox, input: Input) => unknown;

/** HTTP method and path below /sandbox → action. */
const ACTIONS = {
  'GET ': (sandbox) => ({
    root: sandbox.root,
    bots: sandbox.bots().map((bot) => ({ id: bot.id, username: bot.username, ...bot.state() })),
    requests: sandbox.log.at(-1)?.id ?? 0,
    sent: sandbox.sent.length,
    faults: sandbox.faults().length,
  }),
  'POST /bots': (sandbox, input) => {
    const token = sandbox.addBot(input.token === undefined ? undefined : String(input.token));
    return { id: Number(token.split(':')[0]), token };
  },
  'POST /updates': (sandbox, { text, update, ...input }) => {
    const { token } = botOf(sandbox, input);
    const isUpdate = typeof update === 'object' && update !== null;
    if (!isUpdate && typeof text !== 'string')
      throw new Error('text (a string) or update (an object) is needed');
    const id = isUpdate ? sandbox.inject(token, update) : sandbox.injectText(token, String(text));
    return { update_id: id, ...(id === 0 && { why: 'kept out by allowed_updates' }) };
  },
  'GET /faults': (sandbox) => sandbox.faults(),
  'POST /faults': (sandbox, input) => sandbox.fault(checkedFault(input)),
  'DELETE /faults': (sandbox) => sandbox.clearFaults(),
  'POST /webhook': async (sandbox, input) => {
    const params = { url: String(input.url ?? '') };
    return (await sandbox.call(botOf(sandbox, input).token, 'setWebhook', params)).body;
  },
  'POST /rival': (sandbox, input) =>
    playRival(sandbox.root, botOf(sandbox, input).token, Number(input.seconds ?? 10)),
  'POST /revoke': (sandbox, input) => {
    const { id, token } = botOf(sandbox, input);
    sandbox.revoke(token);
    return { id, revoked: true };
  },
  'GET /log': (sandbox, input) => selected(sandbox.log, input),
  'GET /sent': (sandbox, input) => selected(sandbox.sent, input),
} satisfies Record<string, Action>;
type ActionName = keyof typeof ACTIONS;

function botOf(sandbox: Sandbox, { bot }: Input): SandboxBot {
  const found = sandbox.bots().find(({ id }) => bot === undefined || id === Number(bot));
  if (!found) throw new Error(`no bot ${bot ?? ''} here (try !bots, !bot)`);
  return found;
}

function selected<Item extends { readonly bot: number; readonly id?: number }>(
  items: readonly Item[],
  { bot, since = 0, last = 0 }: Input,
): readonly Item[] {
  return items
    .filter((item) => bot === undefined || item.bot === Number(bot))
    .filter((item) => item.id === undefined || item.id > Number(since))
    .slice(-Number(last));
}

/** Polls like a stubborn poller elsewhere: long polls, repeated 1 s after any error. */
async function playRival(root: string, token: string, seconds: number) {
  const signal = AbortSignal.timeout(seconds * 1000);
  let polls = 0;
  let conflicts = 0;
  while (!signal.aborted) {
    polls += 1;
    try {
      const response = await fetch(`${root}/bot${token}/getUpdates?timeout=30`, { signal });
      await response.text();
      if (response.status === 409) conflicts += 1;
    } catch {
      // The rival's time is over, or a fault was requested.
    }
    await sleep(1000, undefined, { signal }).catch(() => undefined);
  }
  return { polls, conflicts };
}

/** Answers one request under /sandbox. `target` is HTTP method and path below it, `body` the text of the request. */
export async function control(
  sandbox: Sandbox,
  target: string,
  query: string,
  body: string,
): Promise<{ status: number; body: unknown }> {
  const action = (ACTIONS as Record<string, Action>)[target.replace(/\/$/, '')];
  if (!action) {
    const known = Object.keys(ACTIONS).map((name) => name.replace(' ', ' /sandbox'));
    return { status: 404, body: { error: `there are ${known.join(', ')}` } };
  }
  try {
    const input = { ...Object.fromEntries(new URLSearchParams(query)), ...jsonObject(body || '{}') };
    return { status: 200, body: await action(sandbox, input) };
  } catch (error) {
    return { status: 400, body: { error: (error as Error).message } };
  }
}

/** Throws if the text is no JSON object. */
function jsonObject(text: string): Record<string, unknown> {
  // Not parseObject, since whoever typed it is told where the mistake is.
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error('a JSON object is needed');
  return value as Record<string, unknown>;
}

export const CONSOLE_HELP = `Type a line:
  any text                   a message to the bot          {"message": …}   an update as JSON
  !502 [method] [count]      that status (400 to 599), once or count times; * = until !clear
  !html [method] [count]     502 with an HTML page
  !429 [seconds] [method]    too many requests, retry after so long
  !reset  !gone  !hang  !garbage  [method] [count]
                             reset before the call is carried out · carried out, answer lost · no answer · no JSON
  !slow [ms] [method]        carried out at once, answered later
  !clear                     no more faults
  !webhook [url]             set a webhook as somebody else would; without url: delete it
  !rival [seconds]           poll the bot as a rival elsewhere would (default 10)
  !revoke                    the token is refused from now on
  !log [n]  !sent [n]        the last requests · the last messages that bots sent
  !bots  !bot                list the bots · add one
  !help                      this
  @ID in front of a line means the bot with that id; a text that begins with ! is typed with two`;

/** The action that a typed line asks for, with what it is given. */
type Order = readonly [action: ActionName, input: Input];

/** Typed command → action, with the meaning of the first number and the first word after it. */
const COMMANDS = new Map<string, (number: number | undefined, word: string) => Order>([
  ['bots', () => ['GET ', {}]],
  ['bot', () => ['POST /bots', {}]],
  ['webhook', (_, url) => ['POST /webhook', { url }]],
  ['rival', (seconds = 10) => ['POST /rival', { seconds }]],
  ['log', (last = 10) => ['GET /log', { last }]],
  ['sent', (last = 10) => ['GET /sent', { last }]],
  ['clear', () => ['DELETE /faults', {}]],
  ['revoke', () => ['POST /revoke', {}]],
]);

/** Parses one line. A text: it asks for nothing, and that is to be shown. */
export function parseLine(line: string): Order | string {
  const [, id, rest = ''] = /^(?:@(\d+)(?:\s+|$))?(.*)$/s.exec(line.trim()) ?? [];
  const bot = id === undefined ? {} : { bot: Number(id) };
  if (rest.startsWith('{'))
    try {
      return ['POST /updates', { ...bot, update: jsonObject(rest) }];
    } catch (error) {
      return (error as Error).message;
    }
  if (!/^!(?!!)/.test(rest)) return ['POST /updates', { ...bot, text: rest.replace(/^!!/, '!') }];
  const order = parseCommand(rest.slice(1).trim());
  return typeof order === 'string' ? order : [order[0], { ...bot, ...order[1] }];
}

function parseCommand(line: string): Order | string {
  const [name = '', ...words] = line.split(/\s+/);
  const command = name.toLowerCase();
  if (command === 'help') return CONSOLE_HELP;
  const digits = words.find((word) => /^\d+$/.test(word));
  const number = digits === undefined ? undefined : Number(digits);
  const found = COMMANDS.get(command)?.(number, words[0] ?? '');
  if (found) return found;
  const fault = faultOf(command, number, words.includes('*'));
  if (!fault) return `no such command: !${name} (try !help)`;
  const odd = words.find((word) => !/^(\*|\d+|[A-Za-z]+)$/.test(word));
  if (odd !== undefined) return `not understood: ${odd} (a method name or a number is meant here)`;
  const method = words.find((word) => /^[A-Za-z]+$/.test(word));
  return ['POST /faults', { ...(method && { method }), ...fault }];
}

function faultOf(command: string, number: number | undefined, always: boolean): Fault | null {
  const count = always ? 0 : (number ?? 1);
  if (command === '429') return { kind: 'retry-after', retryAfter: number ?? 1 };
  if (/^[45]\d\d$/.test(command)) return { kind: 'status', status: Number(command), count };
  if (command === 'slow') return { kind: 'slow', ms: number ?? 1000 };
  const kind = FAULTS.find((known) => known === command && known !== 'status');
  return kind ? { kind, count } : null;
}

/** Carries out a typed line and shows the result. Never rejects. */
async function perform(sandbox: Sandbox, line: string, show: (line: string) => void): Promise<void> {
  try {
    const order = parseLine(line);
    if (typeof order === 'string') return show(order);
    const [action, input] = order;
    if (action === 'GET /log')
      for (const record of selected(sandbox.log, input)) show(describeRequest(record));
    else show(JSON.stringify(await ACTIONS[action](sandbox, input)));
  } catch (error) {
    show((error as Error).message);
  }
}

/** Describes one request in a line: method, parameters, result, duration. */
function describeRequest(record: RequestRecord): string {
  const { bot, method, params, status, error, startedAtMs, endedAtMs, delivered } = record;
  const time = new Date(record.startedAtUnixMs).toISOString().slice(11, 23);
  const asked = Object.entries(params).map(([name, value]) => ` ${name}=${value.slice(0, 40)}`);
  const outcome =
    endedAtMs === null
      ? `open${record.clientGoneAtMs === null ? '' : ', client gone'}`
      : `${status || 'no answer'}${error ? ` ${error}` : ''} after ${Math.round(endedAtMs - startedAtMs)} ms`;
  const updates = delivered.length === 0 ? '' : `, ${delivered.length} updates`;
  return `${time} ${bot} port ${record.remotePort} ${method}${asked.join('')} → ${outcome}${updates}`;
}

/** Carries out each line of the input until that ends; `show` gets every line to print. */
export async function serveConsole(
  sandbox: Sandbox,
  input: NodeJS.ReadableStream,
  show: (line: string) => void,
): Promise<void> {
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      // Not awaited, as a rival polls for a while and the next line need not wait for that.
      if (!/^\s*(@\d+\s*)?$/.test(line)) void perform(sandbox, line, show);
    }
  } catch {
    // The sandbox goes on without its terminal.
  }
}
