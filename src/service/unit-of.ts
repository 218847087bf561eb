/** The systemd unit that a supervisor runs in, by its cgroup. */
import { readFileSync } from 'node:fs';
import { layersOf, unitIn } from '../strays/cgroup.ts';

export interface OwnUnit {
  /** `a-bot.service`. */
  readonly name: string;
  /** What starts it. */
  readonly startCommand: string;
}

/** Null: in none, or the system does not tell. */
export function unitOf(pid: number): OwnUnit | null {
  let cgroup: string;
  try {
    cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return null;
  }
  const found = unitIn(layersOf(cgroup));
  if (!found) return null;
  return {
    name: found.name,
    startCommand: `systemctl ${found.userUid === null ? '' : '--user '}start ${found.name}`,
  };
}
