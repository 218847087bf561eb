/**
 * Kinds of updates, which of them a bot is sent, and how long each waits in the queue.
 * Source: tdlib/telegram-bot-api Client::get_update_type_name, get_allowed_update_types, add_update.
 */

const KINDS =
  `message edited_message channel_post edited_channel_post inline_query chosen_inline_result callback_query
custom_event custom_query shipping_query pre_checkout_query poll poll_answer my_chat_member chat_member chat_join_request
chat_boost removed_chat_boost message_reaction message_reaction_count business_connection business_message
edited_business_message deleted_business_messages purchased_paid_media`.split(/\s+/);

const ONLY_ON_REQUEST = new Set(['chat_member', 'message_reaction', 'message_reaction_count']);

export const DEFAULT_KINDS: ReadonlySet<string> = new Set(KINDS.filter((kind) => !ONLY_ON_REQUEST.has(kind)));

/**
 * Reads `allowed_updates`: null means unchanged (absent, not JSON, not an array of strings); an empty array or one of
 * unknown names only means the default.
 */
export function parseAllowedUpdates(text: string): ReadonlySet<string> | null {
  if (text === '') return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(value) || !value.every((name) => typeof name === 'string')) return null;
  const names = new Set(
    value.map((name: string) => name.toLowerCase()).filter((name) => KINDS.includes(name)),
  );
  return names.size === 0 ? DEFAULT_KINDS : names;
}

/** The field that says what the update is; an unknown one passes for a message, so that any object can be injected. */
export function kindOf(update: object): string {
  return Object.keys(update).find((key) => KINDS.includes(key)) ?? 'message';
}

const LIFETIME_S: Record<string, number> = {
  inline_query: 30,
  chosen_inline_result: 600,
  callback_query: 150,
};

export function lifetimeMs(kind: string): number {
  return (LIFETIME_S[kind] ?? 86_400) * 1000;
}
