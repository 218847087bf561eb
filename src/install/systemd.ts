/** Starts at boot with systemd: writes, enables, starts, finds and removes the unit. */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { currentUser } from '../config/state-dir.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import type { Holder } from '../lock/lock.ts';
import { plain } from '../output/plain.ts';
import { describe, hostOfHolder } from '../supervisor/holder.ts';
import { runTool } from '../tools.ts';
import { type Found, filesIn, type Plan, present, writePlanned } from './plan.ts';
import { systemdUnit } from './unit.ts';

/** Time limit: a start takes until the worker's first poll, a stop as long as --stop-timeout. */
const TOOL_MS = 10 * 60_000;

function unitPath(system: boolean, name: string, env: NodeJS.ProcessEnv): string {
  if (system) return join('/etc/systemd/system', `${name}.service`);
  const config = env.XDG_CONFIG_HOME || join(env.HOME || currentUser().home || '/', '.config');
  return join(config, 'systemd/user', `${name}.service`);
}

const pathOf = ({ system, made }: Plan): string => unitPath(system, made.name, process.env);

/** The command as people type it. */
const shown = (system: boolean): string => (system ? 'systemctl' : 'systemctl --user');

function systemctl(system: boolean, ...words: string[]) {
  return runTool('systemctl', [...(system ? [] : ['--user']), ...words], { timeoutMs: TOOL_MS });
}

/** Throws systemctl's message if it fails. */
async function order(
  system: boolean,
  words: readonly string[],
  problem: string,
  hint: string,
): Promise<void> {
  const { code, stderr } = await systemctl(system, ...words);
  if (code === 0) return;
  throw new SinglepollError(EXIT.config, `${problem}: ${stderr.trim().split('\n')[0] ?? ''}`, hint);
}

/** Starts programs at boot. Its methods throw 77 or 78. */
export type Starter = typeof systemd;

export const systemd = {
  /** Programs that it requires. */
  needs: ['systemctl', 'systemd-notify'],
  /** The file that has our mark. */
  markedFile: pathOf,
  /** `env` is a line about the env file. */
  show: (plan: Plan, env: string): void =>
    void process.stdout.write(`# ${plain(pathOf(plan))}\n${env}${systemdUnit(plan)}`),
  /** Throws if it does not work here. */
  async check({ system }: Plan): Promise<void> {
    if ((await systemctl(system, 'show', '-p', 'Version', '--value')).stdout.trim() !== '') return;
    const [problem, hint] = system
      ? ['systemd does not run here', 'singlepoll install --kind cron …    # or, to see the unit: --print']
      : [
          'the systemd of this user does not answer',
          'log in as this user (not by su or sudo), or set XDG_RUNTIME_DIR=/run/user/$(id -u)',
        ];
    throw new SinglepollError(EXIT.config, `${problem}; nothing was changed`, hint);
  },
  /** Writes and enables the unit; returns the messages about that, and the command that starts it. */
  async put(plan: Plan) {
    const { system, made } = plan;
    writePlanned(pathOf(plan), systemdUnit(plan), 0o644);
    for (const words of [['daemon-reload'], ['enable', `${made.name}.service`]])
      await order(
        system,
        words,
        `${shown(system)} ${words.join(' ')} failed`,
        'singlepoll uninstall    # takes away what was written',
      );
    const linger = ['show-user', String(process.getuid?.()), '-p', 'Linger', '--value'];
    const atLogin =
      !system && (await runTool('loginctl', linger, { timeoutMs: TOOL_MS })).stdout.trim() !== 'yes';
    const login =
      'it starts when you log in, and ends when you log out; to have it run from boot on:\n  → loginctl enable-linger    # if that is denied, with sudo and your name';
    return {
      lines: [`  unit  ${plain(pathOf(plan), 1_500)}`, ...(atLogin ? [login] : [])],
      toStart: `${shown(system)} restart ${made.name}`,
    };
  },
  /** Waits until it polls or stands by. `holder`: the supervisor of this bot that runs now. */
  async start({ system, made }: Plan, holder: Holder | null): Promise<void> {
    const unit = `${made.name}.service`;
    const show = async (property: string) =>
      (await systemctl(system, 'show', '-p', property, '--value', unit)).stdout.trim();
    // The pid decides, as the unit may be starting just now.
    const isUnits = holder?.pid != null && (await show('MainPID')) === String(holder.pid);
    if (holder && !isUnits)
      throw new SinglepollError(
        EXIT.otherPoller,
        `not started: a supervisor of this bot runs already: ${describe(holder)}`,
        `${hostOfHolder(holder)?.stopCommand ?? 'singlepoll stop'} && ${shown(system)} start ${made.name}`,
      );
    const { code, stderr } = await systemctl(system, 'restart', unit);
    if (code === 0) return;
    const [why, exit] = [await show('StatusText'), await show('ExecMainStatus')];
    const journal = [...(system ? [] : ['--user']), '-u', made.name, '-n'];
    const { stdout } = await runTool('journalctl', [...journal, '60', '-o', 'cat', '--no-pager'], {
      timeoutMs: TOOL_MS,
    });
    // systemd has a line for each process that it kills.
    const lines = stdout.split('\n').filter((line) => line !== '' && !/: Killing process \d/.test(line));
    process.stderr.write(
      lines
        .slice(-12)
        .map((line) => `| ${line}\n`)
        .join(''),
    );
    throw new SinglepollError(
      Number(exit) || EXIT.unreachable,
      `installed, but it did not start: ${why || (stderr.trim().split('\n')[0] ?? '')}`,
      `journalctl ${journal.join(' ')} 50    # all that it said`,
    );
  },
  /** All of our units that this user may see. */
  async list(): Promise<Found[]> {
    return [true, false].flatMap((system) =>
      filesIn(dirname(unitPath(system, 'any', process.env)), '.service').flatMap((path) => {
        const made = present(path);
        // A copy under another name belongs to the user who made it.
        const isOurs = made && made !== 'nothing' && path === unitPath(system, made.name, process.env);
        return isOurs ? [{ kind: 'systemd' as const, system, name: made.name, path, made }] : [];
      }),
    );
  },
  async remove({ system, name, path }: Found): Promise<void> {
    const unit = `${name}.service`;
    const hint = system
      ? 'systemctl status'
      : 'log in as this user (not by su or sudo): its systemd must run';
    await order(system, ['disable', '--now', unit], `nothing was removed: ${unit} can’t be stopped`, hint);
    await systemctl(system, 'reset-failed', unit);
    process.stdout.write(`stopped and disabled: ${unit}\n`);
    rmSync(path, { force: true });
    process.stdout.write(`removed: ${plain(path)}\n`);
    await systemctl(system, 'daemon-reload');
  },
};
