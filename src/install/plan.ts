/** What to install: name, command, variables, the files to write, and the line that marks our files. */
import { existsSync, mkdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseObject, readTextFile } from '../config/files.ts';
import type { Config } from '../config/load.ts';
import { showValue } from '../config/messages.ts';
import { namesIn, OPTION_NAMES } from '../config/options.ts';
import { stateDirPath } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { namesIn as filesOf, writeWhole } from '../files.ts';
import { userName } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import { isRoot, shellQuote } from '../shell.ts';
import { findExecutable, isProgramInPath } from '../supervisor/executable.ts';
import { runTool } from '../tools.ts';

export type Kind = 'systemd' | 'cron';

export interface Plan {
  readonly kind: Kind;
  readonly made: Made;
  /** True: for the whole machine, as root; false: for the user. Always false with cron. */
  readonly system: boolean;
  /** User of a system unit; null: the user that installs it. */
  readonly runAs: string | null;
  /** node, program, `start` and its options, with absolute paths of the programs. */
  readonly words: readonly string[];
  /** Contents of the env file, name → value. They hold secrets and must never be shown. */
  readonly env: Readonly<Record<string, string>>;
  readonly envPath: string;
  /** The script that cron starts, since cron itself reads no env file. */
  readonly scriptPath: string;
  readonly stopTimeoutMs: number;
  readonly startTimeoutMs: number;
}

/** The mark in a file that install has written. */
export interface Made {
  readonly name: string;
  /** The bot's id; null: deploy mode without a token. */
  readonly bot: number | null;
  readonly cwd: string;
}

export interface Found {
  readonly kind: Kind;
  readonly system: boolean;
  readonly name: string;
  readonly path: string;
  /** Null: the script of a crontab line is gone. */
  readonly made: Made | null;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const MARK = 'Made by singlepoll install:';

/** The mark as one line, without a comment sign. */
export const markerText = (made: Made): string => `${MARK} ${JSON.stringify(made)}`;

/** Reads the mark in the text of a file; null: the file is not ours. */
export function readMarker(text: string): Made | null {
  const line = text.split('\n').find((it) => it.includes(MARK)) ?? '';
  const { name, bot, cwd } = parseObject<Partial<Made>>(line.slice(line.indexOf('{'))) ?? {};
  if (typeof name !== 'string' || typeof cwd !== 'string') return null;
  return { name, bot: typeof bot === 'number' ? bot : null, cwd };
}

/** The mark of the file at a path; null: it is not ours, or is not there. */
export function madeAt(path: string): Made | null {
  const file = readTextFile(path);
  return file.kind === 'text' ? readMarker(file.text) : null;
}

/** What other users have installed for themselves, as far as root finds it in their home folders; to be shown only. */
export function installedByOthers(): (Found & { readonly user: string; readonly uid: string })[] {
  const passwd = isRoot() ? readTextFile('/etc/passwd') : null;
  if (passwd?.kind !== 'text') return [];
  return passwd.text.split('\n').flatMap((row) => {
    const [user = '', , uid = '', , , home = '', shell = ''] = row.split(':');
    if (uid === '0' || !home.startsWith('/') || /nologin$|false$/.test(shell)) return [];
    return [
      ...filesIn(join(home, '.config/systemd/user'), '.service'),
      ...filesIn(join(home, '.local/state/singlepoll/install'), '.sh'),
    ].flatMap((path) => {
      const made = madeAt(path);
      if (!made) return [];
      const kind: Kind = path.endsWith('.sh') ? 'cron' : 'systemd';
      return [{ kind, system: false, name: made.name, path, made, user, uid }];
    });
  });
}

export const filesIn = (folder: string, ending: string): string[] =>
  filesOf(folder).flatMap((name) => (name.endsWith(ending) ? [join(folder, name)] : []));

/** Throws 78 if nothing here starts programs at boot. */
export function findKind(): Kind {
  if (existsSync('/run/systemd/system')) return 'systemd';
  if (isProgramInPath('crontab')) return 'cron';
  throw new SinglepollError(
    EXIT.config,
    'neither systemd nor cron is here: nothing that could start singlepoll at boot',
    'install cron (Debian: apt-get install cron), or let the init of this machine run: singlepoll start\nin a container: make singlepoll start its command',
  );
}

/** The name from `--name`, otherwise that of the working folder. Throws 64. */
export function chooseName(given: unknown, cwd: string): string {
  if (typeof given === 'string') {
    const name = given.replace(/\.service$/, '');
    if (NAME.test(name)) return name;
    const problem = `--name ${showValue(given)}: letters, digits, - _ and . only, at most 64`;
    throw new SinglepollError(EXIT.usage, problem, 'singlepoll install --name my-bot');
  }
  const slug = basename(cwd)
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40)
    .toLowerCase();
  return `singlepoll-${slug || 'bot'}`;
}

