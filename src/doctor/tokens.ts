/** One token in two places: each of them is a second poller in waiting. Nothing here shows a token. */
import { parseEnvFile } from '../config/files.ts';
import { CUT, type Finding, isEnvFile, isExample, isLog, lineAt } from './files.ts';
import type { Facts } from './processes.ts';

export interface TokenAt {
  readonly bot: string;
  /** Never printed; compared only. */
  readonly token: string;
  readonly index: number;
}

/** Those of Telegram's own documentation. */
const PUBLISHED =
  /^(110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw|123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11|4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qc)$/;

/** The tokens in a text; not what people write where a token belongs. */
export const tokensIn = (text: string): TokenAt[] =>
  [...text.matchAll(/(?<!\d)(\d{6,14}):[A-Za-z0-9_-]{30,50}(?![\w-])/g)].flatMap(
    ({ 0: token, 1: bot = '', index }) => {
      const secret = token.slice(bot.length + 1);
      return PUBLISHED.test(token) || isMadeUp(bot, secret) ? [] : [{ bot, token, index }];
    },
  );

/** Random secrets have some 25 different characters, of both cases; `xxxxxxxx`, `your_token_here`, `ABCDEFGHIJ…` have not. */
const isMadeUp = (bot: string, secret: string): boolean =>
  new Set(secret).size < 12 ||
  !/[a-z]/.test(secret) ||
  !/[A-Z]/.test(secret) ||
  /abcdefg|example|placeholder|replace|your[-_]|token|secret|1234567|x{5}/i.test(secret) ||
  /12345|^(\d)\1+$/.test(bot);

export function findTokens({ project, files }: Facts): Finding[] {
  const logs = project.files.filter(({ path, text }) => isLog(path) && text !== null);
  return [...inTwoEnvFiles(files), ...files.flatMap(inFile), ...logs.flatMap(inLog)];
}

function inTwoEnvFiles(files: Facts['files']): Finding[] {
  const first = new Map<string, string>();
  return files.flatMap(({ path, text }) => {
    const { vars, lines } = parseEnvFile(isEnvFile(path) ? text : '');
    return Object.entries(vars).flatMap(([variable, value]) =>
      tokensIn(value).flatMap(({ token, bot }) => {
        const line = lines[variable] ?? 1;
        const before = first.get(token) ?? `${path}:${line}`;
        first.set(token, before);
        if (before.startsWith(`${path}:`)) return [];
        return {
          rule: 'two-env-files',
          file: path,
          line,
          why: `${variable} is the same token as in ${before} (bot ${bot}): what is started with one polls against what is started with the other`,
          cure: `a second bot from @BotFather for ${path}, or one file instead of two`,
        };
      }),
    );
  });
}

function inFile({ path, text }: Facts['files'][number]): Finding[] {
  if (isLog(path) || (isEnvFile(path) && !isExample(path))) return [];
  return firstOfEach(tokensIn(text)).map(({ bot, index }) => ({
    rule: 'token-in-file',
    file: path,
    line: lineAt(text, index),
    why: `a token of bot ${bot} stands in the file: everybody who gets a copy of it has a poller`,
    cure: `@BotFather /revoke, the new token into .env${isExample(path) ? '' : ', and os.environ or process.env here'}`,
  }));
}

function inLog({ path, text }: Facts['project']['files'][number]): Finding[] {
  return firstOfEach(tokensIn(text!)).map(({ bot, index }) => ({
    rule: 'token-in-log',
    file: path,
    line: text!.startsWith(CUT) ? null : lineAt(text!, index),
    why: `a token of bot ${bot} stands in the log: whoever reads it can poll (an HTTP client that logs its URLs, most likely)`,
    cure: `rm ${path}, @BotFather /revoke; in Python: logging.getLogger("httpx").setLevel(logging.WARNING)`,
  }));
}

const firstOfEach = (tokens: readonly TokenAt[]): TokenAt[] =>
  tokens.filter(({ token }, index) => tokens.findIndex((it) => it.token === token) === index);
