/** Where a source file polls, sets a webhook, or could: one pattern per library and way. */
import { withoutComments } from './code.ts';
import { lineAt } from './files.ts';
import { type Language, languageOf } from './kinds.ts';

export interface Evidence {
  readonly file: string;
  readonly line: number;
  /** The call, such as `run_polling`. */
  readonly what: string;
}

interface Sign {
  readonly language: Language;
  readonly pattern: RegExp;
  /** The file must hold this, too. */
  readonly beside?: RegExp;
  /** What follows the call must not hold this (within its arguments). */
  readonly not?: RegExp;
}

const BOT_NAME = String.raw`(?:this\.)?\w*(?:[bB]ot|[tT]elegraf|app)\w*`;

const POLLS: readonly Sign[] = [
  { language: 'python', pattern: /\.(run_polling|start_polling|infinity_polling)\b/g },
  { language: 'python', pattern: /\.(polling)\s*[(,)]/g, beside: /\btelebot\b|TeleBot/ },
  { language: 'python', pattern: /\b(?<!def )(get_updates|getUpdates)\s*\(/g },
  { language: 'python', pattern: /(?:\(\s*["']|\/)(getUpdates)\b/g },
  { language: 'python', pattern: /\b(MessageLoop)\s*\(/g, beside: /\btelepot\b/ },
  {
    language: 'js',
    pattern: new RegExp(String.raw`\b${BOT_NAME}\.(start)\s*\(`, 'g'),
    beside: /grammy|gramio|puregram|@?[bB]ot\b/,
  },
  { language: 'js', pattern: /(?<![\w.])(run)\s*\(\s*\w*[bB]ot\w*/g, beside: /@grammyjs\/runner/ },
  { language: 'js', pattern: new RegExp(String.raw`\b${BOT_NAME}\.(launch)\s*\(`, 'g'), not: /webhook/i },
  {
    language: 'js',
    pattern: /\b(polling)\s*:\s*(?:true\b|\{)/g,
    beside: /node-telegram-bot-api|TelegramBot/,
  },
  { language: 'js', pattern: /\.(startPolling)\s*\(/g },
  { language: 'js', pattern: /\b(?<!function )(getUpdates)\s*\((?!\s*\)\s*\{)/g },
  { language: 'js', pattern: /(?:\(\s*["'`]|\/)(getUpdates)\b/g },
  {
    language: 'other-code',
    pattern: /\.(GetUpdatesChan|UpdatesViaLongPolling|StartPolling|GetUpdates)\s*\(/g,
  },
  { language: 'other-code', pattern: /\b(LongPoller)\s*\{/g },
  { language: 'other-code', pattern: /\bb(?:ot)?\.(Start)\s*\(\s*ctx/g, beside: /go-telegram\/bot/ },
  { language: 'other-code', pattern: /Telegram::Bot::Client\.(run)\b/g },
  { language: 'other-code', pattern: /->(handleGetUpdates|getUpdates)\s*\(/g },
  {
    language: 'other-code',
    pattern:
      /\b(TelegramLongPollingBot|TelegramBotsLongPollingApplication|LongPollingSingleThreadUpdateConsumer)\b/g,
  },
  { language: 'other-code', pattern: /\.(StartReceiving|ReceiveAsync)\s*\(/g },
  { language: 'other-code', pattern: /(teloxide::repl|Dispatcher::builder)\b/g, beside: /teloxide/ },
];

const WEBHOOKS: readonly Sign[] = [
  {
    language: 'python',
    pattern: /(?<!def )(?<!def _)\b(set_webhook|setWebhook|run_webhook|start_webhook)\s*\(/g,
    not: /^\s*(?:\)|["']{2}|url\s*=\s*["']{2}|None)/,
  },
  { language: 'python', pattern: /(?:\(\s*["']|\/)(setWebhook)\b/g },
  {
    language: 'js',
    pattern: /\b(?<!function )(setWebhook|setWebHook|webhookCallback|startWebhook)\s*\(/g,
    not: /^\s*(?:\)|["'`]{2})/,
  },
  { language: 'js', pattern: /(?:\(\s*["'`]|\/)(setWebhook)\b(?!\?url=["'`&])/g },
  { language: 'js', pattern: new RegExp(String.raw`\b${BOT_NAME}\.(launch)\s*\(\s*\{[^}]*\bwebhook\b`, 'g') },
  {
    language: 'other-code',
    pattern: /\b(SetWebhook|setWebhook|NewWebhook\w*|set_webhook|SetWebhookAsync)\s*\(/g,
  },
];

/** Every place in a file where it polls by the Bot API. */
export const pollsIn = (path: string, text: string): Evidence[] => find(POLLS, path, text);

/** Every place where it takes its updates by webhook, or sets one. */
export const webhooksIn = (path: string, text: string): Evidence[] => find(WEBHOOKS, path, text);

function find(signs: readonly Sign[], path: string, text: string): Evidence[] {
  const language = languageOf(path);
  if (language === null) return [];
  const code = withoutComments(path, text);
  const found = new Map<number, Evidence>();
  for (const sign of signs) {
    if (sign.language !== language || (sign.beside && !sign.beside.test(text))) continue;
    for (const match of code.matchAll(sign.pattern)) {
      const rest = code.slice(match.index + match[0].length, match.index + match[0].length + 400);
      const argumentsText = rest.slice(0, closing(rest));
      if (sign.not?.test(argumentsText)) continue;
      const line = lineAt(code, match.index);
      if (!found.has(line)) found.set(line, { file: path, line, what: match[1]! });
    }
  }
  return [...found.values()].sort((a, b) => a.line - b.line);
}

/** Where the bracket that was open before this text closes. */
function closing(text: string): number {
  let depth = 1;
  for (let at = 0; at < text.length; at++) {
    if ('([{'.includes(text[at]!)) depth += 1;
    else if (')]}'.includes(text[at]!) && --depth === 0) return at + 1;
  }
  return text.length;
}
