/** `singlepoll ping [text]`: a message to the admin chat; proves token, chat and way, not that the worker polls. */
import { EXIT, SinglepollError } from '../errors.ts';
import { openBotApi } from '../telegram/bot-api.ts';
import { retrying } from '../telegram/reach.ts';
import { configure, type Invocation, warn } from './context.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { config, warnings } = await configure(invocation);
  warn(warnings);
  const { adminChatId, token, apiRoot } = config;
  if (adminChatId === null)
    throw new SinglepollError(
      EXIT.config,
      'no admin chat: ASSISTANT_ADMIN_TELEGRAM_ID and TELEGRAM_ADMIN_CHAT_ID are not set',
      'send /start to the bot, then set ASSISTANT_ADMIN_TELEGRAM_ID to your numeric id (@userinfobot tells it)',
    );
  const text = invocation.words.join(' ') || '/ping';
  const api = openBotApi(apiRoot, token as string);
  const say = (problem: string) => warn([problem]);
  const send = async () => {
    const sent = await api.call<{ message_id: number }>('sendMessage', { chat_id: adminChatId, text });
    // The bot itself may be turned down: a refused token, a logOut. This throws then, so that the chat is not blamed.
    if (sent.kind === 'error' || sent.kind === 'refused')
      await retrying('getMe', () => api.call('getMe'), config, new AbortController().signal, say);
    return sent;
  };
  const reply = await send().finally(() => api.close());
  if (reply.kind === 'ok') {
    const ms = Math.round(reply.tookMs);
    process.stdout.write(`message ${reply.result.message_id} sent to ${adminChatId}, round trip ${ms} ms\n`);
    return EXIT.ok;
  }
  if (reply.kind === 'error')
    throw new SinglepollError(
      EXIT.config,
      `chat ${adminChatId} can't be written to: ${reply.description}`,
      'send /start to the bot from that chat first, and check the id',
    );
  throw new SinglepollError(EXIT.unreachable, `no message sent: ${reply.description}`, 'singlepoll ping');
}
