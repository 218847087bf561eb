/** Describes what is to be installed, under which name and where, and marks our own files with a line that tells them from others. */
import { existsSync, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { showValue } from '../config/messages.ts';
import { currentUser, openStateDir, stateDirPath } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { isProgramInPath } from '../supervisor/executable.ts';

export type Kind = 'systemd' | 'cron';

export interface Plan {
  readonly kind: Kind;
  readonly made: Made;
  /** For the whole machine, as root; else for the user. Always false with cron. */
  readonly system: boolean;
  /** User of a system unit; null: who installs it. */
  readonly runAs: string | null;
  /** Absolute. */
  readonly cwd: string;
  /** node, program, `start` and its options; the program words are absolute paths. */
  readonly words: readonly string[];
  /** Contents of the env file, name → value. They hold secrets and are never shown. */
  readonly env: Readonly<Record<string, string>>;
  readonly envPath: string;
  /** The script that cron starts, as it reads no env file. */
  readonly scriptPath: string;
  readonly stopTimeoutMs: number;
  readonly startTimeoutMs: number;
}

/** The mark of a file that install has made. */
export interface Made {
  readonly name: string;
  /** Null: deploy mode without a token. */
  readonly bot: number | null;
  /** The folder it runs in. */
  readonly cwd: string;
  /** The private files that belong to it, absolute. */
  readonly files: readonly string[];
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const MARK = 'Made by singlepoll install:';

/** The mark as one line, without the sign of a comment. */
export function markerText(made: Made): string {
  return `${MARK} ${JSON.stringify(made)}`;
}

/** Reads the mark in the text of a file; null: the file is not ours. */
export function readMarker(text: string): Made | null {
  const line = text.split('\n').find((it) => it.includes(MARK)) ?? '';
  try {
    const { name, bot, cwd, files } = JSON.parse(line.slice(line.indexOf('{'))) as Partial<Made>;
    if (typeof name !== 'string' || typeof cwd !== 'string') return null;
    const own = Array.isArray(files) ? files.map(String).filter((it) => it.startsWith('/')) : [];
    return { name, bot: typeof bot === 'number' ? bot : null, cwd, files: own };
  } catch {
    return null;
  }
}

/** Throws 78 where nothing starts programs at boot. */
export function findKind(env: NodeJS.ProcessEnv): Kind {
  if (existsSync('/run/systemd/system')) return 'systemd';
  if (isProgramInPath('crontab', env)) return 'cron';
  throw new SinglepollError(
    EXIT.config,
    'neither systemd nor cron is here: nothing that could start singlepoll at boot',
    'install cron (Debian: apt-get install cron), or let the init of this machine run: singlepoll start\nin a container: make singlepoll start its command',
  );
}

/** `--name`, else of the working folder. Throws 64. */
export function chooseName(given: unknown, cwd: string): string {
  if (typeof given === 'string') {
    const name = given.replace(/\.service$/, '');
    if (NAME.test(name)) return name;
    throw new SinglepollError(
      EXIT.usage,
      `--name ${showValue(given)}: letters, digits, - _ and . only, at most 64`,
      'singlepoll install --name my-bot',
    );
  }
  const slug = basename(cwd)
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40)
    .toLowerCase();
  return `singlepoll-${slug || 'bot'}`;
}

export function unitPath(system: boolean, name: string, env: NodeJS.ProcessEnv): string {
  if (system) return join('/etc/systemd/system', `${name}.service`);
  const config = env.XDG_CONFIG_HOME || join(env.HOME || currentUser().home || '/', '.config');
  return join(config, 'systemd/user', `${name}.service`);
}

/** The folder of env files and scripts (0700), in the state folder; made where `make` says so. */
export function privateFolder(env: NodeJS.ProcessEnv, make: boolean): string {
  const folder = join(make ? openStateDir(env).path : stateDirPath(env), 'install');
  if (make) mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** Tells what lies at a path: nothing, a file of ours, or (null) a file of somebody else. */
export function present(path: string): 'nothing' | Made | null {
  if (!lstatSync(path, { throwIfNoEntry: false })) return 'nothing';
  try {
    return readMarker(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}
