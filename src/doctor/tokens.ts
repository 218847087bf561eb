/** One token in two places, in the files or in the git history: each is a second poller in waiting. Nothing here shows a token. */
import { parseEnvFile } from '../config/files.ts';
import { WHOLE_TOKEN } from '../config/token.ts';
import { runTool } from '../tools.ts';
import { type Finding, isEnvFile, isKind, lineAt } from './files.ts';
import type { Facts } from './processes.ts';

/** Those of Telegram's own documentation. */
const PUBLISHED =
  /^(110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw|4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qc)$/;

/** The tokens in a text, each once; not what people write where a token belongs. They are compared, and never printed. */
export function tokensIn(text: string) {
  const found = new Map<string, { bot: string; token: string; index: number }>();
  for (const { 0: token, 1: bot = '', index } of text.matchAll(WHOLE_TOKEN))
    if (!found.has(token) && !isMadeUp(bot, token)) found.set(token, { bot, token, index });
  return [...found.values()];
}

/** Random secrets have some 25 different characters, of both cases; `xxxxxxxx`, `your_token_here`, `ABCDEFGHIJ…` have not. */
function isMadeUp(bot: string, token: string): boolean {
  const secret = token.slice(bot.length + 1);
  const isRandom = new Set(secret).size >= 12 && /[a-z]/.test(secret) && /[A-Z]/.test(secret);
  const words = /abcdefg|example|placeholder|replace|your[-_]|token|secret|1234567|x{5}|.{51}/i;
  return !isRandom || words.test(secret) || /12345|^(\d)\1+$/.test(bot) || PUBLISHED.test(token);
}

export function findTokens({ project, files }: Facts): Finding[] {
  const leaks = project.files.flatMap(({ path: file, text, isCut }) => {
    const isLog = isKind('log', file);
    if (!isLog && (isKind('aside', file) || isEnvFile(file))) return [];
    const [rule, where] = isLog
      ? ['token-in-log', 'log: whoever reads it can poll (an HTTP client that logs its URLs, most likely)']
      : ['token-in-file', 'file: everybody who gets a copy of it has a poller'];
    const instead = isKind('example', file) ? '' : ', and os.environ or process.env here';
    const cure = isLog
      ? `rm ${file}, @BotFather /revoke; in Python: logging.getLogger("httpx").setLevel(logging.WARNING)`
      : `@BotFather /revoke, the new token into .env${instead}`;
    return tokensIn(text).map(({ bot, index }) => {
      const line = isCut ? null : lineAt(text, index);
      return { rule, file, line, why: `a token of bot ${bot} stands in the ${where}`, cure };
    });
  });
  return [...inTwoEnvFiles(files), ...leaks];
}

function inTwoEnvFiles(files: Facts['files']): Finding[] {
  const first = new Map<string, string>();
  return files.flatMap(({ path, text }) => {
    const { vars, lineOf } = parseEnvFile(isKind('env', path) ? text : '');
    return Object.entries(vars).flatMap(([variable, value]) =>
      tokensIn(value).flatMap(({ token, bot }) => {
        const line = lineOf(variable) ?? 1;
        const before = first.get(token) ?? `${path}:${line}`;
        first.set(token, before);
        const why = `${variable} is the same token as in ${before} (bot ${bot}): what is started with one polls against what is started with the other`;
        const cure = `a second bot from @BotFather for ${path}, or one file instead of two`;
        return before.startsWith(`${path}:`) ? [] : { rule: 'two-env-files', file: path, line, why, cure };
      }),
    );
  });
}

/** Added lines that look like a token. No program that the repository's settings name is run, nothing is fetched, locked or written. */
const GIT = `--no-pager --no-optional-locks -c core.fsmonitor=false -c core.hooksPath=/dev/null
  -c log.showSignature=false -c core.quotePath=false -c diff.external= -c core.sshCommand=false log --all --no-color
  --no-ext-diff --no-textconv --no-renames --no-show-signature -U0 -p -G[0-9]{6,14}:[A-Za-z0-9_-]{30,50}`;

/** `limits` says why not all of it was looked at. */
export async function lookIntoHistory(folder: string, ownToken: string | null) {
  const args = ['-C', folder, ...GIT.split(/\s+/), '--format=commit %H', '--', '.'];
  const options = { timeoutMs: 10_000, env: { GIT_TERMINAL_PROMPT: '0', GIT_NO_LAZY_FETCH: '1' } };
  const { code, stdout, stderr, isMissing } = await runTool('git', args, options);
  // No repository, or one without commits, is nothing to tell.
  const isNone = /not a git repository|not have any commits|bad default revision|unknown revision/i;
  const ended = code === null ? 'it is too long' : stderr.trim().split('\n')[0];
  const why = isMissing ? 'there is no git here' : ended;
  const limits = code === 0 || isNone.test(stderr) ? [] : [`the git history was not looked at: ${why}`];
  return { findings: judgeHistory(stdout, ownToken), limits };
}

/** Tests make tokens up. */
const IN_A_TEST = /(^|\/)(tests?|__tests__|specs?|fixtures)\/|[._-](test|spec)\.\w+$|(^|\/)test_/;

/** From the output of `git log -p -U0`: the first twenty tokens, each once, at its newest commit. */
export function judgeHistory(text: string, ownToken: string | null): Finding[] {
  const found = new Map<string, Finding>();
  let [commit, file, line] = ['', '', 0];
  for (const row of text.split('\n')) {
    if (row.startsWith('commit ')) commit = row.slice(7, 17);
    else if (row.startsWith('+++ ')) file = row.slice(4).replace(/^b\/|\t$/g, '');
    else if (row.startsWith('@@')) line = Number(/\+(\d+)/.exec(row)?.[1] ?? 1);
    else if (row.startsWith('+')) {
      for (const { token, bot } of tokensIn(row.slice(1))) {
        const isRevoked = token !== ownToken && bot === ownToken?.split(':')[0];
        // An older secret of the present bot has been revoked, and does no harm.
        if (found.has(token) || IN_A_TEST.test(file) || isRevoked) continue;
        const why = `a token of bot ${bot} is in the git history (commit ${commit}): everybody with a clone has a poller, also after the file was removed`;
        const cure = '@BotFather /revoke, and the new token into .env, which .gitignore names';
        found.set(token, { rule: 'token-in-git', file, line, why, cure });
      }
      line += 1;
    }
  }
  return [...found.values()].slice(0, 20);
}
