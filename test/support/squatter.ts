// Strangers at the names of a bot's lock: real processes, of any user.
import { readFileSync } from 'node:fs';
import { lockKey } from '../../src/lock/proof.ts';
import { type Bed, fixture, PYTHON } from './bed.ts';
import type { Running } from './cli.ts';

export const NOBODY = 65_534;

/** Of the bot's own token, the lowest first. */
export function lockNames(b: Bed, token = b.token): readonly string[] {
  return lockKey(token).names;
}

/** As the program binds it: 108 bytes. `filler`: another byte looks the same in /proc/net/unix. */
export function paddedName(name: string, filler = '\0'): string {
  return `\0${name}${filler.repeat(107 - name.length)}`;
}

export async function squat(
  b: Bed,
  mode: 'lie' | 'mute' | 'bind' | 'say' | 'flood',
  names: readonly string[],
  options: { uid?: number; env?: Record<string, string> } = {},
): Promise<Running> {
  const hex = names.map((name) => Buffer.from(name).toString('hex'));
  // Given as text: another user may not read the folder of the tests.
  const source = readFileSync(fixture('lock-squatter.py'), 'utf8');
  const stranger = b.spawn(PYTHON, ['-c', source, mode, ...hex], { cwd: '/', ...options });
  await stranger.waitFor('ready');
  return stranger;
}
