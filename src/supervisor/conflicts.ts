/**
 * Reads the worker's output for a 409: in direct mode the only sign of another poller. Wordings of the libraries:
 * tdlib/telegram-bot-api Client.cpp (the descriptions), and what grammY, Telegraf, node-telegram-bot-api,
 * python-telegram-bot, aiogram, pyTelegramBotAPI print around them. Pure.
 */
export type ConflictKind = 'poller' | 'webhook';

const WEBHOOK = /can't use getUpdates method while webhook is active|terminated by setWebhook request/;
const POLLER =
  /terminated by other getUpdates|terminated by other long poll|HTTP Error 409: Conflict|TelegramConflictError/;

/** Null: no 409 in this text. */
export function conflictIn(text: string): ConflictKind | null {
  if (WEBHOOK.test(text)) return 'webhook';
  return POLLER.test(text) ? 'poller' : null;
}
