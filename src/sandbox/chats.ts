/**
 * What bots send: messages, edits, files. Enough for a bot to believe it; sent messages and files are kept, bounded.
 * Errors use the server's words for the mistakes that bots make most.
 */
import { createHash } from 'node:crypto';
import type { Args, UploadedFile } from '../gateway/params.ts';
import { integerArg } from '../gateway/params.ts';
import { type Answer, failure, success } from './answer.ts';
import type { Clock } from './clock.ts';
import { fixedResult } from './methods.ts';

const SENT_MAX = 1000;
const FILE_BYTES_MAX = 64 * 1024 * 1024;

export interface SentFile {
  readonly field: string;
  readonly fileName: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export interface SentMessage {
  readonly bot: number;
  /** As called, in lower case. */
  readonly method: string;
  readonly chatId: string;
  /** Text or caption. */
  readonly text: string;
  readonly messageId: number;
  readonly params: Readonly<Record<string, string>>;
  /** Files that came with the call. */
  readonly uploads: readonly SentFile[];
  readonly atUnixMs: number;
}

export interface Chats {
  readonly sent: SentMessage[];
  /** Carries out a call about chats, messages or files; any other known method gets a plausible answer. */
  call(bot: { id: number; user: object }, method: string, args: Args): Answer;
  /** Bytes behind a file_path of getFile, or null. */
  file(path: string): UploadedFile | null;
}

/** Method → the field of the message that holds the file. */
const FILE_FIELDS: Record<string, string> = {
  sendphoto: 'photo',
  sendaudio: 'audio',
  senddocument: 'document',
  sendvideo: 'video',
  sendanimation: 'animation',
  sendvoice: 'voice',
  sendvideonote: 'video_note',
  sendsticker: 'sticker',
};

export function createChats(clock: Clock): Chats {
  const sent: SentMessage[] = [];
  const files = new Map<string, UploadedFile>();
  const commands = new Map<string, unknown>();
  let fileBytes = 0;
  let lastMessageId = 0;
  let lastFileId = 0;

  function keep(file: UploadedFile): object {
    const fileId = `sandbox${++lastFileId}`;
    if (file.bytes.length <= FILE_BYTES_MAX) {
      files.set(fileId, file);
      fileBytes += file.bytes.length;
    }
    for (const [oldId, old] of files) {
      if (fileBytes <= FILE_BYTES_MAX) break;
      files.delete(oldId);
      fileBytes -= old.bytes.length;
    }
    return describe(fileId, file);
  }

  function fileOf(args: Args, field: string): object | null {
    const value = args.get(field);
    const attached = value.startsWith('attach://') ? value.slice(9) : field;
    const upload = args.files.find((file) => file.field === attached);
    if (upload) return keep(upload);
    const known = files.get(value);
    if (known) return describe(value, known);
    // A file id of another server, or a url: nothing is fetched.
    return value === '' ? null : { file_id: value, file_unique_id: value.slice(-20), file_size: 0 };
  }

  function content(method: string, args: Args): object | string {
    const field = FILE_FIELDS[method];
    if (method === 'sendmessage')
      return args.get('text') === '' ? 'Bad Request: message text is empty' : { text: args.get('text') };
    if (field === undefined) return args.get('text') === '' ? {} : { text: args.get('text') };
    const file = fileOf(args, field);
    if (file === null) return `Bad Request: there is no ${field.replace('_', ' ')} in the request`;
    const caption = args.get('caption');
    const media = field === 'photo' ? [{ ...file, width: 90, height: 90 }] : file;
    return { [field]: media, ...(caption !== '' && { caption }) };
  }

  function message(bot: { id: number; user: object }, method: string, args: Args): Answer {
    const chatId = args.get('chat_id');
    const inline = args.get('inline_message_id') !== '';
    if (chatId === '' && !inline) return failure(400, 'Bad Request: chat_id is empty');
    const what = content(method, args);
    if (typeof what === 'string') return failure(400, what);
    const isEdit = method.startsWith('edit') || method.startsWith('stop');
    const messageId = isEdit ? integerArg(args, 'message_id', 0) : ++lastMessageId;
    if (isEdit && messageId === 0 && !inline)
      return failure(400, 'Bad Request: message identifier is not specified');
    note(bot.id, method, args, messageId);
    if (inline) return success(true);
    const dateS = Math.floor(clock.unixMs() / 1000);
    const result = { message_id: messageId, from: bot.user, chat: chat(chatId), date: dateS, ...what };
    if (method === 'sendmediagroup') return success([result]);
    if (method.startsWith('copymessage')) return success({ message_id: messageId });
    return success(isEdit ? { ...result, edit_date: dateS } : result);
  }

  function note(bot: number, method: string, args: Args, messageId: number): void {
    const text = args.get('text') || args.get('caption');
    const params = Object.fromEntries(
      [...args.entries()].map(([name, value]) => [name, value.slice(0, 1024)]),
    );
    sent.push({
      bot,
      method,
      chatId: args.get('chat_id'),
      text,
      messageId,
      params,
      uploads: args.files.map(({ field, fileName, bytes }) => ({
        field,
        fileName,
        bytes: bytes.length,
        sha256: createHash('sha256').update(bytes).digest('hex'),
      })),
      atUnixMs: clock.unixMs(),
    });
    if (sent.length > SENT_MAX) sent.splice(0, sent.length - SENT_MAX);
  }

  return {
    sent,
    file: (path) => files.get(path.split('/').at(-1)?.split('.')[0] ?? '') ?? null,
    call(bot, method, args) {
      if (
        /^(send(?!chataction|custom|gift)|copymessage|forwardmessage|editmessage|stoppoll|stopmessage)/.test(
          method,
        )
      )
        return message(bot, method, args);
      switch (method) {
        case 'getfile': {
          const fileId = args.get('file_id');
          const file = files.get(fileId);
          if (!file) return failure(400, 'Bad Request: invalid file_id');
          return success({
            ...describe(fileId, file),
            file_path: `documents/${fileId}${extension(file.fileName)}`,
          });
        }
        case 'getchat':
          if (args.get('chat_id') === '') return failure(400, 'Bad Request: chat_id is empty');
          return success({ ...chat(args.get('chat_id')), accent_color_id: 0, max_reaction_count: 11 });
        case 'getchatmember':
          return success({
            status: 'member',
            user: { id: integerArg(args, 'user_id', 0), is_bot: false, first_name: 'User' },
          });
        case 'deletemessage':
        case 'answercallbackquery':
          note(bot.id, method, args, integerArg(args, 'message_id', 0));
          return success(true);
        case 'sendchataction':
          return args.get('chat_id') === '' ? failure(400, 'Bad Request: chat_id is empty') : success(true);
        case 'setmycommands':
        case 'deletemycommands': {
          const list = method === 'setmycommands' ? parseArray(args.get('commands')) : [];
          if (list === null) return failure(400, "Bad Request: can't parse commands JSON object");
          commands.set(`${bot.id} ${args.get('scope')} ${args.get('language_code')}`, list);
          return success(true);
        }
        case 'getmycommands':
          return success(commands.get(`${bot.id} ${args.get('scope')} ${args.get('language_code')}`) ?? []);
        default:
          return success(fixedResult(method));
      }
    },
  };
}

function describe(fileId: string, file: UploadedFile): object {
  return {
    file_id: fileId,
    file_unique_id: fileId.slice(-20),
    file_size: file.bytes.length,
    file_name: file.fileName,
    mime_type: file.contentType,
  };
}

function extension(fileName: string): string {
  return /\.[A-Za-z0-9]{1,8}$/.exec(fileName)?.[0] ?? '';
}

function chat(chatId: string): object {
  if (chatId.startsWith('@'))
    return { id: -1_001_000_000_000, type: 'channel', title: chatId, username: chatId.slice(1) };
  const id = Number(chatId) || 0;
  if (id >= 0) return { id, type: 'private', first_name: 'User' };
  return { id, type: chatId.startsWith('-100') ? 'supergroup' : 'group', title: 'Sandbox chat' };
}

function parseArray(text: string): unknown[] | null {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
