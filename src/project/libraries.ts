/**
 * The Telegram libraries that a project may use: how they are named in manifests and imports, and the one line that points
 * each at TELEGRAM_API_ROOT. The lines come from the libraries' documentation and are those of the README.
 */
import { baseOf, isAside, lineAt, type Project } from './files.ts';
import { languageOf } from './kinds.ts';

export interface Library {
  readonly name: string;
  /** In package.json, requirements.txt, pyproject.toml, go.mod and the like. */
  readonly dependency: RegExp;
  /** In the source. */
  readonly imported: RegExp;
  /** The line that points it at the gateway; null where there is none. */
  readonly apiRoot: string | null;
}

export interface FoundLibrary {
  readonly library: Library;
  readonly file: string;
  readonly line: number;
}

const python = (module: string) => new RegExp(`^\\s*(?:from|import)\\s+${module}(?:[.\\s,]|$)`, 'm');
const node = (module: string) =>
  new RegExp(`(?:from|require\\(|import\\(|import)\\s*['"\`]${module}(?:/[^'"]*)?['"\`]`);

export const LIBRARIES: readonly Library[] = [
  {
    name: 'grammY',
    dependency: /^grammy$/,
    imported: node('(?:grammy|@grammyjs/[\\w-]+|https://deno\\.land/x/grammy[^\'"]*)'),
    apiRoot: 'new Bot(token, { client: { apiRoot: process.env.TELEGRAM_API_ROOT } })',
  },
  {
    name: 'Telegraf',
    dependency: /^telegraf$/,
    imported: node('telegraf'),
    apiRoot: 'new Telegraf(token, { telegram: { apiRoot: process.env.TELEGRAM_API_ROOT } })',
  },
  {
    name: 'node-telegram-bot-api',
    dependency: /^node-telegram-bot-api$/,
    imported: node('node-telegram-bot-api'),
    apiRoot: 'new TelegramBot(token, { polling: true, baseApiUrl: process.env.TELEGRAM_API_ROOT })',
  },
  {
    name: 'GramIO',
    dependency: /^gramio$/,
    imported: node('gramio'),
    apiRoot: 'new Bot(token, { api: { baseURL: process.env.TELEGRAM_API_ROOT + "/bot" } })',
  },
  {
    name: 'aiogram',
    dependency: /^aiogram$/,
    imported: python('aiogram'),
    apiRoot:
      'Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(os.environ["TELEGRAM_API_ROOT"])))',
  },
  {
    name: 'python-telegram-bot',
    dependency: /^python-telegram-bot$/,
    imported: python('telegram'),
    apiRoot:
      'ApplicationBuilder().token(token).base_url(root + "/bot").base_file_url(root + "/file/bot")   # root = os.environ["TELEGRAM_API_ROOT"]',
  },
  {
    name: 'pyTelegramBotAPI',
    dependency: /^pytelegrambotapi$/,
    imported: python('telebot'),
    apiRoot: 'telebot.apihelper.API_URL = os.environ["TELEGRAM_API_ROOT"] + "/bot{0}/{1}"',
  },
  {
    name: 'Telethon',
    dependency: /^telethon$/,
    imported: python('telethon'),
    apiRoot: null,
  },
  {
    name: 'Pyrogram',
    dependency: /^(pyrogram|kurigram|pyrofork)$/,
    imported: python('pyrogram'),
    apiRoot: null,
  },
  {
    name: 'Go telebot',
    dependency: /^gopkg\.in\/telebot\.v\d+$|^gopkg\.in\/tucnak\/telebot/,
    imported: /"gopkg\.in\/(?:tucnak\/)?telebot\.v\d+"/,
    apiRoot: 'tele.NewBot(tele.Settings{Token: token, URL: os.Getenv("TELEGRAM_API_ROOT")})',
  },
  {
    name: 'Go telegram-bot-api',
    dependency: /^github\.com\/go-telegram-bot-api\/telegram-bot-api/,
    imported: /"github\.com\/go-telegram-bot-api\/telegram-bot-api/,
    apiRoot: 'tgbotapi.NewBotAPIWithAPIEndpoint(token, os.Getenv("TELEGRAM_API_ROOT")+"/bot%s/%s")',
  },
  {
    name: 'go-telegram/bot',
    dependency: /^github\.com\/go-telegram\/bot$/,
    imported: /"github\.com\/go-telegram\/bot"/,
    apiRoot: 'bot.New(token, bot.WithServerURL(os.Getenv("TELEGRAM_API_ROOT")))',
  },
];

/** Telethon and Pyrogram speak MTProto: no getUpdates, no 409. */
export const isMtproto = (library: Library): boolean => library.apiRoot === null;

/** The library that the project declares or imports, with the place where that is said. */
export function findLibrary(project: Project): FoundLibrary | null {
  let imported: FoundLibrary | null = null;
  for (const { path, text } of project.files) {
    if (text === null || isAside(path)) continue;
    for (const { name, line } of dependencies(path, text)) {
      const library = LIBRARIES.find((row) => row.dependency.test(name));
      if (library) return { library, file: path, line };
    }
    if (imported || languageOf(path) === null) continue;
    for (const library of LIBRARIES) {
      const match = library.imported.exec(text);
      if (match) imported = { library, file: path, line: lineAt(text, match.index + match[0].search(/\S/)) };
    }
  }
  return imported;
}

/** Names of what a manifest depends on, normalized as its package index does. */
export function dependencies(path: string, text: string): { name: string; line: number }[] {
  const name = baseOf(path);
  const rows = text.split('\n');
  const pick = (pattern: RegExp, normalize = (found: string) => found) =>
    rows.flatMap((row, index) => {
      const found = pattern.exec(row)?.[1];
      return found === undefined ? [] : [{ name: normalize(found), line: index + 1 }];
    });
  const pep503 = (found: string) => found.toLowerCase().replace(/[-_.]+/g, '-');
  if (name === 'package.json') return pick(/^\s*"((?:@[\w.-]+\/)?[\w.-]+)"\s*:\s*"[~^>=<*v\d]/);
  if (/^requirements[\w.-]*\.(txt|in)$/.test(name)) return pick(/^\s*([A-Za-z0-9][\w.-]*)/, pep503);
  if (name === 'pyproject.toml' || name === 'Pipfile') {
    return pick(
      /^\s*(?:dependencies\s*=\s*\[\s*)?["']?([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?["']?\s*(?:[~=<>!^;,"'\]]|$)/,
      pep503,
    );
  }
  if (name === 'go.mod') return pick(/^\s*(?:require\s+)?([\w.-]+\.[a-z]+\/\S+)\s+v\d/);
  return [];
}
