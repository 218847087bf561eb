/** Times of the Bot API server (tdlib/telegram-bot-api Client.h, Client.cpp). */

/** A longer timeout of getUpdates is answered after this (LONG_POLL_MAX_TIMEOUT). */
export const LONG_POLL_MAX_S = 50;
/** A 409 within this time of the last one is held back for as long (fail_query_conflict). */
export const CONFLICT_HOLD_MS = 3_000;
