/** The systemd unit that a supervisor runs in, by its cgroup, and what starts it. Null: in none, or the system does not tell. */
import { readText } from '../machine/procfs.ts';
import { layersOf, unitIn } from '../strays/cgroup.ts';

export function unitOf(pid: number): { readonly name: string; readonly startCommand: string } | null {
  const unit = unitIn(layersOf(readText(`/proc/${pid}/cgroup`)));
  const user = unit?.userUid === null ? '' : '--user ';
  return unit && { name: unit.name, startCommand: `systemctl ${user}start ${unit.name}` };
}
