/** Checks now that a unit's user can access what it needs, as the reason would not be seen at boot. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Config } from '../config/load.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { userName } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import { shellQuote } from '../shell.ts';
import { findExecutable } from '../supervisor/executable.ts';
import { runTool } from '../tools.ts';

const ASK_MS = 5_000;
/** Runs as that user, so that groups and access lists count. Prints the files that it can't read. */
const LOOK = ['for f; do', '[ -r "$f" ] || echo "$f"; done'].join(' ');

/** Null: it can access everything, or only root could tell. `words` are the unit's. */
export async function whatIsClosed(
  runAs: string | null,
  words: readonly string[],
  { cwd, envFile, configFile, command }: Config,
): Promise<SinglepollError | null> {
  if (runAs === null || runAs === 'root' || process.geteuid?.() !== 0) return null;
  const user = /^\d+$/.test(runAs) ? userName(Number(runAs)) : runAs;
  const [program = '', ...args] = command?.argv ?? [];
  const found = findExecutable(program, cwd, process.env.PATH);
  const ours = words.slice(0, words.indexOf('start'));
  const files = [cwd, envFile, configFile, ...ours, found.ok ? found.path : null, ...args]
    .filter((it) => it !== null && !it.startsWith('-'))
    .map((it) => resolve(cwd, it as string))
    .filter((path) => existsSync(path));
  const asked = await runTool('runuser', ['-u', user, '--', 'sh', '-c', LOOK, 'sh', ...new Set(files)], {
    timeoutMs: ASK_MS,
  });
  if (asked.isMissing) return null;
  if (/does not exist/.test(asked.stderr))
    return new SinglepollError(
      EXIT.config,
      `--run-as: there is no user ${user}`,
      `useradd --system --shell /usr/sbin/nologin ${shellQuote(user)}`,
    );
  const [first, ...more] = asked.stdout.split('\n').filter(Boolean);
  if (first === undefined) return null;
  const others = more.length === 0 ? '' : ` and ${more.length} more`;
  return new SinglepollError(
    EXIT.config,
    `user ${user} (--run-as) may not read ${plain(first)}${others}`,
    `namei -l ${shellQuote(first)}    # shows which part of the path is closed to it`,
  );
}
