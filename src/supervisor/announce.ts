/** What `start` says of itself on the way in and on the way out: the bot or that it is deploy mode, the configuration, the end. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/load.ts';
import { showValue } from '../config/messages.ts';
import { longFlag, type OptionName, optionRow } from '../config/options.ts';
import type { Setting } from '../config/sources.ts';
import { EXIT, MORE_FILES, SinglepollError } from '../errors.ts';
import { isUsableFolder } from '../files.ts';
import { openFilesMax } from '../machine/procfs.ts';
import { plain, plainCommand } from '../output/plain.ts';
import type { Report } from '../output/report.ts';
import type { BotApi, Me } from '../telegram/bot-api.ts';
import { retrying } from '../telegram/reach.ts';
import { findExecutable, meantBy } from './executable.ts';
import type { LastEnd } from './memory.ts';

/** A run without anything extra has about 40, and some more at times. */
const OPEN_FILES = 64;

/** Throws SinglepollError 78, before anything is asked or stopped, where worker or log could not be started, or too few files may be open. */
export function checkCommand({ command, cwd, logFile }: Config): void {
  if (logFile !== null && statSync(logFile, { throwIfNoEntry: false })?.isDirectory()) {
    const inside = plainCommand([join(logFile, 'singlepoll.log')], 500);
    const reason = `the log file ${plain(logFile)} is a folder`;
    throw new SinglepollError(EXIT.config, reason, `name a file in it: --log-file ${inside}`);
  }
  if (!isUsableFolder(cwd)) {
    throw new SinglepollError(
      EXIT.config,
      `the working folder ${plain(cwd)} is gone or may not be entered; the worker would have no place to run in`,
      'cd to the folder of the bot',
    );
  }
  const most = openFilesMax();
  if (most < OPEN_FILES)
    throw new SinglepollError(
      EXIT.config,
      `too many open files: a run needs ${OPEN_FILES}, and here are ${most} at most (ulimit -n)`,
      MORE_FILES,
    );
  if (!command) return;
  const found = findExecutable(command.argv[0] ?? '', cwd, process.env.PATH);
  if (found.ok) return;
  throw new SinglepollError(
    EXIT.config,
    `the worker can't be started: ${found.problem} (${command.source})`,
    meantBy(command.argv, cwd).join('\n') || `singlepoll start -- COMMAND    # in ${plain(cwd)}`,
  );
}

/** Options that show in a line of their own. */
const SAID_ELSEWHERE: ReadonlySet<OptionName> = new Set([
  'apiRoot',
  'detach',
  'dryRun',
  'sandbox',
  'tokenEnv',
  'tokenFile',
]);

/** Says that it is deploy mode, where `identify` would say who the bot is: Telegram is asked nothing. Null, as no bot was identified. */
export function sayDeployMode(config: Config, report: Report): null {
  const { botId, tokenSource } = config;
  if (botId !== null)
    report.line('bot', `bot ${botId}, token from ${tokenSource}: Telegram is not asked who it is`);
  report.line('INIT', 'Polling disabled by env (POLLING_ENABLED!=1)', 'warn');
  report.line(
    'INIT',
    'deploy mode: the worker runs, nobody polls; no webhook is touched, no stray is stopped',
  );
  if (config.sealed)
    report.line('INIT', '--sealed has no effect: without polling there is no gateway', 'warn');
  if (config.pollingDoubt !== null) report.line('INIT', config.pollingDoubt, 'warn');
  return null;
}

/** `--backoff "2s,1m" (backoff in singlepoll.toml line 1)`; an option of the command line is its own place. */
export function settingWords({ option, value, from }: Setting): string {
  const values = typeof value === 'boolean' ? [] : [value].flat().map(showValue);
  const words = [longFlag(option), ...values].join(' ');
  return from.startsWith('--') ? words : `${words} (${from})`;
}

/** The command, and the options that were set. */
export function sayConfiguration(config: Config, report: Report): void {
  const { command, settings } = config;
  if (command) {
    const set = settings
      .filter(({ option, value }) => !SAID_ELSEWHERE.has(option) && value !== optionRow(option).initial)
      .map(settingWords);
    report.line(
      'config',
      `worker: ${plainCommand(command.argv)} (${command.source})${set.length > 0 ? `; ${set.join(', ')}` : ''}`,
    );
  }
  if (process.pid === 1) {
    report.line(
      'config',
      'running as PID 1: orphans of the worker are not reaped here; use `docker run --init`, `init: true` or tini',
      'warn',
    );
  }
}

/** `supervisor 12, worker 34 and 2 more processes (35, 36)`. */
export function whatEnded([leader, ...more]: readonly number[]): string {
  const worker = leader === undefined ? ' (no worker lived)' : `, worker ${leader}`;
  const rest =
    more.length === 0
      ? ''
      : ` and ${more.length} more ${more.length === 1 ? 'process' : 'processes'} (${more.join(', ')})`;
  return `supervisor ${process.pid}${worker}${rest}`;
}

/** `spawns`: how many workers there have been; `said`: the reason stands in a line of its own already. */
export function sayEnd(
  report: Report,
  { code, hint, lines, log }: Omit<LastEnd, 'at'>,
  reason: string,
  spawns: number,
  said: boolean,
): void {
  const level = code === EXIT.ok ? 'good' : 'error';
  const end = spawns === 0 ? 'no worker was started' : 'supervisor and worker have ended';
  const isTold = code !== EXIT.ok && lines.length > 0 && log !== null;
  const cure = hint ?? (isTold ? WHY_IT_ENDED : undefined);
  const text = `${said ? '' : `${reason}; `}${end} (exit ${code})`;
  report.line('stop', text, level, { code, hint: said ? undefined : cure });
}

export const WHY_IT_ENDED = 'singlepoll logs -n 50    # why it ended';

/** Says who the bot is. Throws SinglepollError 77 (refused), 69 (out of reach), or when asked to stop. */
export async function identify(
  config: Config,
  report: Report,
  api: BotApi,
  signal: AbortSignal,
): Promise<Me> {
  const { tokenSource } = config;
  const ask = () => api.call<Me>('getMe', {}, { signal });
  const me = await retrying('getMe', ask, config, signal, (text) =>
    report.line('bot', `bot ${config.botId}, token from ${tokenSource}: ${text}`, 'warn'),
  );
  const isUsual = config.apiRootSource === 'default' || config.sandbox;
  const root = isUsual ? '' : `, at ${config.apiRoot} (${config.apiRootSource})`;
  const name = `@${me.username ?? '(no username)'} (id ${me.id})`;
  const { id, username } = me;
  report.line('bot', `${name}, token from ${tokenSource}${root}`, 'good', { id, username });
  return me;
}
