/**
 * Tokens in the git history, by git itself and within a time: only added lines that look like a token are read. Nothing is
 * fetched, locked or written, and no program that the repository's settings name is run.
 */
import { spawn } from 'node:child_process';
import type { Finding } from './finding.ts';
import { tokensIn } from './tokens.ts';

export interface History {
  readonly findings: readonly Finding[];
  /** Why not all of it was looked at; null where it was. */
  readonly limit: string | null;
}

export interface HistoryLimits {
  readonly ms: number;
  readonly bytes: number;
}

export const HISTORY_LIMITS: HistoryLimits = { ms: 10_000, bytes: 32 * 1024 * 1024 };

const MOST_FINDINGS = 20;
/** Tests make tokens up. */
const IN_A_TEST = /(^|\/)(tests?|__tests__|specs?|fixtures)\/|[._-](test|spec)\.\w+$|(^|\/)test_/;
const GIT = [
  '--no-pager',
  '--no-optional-locks',
  ...['-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null', '-c', 'log.showSignature=false'],
  ...['-c', 'core.quotePath=false', '-c', 'diff.external=', '-c', 'core.sshCommand=false'],
];
const LOG = [
  ...['log', '--all', '--no-color', '--no-ext-diff', '--no-textconv', '--no-renames', '--no-show-signature'],
  ...['--format=commit %H', '-U0', '-p', '-G[0-9]{6,14}:[A-Za-z0-9_-]{30,50}', '--', '.'],
];

/** `ownToken` and the present token's bot: an older secret of the same bot has been revoked, and does no harm. */
export async function lookIntoHistory(
  folder: string,
  ownToken: string | null,
  env: Readonly<Record<string, string | undefined>>,
  limits: HistoryLimits = HISTORY_LIMITS,
): Promise<History> {
  const { text, limit } = await git(folder, env, limits);
  return { findings: judgeHistory(text, ownToken), limit };
}

function git(
  folder: string,
  env: Readonly<Record<string, string | undefined>>,
  limits: HistoryLimits,
): Promise<{ text: string; limit: string | null }> {
  // Where git was told to look elsewhere (a hook runs us), it is this folder that counts.
  const {
    GIT_DIR: _dir,
    GIT_WORK_TREE: _tree,
    GIT_INDEX_FILE: _index,
    GIT_EXTERNAL_DIFF: _diff,
    ...rest
  } = env;
  const quiet = {
    ...rest,
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_OPTIONAL_LOCKS: '0',
    LC_ALL: 'C',
  };
  return new Promise((resolve) => {
    const child = spawn('git', [...GIT, '-C', folder, ...LOG], {
      env: quiet as NodeJS.ProcessEnv,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    let complaint = '';
    let limit: string | null = null;
    const end = (why: string) => {
      limit ??= why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(
      () => end(`the git history was looked at for ${limits.ms / 1_000} s only`),
      limits.ms,
    );
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= limits.bytes) chunks.push(chunk);
      else end('the git history has too many changes to look at all of them');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 4_000) complaint += chunk.toString('utf8');
    });
    child.on('error', () => {
      limit = 'there is no git here, so its history was not looked at';
      clearTimeout(timer);
      resolve({ text: '', limit });
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code !== 0 && limit === null) limit = complaintOf(complaint);
      resolve({ text: Buffer.concat(chunks).toString('utf8'), limit });
    });
  });
}

/** No repository, or one without commits, is nothing to tell. */
function complaintOf(text: string): string | null {
  if (/not a git repository|does not have any commits|bad default revision|unknown revision/i.test(text))
    return null;
  if (/dubious ownership/i.test(text))
    return 'the git repository belongs to another user, so its history was not looked at';
  return 'git could not show its history';
}

/** From the output of `git log -p -U0`: each token once, at its newest commit. Pure. */
export function judgeHistory(text: string, ownToken: string | null): Finding[] {
  const ownBot = ownToken?.split(':')[0] ?? null;
  const seen = new Set<string>();
  const found: Finding[] = [];
  let commit = '';
  let file = '';
  let line = 0;
  for (const row of text.split('\n')) {
    if (row.startsWith('commit ')) commit = row.slice(7, 17);
    else if (row.startsWith('+++ ')) file = row.slice(4).replace(/^b\//, '').replace(/\t$/, '');
    else if (row.startsWith('@@')) line = Number(/\+(\d+)/.exec(row)?.[1] ?? 1) - 1;
    else if (row.startsWith('+')) {
      line += 1;
      for (const { token, bot } of tokensIn(row.slice(1))) {
        // A test's or an example's token opens nothing; the secret of a bot changes when it is revoked.
        if (seen.has(token) || IN_A_TEST.test(file) || (bot === ownBot && token !== ownToken)) continue;
        seen.add(token);
        found.push({
          rule: 'token-in-git',
          file,
          line,
          why: `a token of bot ${bot} is in the git history (commit ${commit}): everybody with a clone has a poller, also after the file was removed`,
          cure: '@BotFather /revoke, and the new token into .env, which .gitignore names',
        });
        if (found.length >= MOST_FINDINGS) return found;
      }
    }
  }
  return found;
}
