/** Where the log of a bot's runs lies, for those who write it and those who read it. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Names the log of the last run: it may lie anywhere. */
const RECORD = 'log-path';
const POLLING_LOG = 'singlepoll.log';

/** The usual place. In deploy mode several may run of one bot, or of none: one for each working folder. */
export function logPath(botDir: string, { polling, cwd }: { polling: boolean; cwd: string }): string {
  if (polling) return join(botDir, POLLING_LOG);
  return join(botDir, `deploy-${createHash('sha256').update(cwd).digest('hex').slice(0, 8)}.log`);
}

/** What can't be written down is found at the usual place only. */
export function rememberLog(botDir: string, path: string): void {
  try {
    writeFileSync(join(botDir, RECORD), `${path}\n`, { mode: 0o600 });
  } catch {
    // A full disk: `logs` asks the supervisor first anyway.
  }
}

export function recallLog(botDir: string): string {
  try {
    const path = readFileSync(join(botDir, RECORD), 'utf8').replace(/\n$/, '');
    if (path !== '') return path;
  } catch {
    // No run has written one here.
  }
  return join(botDir, POLLING_LOG);
}
