/** The hands of install and uninstall: files written whole, and the tools of the service managers. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { showValue } from '../config/show-value.ts';
import { EXIT, SinglepollError } from '../errors.ts';
import { toolEnvironment } from '../tools.ts';

export interface Ran {
  /** Null: not installed, or killed. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** As a whole or not at all; never through a symlink. Throws 78. */
export function writeWhole(path: string, text: string, mode: number): void {
  const fresh = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(fresh, text, { flag: 'wx', mode });
    // The umask may have taken more away than wanted.
    chmodSync(fresh, mode);
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    const denied = code === 'EACCES' || code === 'EPERM';
    throw new SinglepollError(
      denied ? EXIT.refused : EXIT.config,
      `${showValue(path)} can’t be written (${code})`,
      denied ? 'sudo singlepoll install …, or singlepoll install --user' : undefined,
    );
  }
}

/** Runs one of the system's tools to its end, with a small environment of its own: no token gets there. */
export function tool(command: string, args: readonly string[], input?: string): Ran {
  const env = toolEnvironment(process.env);
  const ran = spawnSync(command, args, {
    ...{ env, encoding: 'utf8', cwd: '/', maxBuffer: 8 << 20 },
    ...(input === undefined ? { stdio: ['ignore', 'pipe', 'pipe'] } : { input }),
  });
  return { code: ran.error ? null : ran.status, stdout: ran.stdout ?? '', stderr: ran.stderr ?? '' };
}

/** The table of this user. Throws 78 where it can't be read: an empty one must not take its place. */
export function readCrontab(): string {
  const { code, stdout, stderr } = tool('crontab', ['-l']);
  if (code === 0) return stdout;
  if (code === 1 && /no crontab|can't open/i.test(stderr)) return '';
  throw new SinglepollError(
    EXIT.config,
    `the crontab can’t be read: ${stderr.trim() || 'there is no crontab command'}`,
    'crontab -l',
  );
}

/** Throws 78. */
export function writeCrontab(table: string): void {
  const { code, stderr } = table.trim() === '' ? tool('crontab', ['-r']) : tool('crontab', ['-'], table);
  if (code === 0) return;
  throw new SinglepollError(EXIT.config, `the crontab can’t be written: ${stderr.trim()}`, 'crontab -e');
}
