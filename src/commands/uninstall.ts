/** `singlepoll uninstall`: stops what `install` has made to start at boot, and takes away that and nothing else. */
import { lstatSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EXIT, SinglepollError } from '../errors.ts';
import { linesOf, withoutLine } from '../install/crontab.ts';
import { readCrontab, tool, writeCrontab } from '../install/hands.ts';
import { launchdLabel } from '../install/launchd.ts';
import type { Made } from '../install/marker.ts';
import { chooseName, present, privateFolder, unitPath } from '../install/place.ts';
import { askControl } from '../machine/control.ts';
import { isProgramInPath } from '../machine/executable.ts';
import { plain } from '../output/plain.ts';
import { workingFolder } from './context.ts';
import { livingRuns, type Run } from './runs.ts';
import { STOP_WAIT_MS, tellStopped } from './stopped.ts';

interface Found {
  readonly kind: 'systemd' | 'launchd' | 'cron';
  readonly system: boolean;
  readonly name: string;
  /** Of the unit or property list, of cron that of the script. */
  readonly path: string;
  /** Null: cron's script is gone. */
  readonly made: Made | null;
}

export async function run(own: Readonly<Record<string, unknown>>): Promise<number> {
  const name = chooseName(own.name, workingFolder());
  const all = installed();
  const found = all.filter((it) => it.name === name);
  if (found.length === 0) {
    process.stdout.write(`nothing to uninstall: ${name} is not installed\n`);
    const others = [...new Set(all.map((it) => it.name))];
    if (others.length > 0) process.stdout.write(`installed are: ${others.join(', ')} (--name)\n`);
    return EXIT.ok;
  }
  for (const it of found) {
    if (own.print === true) await sayPlan(it);
    else await remove(it);
  }
  return EXIT.ok;
}

/** All that this user may see. */
function installed(): Found[] {
  const found: Found[] = [];
  for (const kind of ['systemd', 'launchd'] as const) {
    for (const system of [true, false]) {
      for (const path of filesOf(dirname(unitPath(kind, system, 'any', process.env)))) {
        const there = /\.(?:service|plist)$/.test(path) ? present(path) : { kind: 'none' as const };
        // A copy under another name is its maker's.
        if (
          there.kind === 'ours' &&
          isTrusted(path) &&
          path === unitPath(kind, system, there.made.name, process.env)
        )
          found.push({ kind, system, name: there.made.name, path, made: there.made });
      }
    }
  }
  if (!isProgramInPath('crontab', process.env)) return found;
  for (const { name } of linesOf(readCrontab())) {
    const path = join(privateFolder(process.env, false), `${name}.sh`);
    const there = present(path);
    found.push({ kind: 'cron', system: false, name, path, made: there.kind === 'ours' ? there.made : null });
  }
  return found;
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** Only what lies in the folder of such files: a marker that somebody has changed must not lead elsewhere. */
function filesToRemove({ kind, path, made, name }: Found): string[] {
  const own = (made?.files ?? []).filter(
    (it) => ['.env', '.sh'].some((ending) => basename(it) === `${name}${ending}`) && isPrivate(dirname(it)),
  );
  const log = own[0] === undefined || kind !== 'launchd' ? [] : [join(dirname(own[0]), `${name}.log`)];
  return [...new Set([path, ...own, ...log])];
}

/** Our folder of such files, or one of another state folder that nobody else can have made or led us to. */
function isPrivate(folder: string): boolean {
  if (folder === privateFolder(process.env, false)) return true;
  try {
    const { uid, mode } = lstatSync(folder);
    const isOurs = uid === process.getuid?.() && (mode & 0o777) === 0o700;
    return isOurs && basename(folder) === 'install' && realpathSync(folder) === folder;
  } catch {
    return false;
  }
}

/** As root: what others have written says nothing. */
function isTrusted(path: string): boolean {
  if (process.getuid?.() !== 0) return true;
  try {
    return lstatSync(path).uid === 0 && statSync(path).uid === 0;
  } catch {
    return false;
  }
}

async function sayPlan(found: Found): Promise<void> {
  const { kind, name } = found;
  const what =
    kind === 'cron' ? `remove the line of ${name} in the crontab` : `stop and remove the service ${name}`;
  process.stdout.write(`would ${what}\n`);
  for (const { doc } of found.kind === 'cron' ? await runsOf(found.made) : [])
    process.stdout.write(
      `would stop supervisor ${doc?.supervisor?.pid ?? 'unknown'}, worker ${doc?.worker?.pid ?? 'none'}, whoever started them\n`,
    );
  for (const path of filesToRemove(found)) process.stdout.write(`would remove ${plain(path)}\n`);
}

async function remove(found: Found): Promise<void> {
  const { kind, system, name } = found;
  if (system && process.getuid?.() !== 0)
    throw new SinglepollError(
      EXIT.refused,
      `${name} is installed for the whole machine: only root may remove it`,
      `sudo singlepoll uninstall --name ${name}`,
    );
  if (kind === 'systemd') stopUnit(found);
  else if (kind === 'launchd')
    tool('launchctl', [
      'bootout',
      `${system ? 'system' : `gui/${process.getuid?.()}`}/${launchdLabel(name)}`,
    ]);
  else {
    // First: a reboot in between must not start it again.
    const before = readCrontab();
    writeCrontab(withoutLine(before, name));
    process.stdout.write(`removed: the line of ${name} in the crontab\n`);
    for (const it of await runsOf(found.made)) await stop(it);
  }
  for (const path of filesToRemove(found)) {
    rmSync(path, { force: true });
    process.stdout.write(`removed: ${plain(path)}\n`);
  }
  if (kind === 'systemd') tool('systemctl', [...scopeOf(system), 'daemon-reload']);
  for (const it of kind === 'cron' ? [] : await runsOf(found.made))
    process.stdout.write(
      `a supervisor of this bot still runs (pid ${it.doc?.supervisor?.pid ?? 'unknown'}): singlepoll stop\n`,
    );
}

function stopUnit({ system, name }: Found): void {
  const unit = `${name}.service`;
  const { code, stderr } = tool('systemctl', [...scopeOf(system), 'disable', '--now', unit]);
  if (code === 0) {
    process.stdout.write(`stopped and disabled: ${unit}\n`);
    tool('systemctl', [...scopeOf(system), 'reset-failed', unit]);
    return;
  }
  throw new SinglepollError(
    EXIT.config,
    `nothing was removed: systemctl can’t stop ${unit}: ${stderr.trim().split('\n')[0] ?? ''}`,
    system ? undefined : 'the user’s systemd must run: log in as this user (not by su or sudo)',
  );
}

function scopeOf(system: boolean): string[] {
  return system ? [] : ['--user'];
}

/** Of the bot, or in deploy mode without a token of the folder. */
async function runsOf(made: Made | null): Promise<Run[]> {
  if (!made) return [];
  const runs = await livingRuns();
  return runs.filter(({ botId, doc }) => botId === (made.bot ?? 0) && doc?.supervisor?.cwd === made.cwd);
}

async function stop({ control }: Run): Promise<void> {
  tellStopped(await askControl(control, { cmd: 'stop' }, { timeoutMs: STOP_WAIT_MS }));
}
