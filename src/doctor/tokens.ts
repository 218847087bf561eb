/** One token in two places: each of them is a second poller in waiting. Nothing here shows a token. */
import { parseEnvFile } from '../config/files.ts';
import type { Facts } from '../project/facts.ts';
import { isAside, isExample, lineAt } from '../project/files.ts';
import { isEnvFile, isLog } from '../project/kinds.ts';
import { CUT } from '../project/read-ends.ts';
import type { Finding, Rule } from './finding.ts';

type Said = Omit<Finding, 'rule'>;

/** As Telegram makes them: 8 to 12 digits, a colon, 35 characters. */
export const TOKEN = /(?<![\w:-])(\d{6,14}):([A-Za-z0-9_-]{30,50})(?![\w-])/g;

/** Those of Telegram's own documentation, and what people write where a token belongs. */
const PUBLISHED =
  /^(110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw|123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11|4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qc)$/;

export interface TokenAt {
  readonly bot: string;
  /** Never printed; compared only. */
  readonly token: string;
  readonly index: number;
}

/** Also behind the `bot` of a URL. */
export function tokensIn(text: string): TokenAt[] {
  return [...text.replace(/\bbot(?=\d{6,14}:)/g, '   ').matchAll(TOKEN)].flatMap((match) => {
    const [token, bot, secret] = [match[0], match[1]!, match[2]!];
    return isPlaceholder(token, bot, secret) ? [] : [{ bot, token, index: match.index }];
  });
}

function isPlaceholder(token: string, bot: string, secret: string): boolean {
  if (PUBLISHED.test(token)) return true;
  // Random secrets have some 25 different characters, of both cases; `xxxxxxxx`, `your_token_here`, `ABCDEFGHIJ…` have not.
  if (new Set(secret).size < 12) return true;
  if (!/[a-z]/.test(secret) || !/[A-Z]/.test(secret)) return true;
  if (/abcdefg|ABCDEFG|example|placeholder|replace|your[-_]|token|secret|1234567|x{5}|X{5}/i.test(secret))
    return true;
  return /12345|^(\d)\1+$/.test(bot);
}

interface EnvToken {
  readonly file: string;
  readonly line: number;
  readonly variable: string;
  readonly token: TokenAt;
}

function envTokens(facts: Facts): EnvToken[] {
  return facts.project.files.flatMap(({ path, text }) => {
    if (text === null || !isEnvFile(path) || isAside(path)) return [];
    const { vars, lines } = parseEnvFile(text);
    return Object.entries(vars).flatMap(([variable, value]) =>
      tokensIn(value).map((token) => ({ file: path, line: lines[variable] ?? 1, variable, token })),
    );
  });
}

const twoEnvFiles: Rule = {
  id: 'two-env-files',
  about: 'two env files with the same token',
  check: (facts) => {
    const first = new Map<string, EnvToken>();
    return envTokens(facts).flatMap((found): Said[] => {
      const before = first.get(found.token.token);
      if (before === undefined) {
        first.set(found.token.token, found);
        return [];
      }
      if (before.file === found.file) return [];
      return [
        {
          file: found.file,
          line: found.line,
          why: `${found.variable} is the same token as in ${before.file}:${before.line} (bot ${found.token.bot}): what is started with one polls against what is started with the other`,
          cure: `a second bot from @BotFather for ${found.file}, or one file instead of two`,
        },
      ];
    });
  },
};

const tokenInFile: Rule = {
  id: 'token-in-file',
  about: 'a token written into code, settings or an example',
  check: (facts) =>
    facts.project.files.flatMap(({ path, text }) => {
      if (text === null || isLog(path) || isAside(path)) return [];
      if (isEnvFile(path) && !isExample(path)) return [];
      return firstOfEach(tokensIn(text)).map((token) => ({
        file: path,
        line: lineAt(text, token.index),
        why: `a token of bot ${token.bot} stands in the file: everybody who gets a copy of it has a poller`,
        cure: `@BotFather /revoke, the new token into .env${isExample(path) ? '' : ', and os.environ or process.env here'}`,
      }));
    }),
};

const tokenInLog: Rule = {
  id: 'token-in-log',
  about: 'a token in log files',
  check: (facts) =>
    facts.project.files.flatMap(({ path, text }) => {
      if (text === null || !isLog(path)) return [];
      const cut = text.indexOf(CUT);
      return firstOfEach(tokensIn(text)).map((token) => ({
        file: path,
        line: cut >= 0 && token.index > cut ? null : lineAt(text, token.index),
        why: `a token of bot ${token.bot} stands in the log: whoever reads it can poll (an HTTP client that logs its URLs, most likely)`,
        cure: `rm ${path}, @BotFather /revoke; in Python: logging.getLogger("httpx").setLevel(logging.WARNING)`,
      }));
    }),
};

function firstOfEach(tokens: readonly TokenAt[]): TokenAt[] {
  return [...new Map([...tokens].reverse().map((token) => [token.token, token])).values()].sort(
    (a, b) => a.index - b.index,
  );
}

export const TOKEN_RULES: readonly Rule[] = [twoEnvFiles, tokenInFile, tokenInLog];
