/**
 * The update that a text message from a user makes; a leading slash is marked as a command, as Telegram does.
 */

export function textUpdate(messageId: number, text: string): object {
  const entities = text.startsWith('/')
    ? { entities: [{ type: 'bot_command', offset: 0, length: text.split(/\s/, 1)[0]?.length ?? 0 }] }
    : {};
  return {
    message: {
      message_id: messageId,
      from: { id: 1000, is_bot: false, first_name: 'User', language_code: 'en' },
      chat: { id: 1000, first_name: 'User', type: 'private' },
      date: Math.floor(Date.now() / 1000),
      text,
      ...entities,
    },
  };
}
