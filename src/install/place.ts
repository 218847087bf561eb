/** Where things are installed on this machine, and under which name. Looks, changes nothing. */
import { existsSync, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { showValue } from '../config/show-value.ts';
import { currentUser, openStateDir, stateDirPath } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { isProgramInPath } from '../machine/executable.ts';
import { launchdLabel } from './launchd.ts';
import { type Made, readMarker } from './marker.ts';
import type { Kind } from './plan.ts';

const SYSTEMD_RUNS = '/run/systemd/system';
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Throws 78 where nothing starts programs at boot. */
export function findKind(platform: string, env: NodeJS.ProcessEnv): Kind {
  if (platform === 'darwin') return 'launchd';
  if (existsSync(SYSTEMD_RUNS)) return 'systemd';
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

/** Of the unit or property list; cron has none. */
export function unitPath(
  kind: 'systemd' | 'launchd',
  system: boolean,
  name: string,
  env: NodeJS.ProcessEnv,
): string {
  const home = env.HOME || currentUser().home || '/';
  if (kind === 'launchd') {
    const file = `${launchdLabel(name)}.plist`;
    return system ? join('/Library/LaunchDaemons', file) : join(home, 'Library/LaunchAgents', file);
  }
  const file = `${name}.service`;
  if (system) return join('/etc/systemd/system', file);
  return join(env.XDG_CONFIG_HOME || join(home, '.config'), 'systemd/user', file);
}

/** The folder of env files and scripts (0700), in the state folder; made where `make` says so. */
export function privateFolder(env: NodeJS.ProcessEnv, make: boolean): string {
  const state = make ? openStateDir(env).path : stateDirPath(env);
  const folder = join(state, 'install');
  if (make) mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

export type Present =
  | { readonly kind: 'none' }
  /** Of somebody else. */
  | { readonly kind: 'foreign' }
  | { readonly kind: 'ours'; readonly made: Made; readonly text: string };

export function present(path: string): Present {
  try {
    lstatSync(path);
  } catch {
    return { kind: 'none' };
  }
  try {
    const text = readFileSync(path, 'utf8');
    const made = readMarker(text);
    return made ? { kind: 'ours', made, text } : { kind: 'foreign' };
  } catch {
    return { kind: 'foreign' };
  }
}
