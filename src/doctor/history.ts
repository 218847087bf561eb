/**
 * Tokens in the git history, by git itself and within a time: only added lines that look like a token are read. Nothing is fetched,
 * locked or written, and no program that the repository's settings name is run.
 */
import type { Finding } from './files.ts';
import { tokensIn } from './tokens.ts';

const MS = 10_000;
const MOST_CHARACTERS = 32 * 1024 * 1024;
const MOST_FINDINGS = 20;
/** Tests make tokens up. */
const IN_A_TEST = /(^|\/)(tests?|__tests__|specs?|fixtures)\/|[._-](test|spec)\.\w+$|(^|\/)test_/;
const SETTINGS =
  'core.fsmonitor=false core.hooksPath=/dev/null log.showSignature=false core.quotePath=false diff.external= core.sshCommand=false';
const LOG =
  'log --all --no-color --no-ext-diff --no-textconv --no-renames --no-show-signature -U0 -p -G[0-9]{6,14}:[A-Za-z0-9_-]{30,50}';

/** `limit` says why not all of it was looked at; null where it was. An older secret of `ownToken`'s bot has been revoked. */
export async function lookIntoHistory(
  folder: string,
  ownToken: string | null,
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ findings: Finding[]; limit: string | null }> {
  const { execa } = await import('execa');
  const settings = SETTINGS.split(' ').flatMap((it) => ['-c', it]);
  const log = [...LOG.split(' '), '--format=commit %H', '--', '.'];
  const result = await execa(
    'git',
    ['--no-pager', '--no-optional-locks', ...settings, '-C', folder, ...log],
    {
      // Where git was told to look elsewhere (a hook runs us), it is this folder that counts.
      env: {
        ...Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('GIT_'))),
        ...{ GIT_TERMINAL_PROMPT: '0', GIT_NO_LAZY_FETCH: '1', LC_ALL: 'C' },
      },
      extendEnv: false,
      stdin: 'ignore',
      timeout: MS,
      killSignal: 'SIGKILL',
      maxBuffer: MOST_CHARACTERS,
      reject: false,
    },
  );
  const findings = judgeHistory(result.stdout, ownToken);
  if (result.code === 'ENOENT')
    return { findings, limit: 'there is no git here, so its history was not looked at' };
  if (result.timedOut) return { findings, limit: `the git history was looked at for ${MS / 1_000} s only` };
  if (result.isMaxBuffer)
    return { findings, limit: 'the git history has too many changes to look at all of them' };
  return { findings, limit: result.failed ? complaintOf(result.stderr) : null };
}

/** No repository, or one without commits, is nothing to tell. */
function complaintOf(text: string): string | null {
  if (/not a git repository|does not have any commits|bad default revision|unknown revision/i.test(text))
    return null;
  return /dubious ownership/i.test(text)
    ? 'the git repository belongs to another user, so its history was not looked at'
    : 'git could not show its history';
}

/** From the output of `git log -p -U0`: each token once, at its newest commit. */
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
        if (found.has(token) || IN_A_TEST.test(file) || isRevoked) continue;
        const why = `a token of bot ${bot} is in the git history (commit ${commit}): everybody with a clone has a poller, also after the file was removed`;
        const cure = '@BotFather /revoke, and the new token into .env, which .gitignore names';
        found.set(token, { rule: 'token-in-git', file, line, why, cure });
      }
      line += 1;
    }
  }
  return [...found.values()].slice(0, MOST_FINDINGS);
}
