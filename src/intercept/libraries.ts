/** The Telegram libraries: how the source code of a bot shows each, and the line by which it takes its API root from the environment. */
import { setTimeout as pause } from 'node:timers/promises';
import { distFile, runTool } from '../tools.ts';

export type Language = 'python' | 'js' | 'go';

/**
 * Language, name, import, and the line of the library's documentation; a library that speaks MTProto has none. The last row of each language
 * is for bots that call the API themselves.
 */
export const LIBRARIES = String.raw`
js      grammY                 ["'\x60](npm:|https://deno\.land/x/)?(grammy|@grammyjs/)  new Bot(token, { client: { apiRoot: process.env.TELEGRAM_API_ROOT } })
js      Telegraf               ["'\x60]telegraf["'\x60/]       new Telegraf(token, { telegram: { apiRoot: process.env.TELEGRAM_API_ROOT } })
js      node-telegram-bot-api  ["'\x60]node-telegram-bot-api  new TelegramBot(token, { polling: true, baseApiUrl: process.env.TELEGRAM_API_ROOT })
js      GramIO                 ["'\x60]gramio["'\x60]          new Bot(token, { api: { baseURL: process.env.TELEGRAM_API_ROOT + "/bot" } })
python  aiogram                ^\s*(from|import)\s+aiogram\b   Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(os.environ["TELEGRAM_API_ROOT"])))
python  python-telegram-bot 13  ^\s*(from|import)\s+telegram\b[\s\S]*?(\bUpdater\(|\bFilters\.|\.dispatcher\b)  Updater(token, base_url=root + "/bot", base_file_url=root + "/file/bot")   # root = os.environ["TELEGRAM_API_ROOT"]
python  python-telegram-bot 20  ^\s*(from|import)\s+telegram\b  ApplicationBuilder().token(token).base_url(root + "/bot").base_file_url(root + "/file/bot")   # root = os.environ["TELEGRAM_API_ROOT"]
python  pyTelegramBotAPI       ^\s*(from|import)\s+telebot\b   telebot.apihelper.API_URL = os.environ["TELEGRAM_API_ROOT"] + "/bot{0}/{1}"
python  Telethon               ^\s*(from|import)\s+telethon\b
python  Pyrogram               ^\s*(from|import)\s+pyrogram\b
go      Go telebot             "gopkg\.in/(tucnak/)?telebot  tele.NewBot(tele.Settings{Token: token, URL: os.Getenv("TELEGRAM_API_ROOT")})
go      Go telegram-bot-api    "github\.com/go-telegram-bot-api/  tgbotapi.NewBotAPIWithAPIEndpoint(token, os.Getenv("TELEGRAM_API_ROOT")+"/bot%s/%s")
go      go-telegram/bot        "github\.com/go-telegram/bot"  bot.New(token, bot.WithServerURL(os.Getenv("TELEGRAM_API_ROOT")))
js      api.telegram.org       https://api\.telegram\.org      const root = process.env.TELEGRAM_API_ROOT ?? "https://api.telegram.org"
python  api.telegram.org       https://api\.telegram\.org      root = os.environ.get("TELEGRAM_API_ROOT", "https://api.telegram.org")
go      api.telegram.org       https://api\.telegram\.org      root := os.Getenv("TELEGRAM_API_ROOT")`
  .trim()
  .split('\n')
  .map((row) => {
    const [language, name = '', imported = '', ...line] = row.split(/ {2,}/);
    // `import os, telebot` as well.
    const pattern = imported.replace('import)\\s+', 'import)\\s+([\\w. ]+, *)*');
    return {
      ...{ language: language as Language, name, imported: RegExp(pattern, 'm') },
      apiRoot: line.join('   ') || null,
    };
  });

const FIND_MS = 3_000;

/**
 * The line for the library of what these words run in a project; null: none that is known. Its files are read by a program of its own (doctor/library-child.ts):
 * a folder that does not answer, on a dead mount, holds up that one, beyond SIGKILL at times.
 */
export async function findLine(
  folder: string,
  language: Language,
  argv: readonly string[],
): Promise<string | null> {
  const words = [distFile('library-child.js'), folder, language, ...argv];
  const asked = runTool(process.execPath, words, { timeoutMs: FIND_MS });
  const found = await Promise.race([asked, pause(FIND_MS, null, { ref: false })]);
  return (found?.code === 0 && found.stdout) || null;
}
