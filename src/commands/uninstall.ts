/** `singlepoll uninstall`: stops what `install` has made to start at boot, and takes away that and nothing else. */
import { lstatSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EXIT, SinglepollError } from '../errors.ts';
import { namesIn, readCrontab, withoutLine, writeCrontab } from '../install/cron.ts';
import { chooseName, type Kind, type Made, present, privateFolder, unitPath } from '../install/plan.ts';
import { plain } from '../output/plain.ts';
import { askControl } from '../supervisor/control.ts';
import { isProgramInPath } from '../supervisor/executable.ts';
import { runTool } from '../tools.ts';
import { workingFolder } from './context.ts';
import { livingRuns, type Run } from './find.ts';
import { ORDER_WAIT_MS, tellStopped } from './orders.ts';

interface Found {
  readonly kind: Kind;
  readonly system: boolean;
  readonly name: string;
  /** Path of the unit; with cron that of the script. */
  readonly path: string;
  /** Null: cron's script is gone. */
  readonly made: Made | null;
}

export async function run(own: Readonly<Record<string, unknown>>): Promise<number> {
  const name = chooseName(own.name, workingFolder());
  const all = await installed();
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
async function installed(): Promise<Found[]> {
  const found: Found[] = [];
  for (const system of [true, false]) {
    for (const path of filesOf(dirname(unitPath(system, 'any', process.env)))) {
      const made = path.endsWith('.service') ? present(path) : null;
      // A copy under another name is its maker's.
      if (made === null || made === 'nothing' || path !== unitPath(system, made.name, process.env)) continue;
      if (isTrusted(path)) found.push({ kind: 'systemd', system, name: made.name, path, made });
    }
  }
  if (!isProgramInPath('crontab', process.env)) return found;
  for (const name of namesIn(await readCrontab())) {
    const path = join(privateFolder(process.env, false), `${name}.sh`);
    const made = present(path);
    found.push({ kind: 'cron', system: false, name, path, made: made === 'nothing' ? null : made });
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
function filesToRemove({ path, made, name }: Found): string[] {
  const own = (made?.files ?? []).filter(
    (it) => [`${name}.env`, `${name}.sh`].includes(basename(it)) && isPrivate(dirname(it)),
  );
  return [...new Set([path, ...own])];
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
  if (kind === 'systemd') await stopUnit(found);
  else {
    // First: a reboot in between must not start it again.
    await writeCrontab(withoutLine(await readCrontab(), name));
    process.stdout.write(`removed: the line of ${name} in the crontab\n`);
    for (const it of await runsOf(found.made)) await stop(it);
  }
  for (const path of filesToRemove(found)) {
    rmSync(path, { force: true });
    process.stdout.write(`removed: ${plain(path)}\n`);
  }
  if (kind === 'systemd') await systemctl(system, 'daemon-reload');
  for (const it of kind === 'cron' ? [] : await runsOf(found.made))
    process.stdout.write(
      `a supervisor of this bot still runs (pid ${it.doc?.supervisor?.pid ?? 'unknown'}): singlepoll stop\n`,
    );
}

async function stopUnit({ system, name }: Found): Promise<void> {
  const unit = `${name}.service`;
  const { code, stderr } = await systemctl(system, 'disable', '--now', unit);
  if (code === 0) {
    process.stdout.write(`stopped and disabled: ${unit}\n`);
    await systemctl(system, 'reset-failed', unit);
    return;
  }
  throw new SinglepollError(
    EXIT.config,
    `nothing was removed: systemctl can’t stop ${unit}: ${stderr.trim().split('\n')[0] ?? ''}`,
    system ? undefined : 'the user’s systemd must run: log in as this user (not by su or sudo)',
  );
}

function systemctl(system: boolean, ...words: string[]) {
  return runTool('systemctl', [...(system ? [] : ['--user']), ...words], { timeoutMs: ORDER_WAIT_MS });
}

/** Living runs of that bot, or of that folder in deploy mode without a token. */
async function runsOf(made: Made | null): Promise<Run[]> {
  if (!made) return [];
  const runs = await livingRuns();
  return runs.filter(({ botId, doc }) => botId === (made.bot ?? 0) && doc?.supervisor?.cwd === made.cwd);
}

async function stop({ control }: Run): Promise<void> {
  tellStopped(await askControl(control, { cmd: 'stop' }, { timeoutMs: ORDER_WAIT_MS }));
}
