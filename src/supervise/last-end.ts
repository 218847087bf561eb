/** Why the last supervisor of a bot ended, for a `status` that finds none: in the bot's state folder (0600). */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ending } from '../core/supervisor.ts';
import { maskText } from '../output/mask.ts';
import { plain } from '../output/plain.ts';

export interface LastEnd extends Ending {
  /** ISO 8601. */
  readonly at: string;
}

const FILE = 'last-end.json';

/** Written by who holds the lock. That it can't be written is no trouble of the end. */
export function rememberEnd(botDir: string, { code, reason }: Ending): void {
  const end: LastEnd = { code, reason: maskText(reason, []), at: new Date().toISOString() };
  try {
    writeFileSync(join(botDir, FILE), `${JSON.stringify(end)}\n`, { mode: 0o600 });
  } catch {
    forgetEnd(botDir);
  }
}

/** A new run has begun. */
export function forgetEnd(botDir: string): void {
  try {
    rmSync(join(botDir, FILE), { force: true });
  } catch {
    // A read-only folder: it holds nothing of ours, or what it holds can't be helped.
  }
}

/** Null: none ended for a reason of its own. */
export function recallEnd(botDir: string): LastEnd | null {
  try {
    const { code, reason, at } = JSON.parse(readFileSync(join(botDir, FILE), 'utf8')) as Partial<LastEnd>;
    if (typeof code !== 'number' || typeof reason !== 'string' || Number.isNaN(Date.parse(String(at))))
      return null;
    return { code, reason: plain(maskText(reason, []), 500), at: String(at) };
  } catch {
    return null;
  }
}
