/** `singlepoll uninstall`: stops what `install` has made to start at boot, and takes away that and nothing else. */
import { existsSync, rmSync } from 'node:fs';
import { findStateDir } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { chooseName, type Found, privateFiles } from '../install/plan.ts';
import { plain } from '../output/plain.ts';
import { askControl } from '../supervisor/control.ts';
import { workingFolder } from './context.ts';
import { type Bot, findBots } from './find.ts';
import { STARTERS } from './install.ts';
import { ORDER_WAIT_MS, tellStopped } from './orders.ts';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

export async function run(own: Readonly<Record<string, unknown>>): Promise<number> {
  const name = chooseName(own.name, workingFolder());
  const all = [...(await STARTERS.systemd.list()), ...(await STARTERS.cron.list())];
  const found = all.filter((it) => it.name === name);
  if (found.length === 0) {
    say(`nothing to uninstall: ${name} is not installed`);
    const others = [...new Set(all.map((it) => it.name))];
    if (others.length > 0) say(`installed are: ${others.join(', ')} (--name)`);
  }
  for (const it of found) await remove(it, own.print === true);
  const state = findStateDir(process.env);
  if (found.length > 0 && own.print !== true && state !== null)
    say(`left: the state folder ${plain(state)} (logs, the last command)`);
  return EXIT.ok;
}

/** With cron nobody else would stop what runs; systemd stops its unit. */
async function runsToStop({ kind, made }: Found): Promise<Bot['runs']> {
  const bots = made && kind === 'cron' ? await findBots() : [];
  const runs = bots.find(({ id }) => id === (made?.bot ?? 0))?.runs ?? [];
  return runs.filter(({ doc }) => doc?.supervisor?.cwd === made?.cwd);
}

async function remove(found: Found, isPrinted: boolean): Promise<void> {
  const { kind, system, name, path } = found;
  const runs = await runsToStop(found);
  const files = Object.values(privateFiles(name, process.env)).filter(existsSync);
  if (isPrinted) {
    const what =
      kind === 'cron' ? `remove the line of ${name} in the crontab` : `stop and remove ${plain(path)}`;
    say(`would ${what}`);
    for (const { doc } of runs)
      say(
        `would stop supervisor ${doc?.supervisor?.pid}, worker ${doc?.worker?.pid ?? 'none'}, whoever started them`,
      );
    for (const file of files) say(`would remove ${plain(file)}`);
    return;
  }
  const problem = `${name} is installed for the whole machine: only root may remove it`;
  if (system && process.getuid?.() !== 0)
    throw new SinglepollError(EXIT.refused, problem, `sudo singlepoll uninstall --name ${name}`);
  // First: a reboot in between must not start it again.
  await STARTERS[kind].remove(found);
  for (const { control } of runs)
    tellStopped(await askControl(control, { cmd: 'stop' }, { timeoutMs: ORDER_WAIT_MS }));
  for (const file of files) {
    rmSync(file);
    say(`removed: ${plain(file)}`);
  }
}