/** Env file and script, in a folder of the state folder (0700). */
export function privateFiles(name: string): Pick<Plan, 'envPath' | 'scriptPath'> {
  const path = join(stateDirPath(process.env), 'install', name);
  return { envPath: `${path}.env`, scriptPath: `${path}.sh` };
}

/** Throws 77 or 78. */
export function writePlanned(path: string, text: string, mode: number): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeWhole(path, text, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const exit = code === 'EACCES' || code === 'EPERM' ? EXIT.refused : EXIT.config;
    const hint = isRoot()
      ? 'singlepoll install --print …    # shows it, to be put where it can be written'
      : 'sudo singlepoll install …, or singlepoll install --user';
    throw new SinglepollError(exit, `${plain(path)} can’t be written (${code})`, hint);
  }
}

/** The error for a value that a file's syntax can't hold. */
export function refused(what: string, where: string): SinglepollError {
  return new SinglepollError(EXIT.config, `there is ${what} in ${showValue(where)}: that can’t be installed`);
}

/** Variables for singlepoll, Node and their libraries; other variables of the shell are kept only on request. */
const PROXIES = 'http_proxy https_proxy all_proxy no_proxy';
const ALWAYS =
  `PATH LANG LC_ALL TZ VIRTUAL_ENV NO_COLOR SINGLEPOLL_DIR POLLING_ENABLED TELEGRAM_API_ROOT ASSISTANT_ADMIN_TELEGRAM_ID
TELEGRAM_ADMIN_CHAT_ID NODE_EXTRA_CA_CERTS SSL_CERT_FILE KUBECONFIG ${PROXIES} ${PROXIES.toUpperCase()}`.split(
    /\s+/,
  );

/** `extra`: further requested names. Values may be secrets. */
export function variablesToKeep(
  env: NodeJS.ProcessEnv,
  { tokenVariables }: Pick<Config, 'tokenVariables'>,
  extra: readonly string[],
): Record<string, string> {
  const own = OPTION_NAMES.flatMap((option) => namesIn('environment', option).map((it) => it.key));
  const names = [...new Set([...ALWAYS, ...own, ...tokenVariables, ...extra])];
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}

/** Lines are `NAME="value"`, which systemd (EnvironmentFile=), POSIX sh and our own --env-file read alike. */
export function envFileText(name: string, env: Readonly<Record<string, string>>): string {
  const lines = Object.entries(env).map(([key, value]) => {
    const isWrong = /[\0\r]/.test(value);
    if (isWrong) throw refused('a NUL or a carriage return', key);
    return `${key}="${value.replace(/[\\"$`]/g, '\\$&')}"\n`;
  });
  return `\
# Environment of ${name}, made by singlepoll install. It may hold secrets: keep it 0600.
# Lines are NAME="value", with a backslash before \\ " $ and \`. Changed by hand, they count from the next start on.
${lines.join('')}`;
}

const ASK_MS = 5_000;
/** Runs as that user, so that groups and access lists count. Prints the files that it can't read. */
const LOOK = 'for f; do [ -r "$f" ] || echo "$f"; done';

/** Whether a unit's user can access what it needs, as the reason would not be seen at boot. Null: it can, or only root could tell. `words` are the unit's. */
export async function whatIsClosed(
  runAs: string | null,
  words: readonly string[],
  { cwd, envFile, configFile, command }: Config,
): Promise<SinglepollError | null> {
  if (runAs === null || runAs === 'root' || !isRoot()) return null;
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
