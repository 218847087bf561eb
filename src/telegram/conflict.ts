/**
 * Which 409 of getUpdates it is, by the Bot API's own description. Texts: tdlib/telegram-bot-api Client.cpp
 * (fail_query_conflict). What libraries print of it is read elsewhere: supervise/conflicts.ts. Pure.
 */

/**
 * True: a webhook is active, being set or deleted. False: another poller took the poll (years ago that read "terminated by other
 * long poll or webhook").
 */
export function isWebhookConflict(description: string): boolean {
  return /webhook/i.test(description) && !/other getUpdates|long poll/i.test(description);
}
