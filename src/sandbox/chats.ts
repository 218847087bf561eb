/**
 * What bots send: messages, edits, files, as far as bots rely on them. The latest messages and files are kept. The commonest
 * mistakes of bots get the server's own error messages.
 */
import { createHash } from 'node:crypto';
import { type Args, integerArg, type UploadedFile } from '../gateway/params.ts';
import { type Answer, failure, success } from './bot.ts';

const SENT_MAX = 1000;
const FILES_MAX = 20;
const PARAM_CHARS_MAX = 1024;

/** How the names of the Bot API's methods begin, so that a misspelt one gets a 404 and a new one `true`. */
const METHOD =
  /^(add|answer|approve|ban|close|convert|copy|create|decline|delete|edit|export|forward|get|gift|hide|kick|leave|pin|post|promote|read|refund|remove|reopen|replace|repost|restrict|revoke|save|send|set|stop|transfer|unban|unhide|unpin|upgrade|upload|verify)[a-z]+$/;
const MESSAGE = /^(send(?!chataction|custom|gift)|copymessage|forwardmessage|editmessage|stop)/;
const MEDIA = /^send(photo|audio|document|video|animation|voice|videonote|sticker)$/;

/** Results of methods that change nothing here and do not return `true`. */
const FIXED: Readonly<Record<string, unknown>> = {
  getuserprofilephotos: { total_count: 0, photos: [] },
  getchatadministrators: [],
  getchatmembercount: 2,
  getchatmember: { status: 'member', user: { id: 1000, is_bot: false, first_name: 'User' } },
  getmycommands: [],
  getmyname: { name: 'Sandbox bot' },
};

export function createChats() {
  const sent: ReturnType<typeof sentMessage>[] = [];
  const files = new Map<string, UploadedFile>();
  let lastMessageId = 0;
  let lastFileId = 0;

  /** A file as messages show it; files of other servers and URLs are not fetched. */
  function describe(id: string): object {
    const file = files.get(id);
    const known = file && { file_name: file.fileName, mime_type: file.contentType };
    return { file_id: id, file_unique_id: id.slice(-20), file_size: file?.bytes.length ?? 0, ...known };
  }

  /** The part of a message that depends on the method; a string tells why the call is refused. */
  function content(method: string, args: Args): object | string {
    const text = args.get('text');
    if (method === 'sendmessage' && text === '') return 'Bad Request: message text is empty';
    const field = MEDIA.exec(method)?.[1]?.replace('videonote', 'video_note');
    if (field === undefined) return text === '' ? {} : { text };
    const value = args.get(field);
    const attached = value.startsWith('attach://') ? value.slice(9) : field;
    const upload = args.files.find((file) => file.field === attached);
    const id = upload ? `sandbox${++lastFileId}` : value;
    if (upload) files.set(id, upload).delete(`sandbox${lastFileId - FILES_MAX}`);
    if (id === '') return `Bad Request: there is no ${field.replace('_', ' ')} in the request`;
    const file = field === 'photo' ? [{ ...describe(id), width: 90, height: 90 }] : describe(id);
    return { [field]: file, ...(args.get('caption') !== '' && { caption: args.get('caption') }) };
  }

  function message(bot: { id: number; user: object }, method: string, args: Args): Answer {
    const chatId = args.get('chat_id');
    if (chatId === '') return failure(400, 'Bad Request: chat_id is empty');
    const what = content(method, args);
    if (typeof what === 'string') return failure(400, what);
    const isNew = !/^(edit|stop)/.test(method);
    const messageId = isNew ? ++lastMessageId : integerArg(args, 'message_id', 0);
    if (messageId === 0) return failure(400, 'Bad Request: message identifier is not specified');
    sent.push(sentMessage(bot.id, method, args, messageId));
    if (sent.length > SENT_MAX) sent.shift();
    const date = Math.floor(Date.now() / 1000);
    const result = { message_id: messageId, from: bot.user, chat: chat(chatId), date, ...what };
    if (method.startsWith('copymessage')) return success({ message_id: messageId });
    return success(method === 'sendmediagroup' ? [result] : result);
  }

  return {
    sent,
    /** The bytes behind a `file_path` of getFile, or null. */
    file: (path: string): Buffer | null => files.get(path.split('/').at(-1) ?? '')?.bytes ?? null,
    /** Carries out a call about chats, messages or files; other methods that may exist get a plausible answer. */
    call(bot: { readonly id: number; readonly user: object }, method: string, args: Args): Answer {
      const name = method.toLowerCase();
      if (!METHOD.test(name)) return failure(404, 'Not Found: method not found');
      if (MESSAGE.test(name)) return message(bot, name, args);
      if (name === 'getchat') return success(chat(args.get('chat_id')));
      if (name !== 'getfile') return success(FIXED[name] ?? true);
      const id = args.get('file_id');
      if (!files.has(id)) return failure(400, 'Bad Request: invalid file_id');
      return success({ ...describe(id), file_path: `documents/${id}` });
    },
  };
}

function sentMessage(bot: number, method: string, args: Args, messageId: number) {
  const params = [...args.entries()].map(([name, value]) => [name, value.slice(0, PARAM_CHARS_MAX)] as const);
  const uploads = args.files.map(({ field, fileName, bytes }) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { field, fileName, bytes: bytes.length, sha256 };
  });
  const text = args.get('text') || args.get('caption');
  const chatId = args.get('chat_id');
  return { bot, method, chatId, text, messageId, params: Object.fromEntries(params), uploads };
}

function chat(chatId: string): object {
  const id = Number(chatId) || 0;
  if (id >= 0) return { id, type: 'private', first_name: 'User' };
  return { id, type: chatId.startsWith('-100') ? 'supergroup' : 'group', title: 'Sandbox chat' };
}
