/**
 * Lines typed at a running sandbox, as data. Pure: parses, does nothing.
 */
import type { Fault, FaultKind } from './faults.ts';

export type Action =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'help' }
  | { readonly kind: 'text'; readonly bot: number | null; readonly text: string }
  | { readonly kind: 'update'; readonly bot: number | null; readonly update: object }
  | { readonly kind: 'fault'; readonly fault: Fault }
  | { readonly kind: 'clear' }
  | { readonly kind: 'webhook'; readonly bot: number | null; readonly url: string }
  | { readonly kind: 'rival'; readonly bot: number | null; readonly seconds: number }
  | { readonly kind: 'revoke'; readonly bot: number | null }
  | { readonly kind: 'log'; readonly count: number }
  | { readonly kind: 'sent'; readonly count: number }
  | { readonly kind: 'bots' }
  | { readonly kind: 'add-bot' }
  | { readonly kind: 'error'; readonly message: string };

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

const PLAIN_FAULTS: readonly string[] = ['html', 'reset', 'gone', 'hang', 'garbage'] satisfies FaultKind[];
const METHOD = /^[A-Za-z]+$/;

function fail(message: string): Action {
  return { kind: 'error', message };
}

/** Understands one line; never throws. */
export function parseLine(line: string): Action {
  const addressed = /^@(\d+)(?:\s+|$)(.*)$/s.exec(line.trim());
  const bot = addressed ? Number(addressed[1]) : null;
  const rest = (addressed ? (addressed[2] ?? '') : line).trim();
  if (rest === '') return { kind: 'nothing' };
  if (rest.startsWith('!!')) return { kind: 'text', bot, text: rest.slice(1) };
  if (rest.startsWith('!')) return parseCommand(rest.slice(1).trim().split(/\s+/), bot);
  if (!rest.startsWith('{')) return { kind: 'text', bot, text: rest };
  try {
    return { kind: 'update', bot, update: JSON.parse(rest) as object };
  } catch (error) {
    return fail(`not JSON: ${(error as Error).message}`);
  }
}

function parseCommand([name = '', ...words]: string[], bot: number | null): Action {
  const command = name.toLowerCase();
  const number = words.find((word) => /^\d+$/.test(word));
  const method = words.find((word) => METHOD.test(word));
  const odd = words.find((word) => word !== '*' && !/^\d+$/.test(word) && !METHOD.test(word));
  const target = { method, bot: bot ?? undefined };
  const fault = (made: Pick<Fault, 'kind'> & Partial<Fault>): Action =>
    odd === undefined
      ? { kind: 'fault', fault: { ...target, ...made } }
      : fail(`not understood: ${odd} (a method name or a number is meant here)`);
  const count = words.includes('*') ? 0 : number === undefined ? 1 : Number(number);

  if (command === '429') return fault({ kind: 'retry-after', retryAfter: Number(number ?? 1) });
  if (/^\d+$/.test(command)) {
    const status = Number(command);
    return status >= 400 && status <= 599
      ? fault({ kind: 'status', status, count })
      : fail(`${command} is no error status (400 to 599)`);
  }
  if (PLAIN_FAULTS.includes(command)) return fault({ kind: command as FaultKind, count });
  switch (command) {
    case 'slow':
      return fault({ kind: 'slow', ms: Number(number ?? 1000) });
    case 'clear':
    case 'bots':
    case 'help':
      return { kind: command };
    case 'bot':
      return { kind: 'add-bot' };
    case 'webhook':
      return { kind: 'webhook', bot, url: words[0] ?? '' };
    case 'rival':
      return { kind: 'rival', bot, seconds: Number(number ?? 10) };
    case 'revoke':
      return { kind: 'revoke', bot };
    case 'log':
    case 'sent':
      return { kind: command, count: Number(number ?? 10) };
    default:
      return fail(`no such command: !${name} (try !help)`);
  }
}
