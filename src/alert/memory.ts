/**
 * When each kind of alert was last told, in the state folder of the bot: a supervisor that is started again and again (by systemd,
 * by Docker) must not tell the same each time. What can't be read or written is done without.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SavedAlerts } from '../core/alerts.ts';

const FILE = 'alerts.json';

/** Anything: restoreAlerts makes sense of it. */
export function recallAlerts(botDir: string): unknown {
  try {
    return JSON.parse(readFileSync(join(botDir, FILE), 'utf8'));
  } catch {
    return null;
  }
}

export function rememberAlerts(botDir: string, saved: SavedAlerts): void {
  const file = join(botDir, FILE);
  const fresh = `${file}.${process.pid}`;
  try {
    writeFileSync(fresh, `${JSON.stringify(saved)}\n`, { mode: 0o600 });
    renameSync(fresh, file);
  } catch {
    rmSync(fresh, { force: true });
  }
}
