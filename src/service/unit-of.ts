/** The unit or container that a supervisor runs in, by its cgroup, and the commands that stop and start it. */
import { readText } from '../machine/procfs.ts';
import { containerIn, layersOf, unitIn } from '../strays/cgroup.ts';

export interface Host {
  /** For people: `the unit bot.service`. */
  readonly name: string;
  readonly stopCommand: string;
  /** Null for a container, which its engine restarts according to its policy. */
  readonly startCommand: string | null;
}

const cgroupOf = (pid: number | 'self') => layersOf(readText(`/proc/${pid}/cgroup`));

/** Null: it runs in none or in ours, or the system does not tell. */
export function hostOf(pid: number | null): Host | null {
  if (pid === null) return null;
  const layers = cgroupOf(pid);
  const unit = unitIn(layers);
  const container = containerIn(layers);
  if (JSON.stringify(layers) === JSON.stringify(cgroupOf('self'))) return null;
  if (unit) {
    const systemctl = `${unit.userUid === null && process.geteuid?.() !== 0 ? 'sudo ' : ''}systemctl ${unit.userUid === null ? '' : '--user '}`;
    return {
      name: `the unit ${unit.name}`,
      stopCommand: `${systemctl}stop ${unit.name}`,
      startCommand: `${systemctl}start ${unit.name}`,
    };
  }
  if (!container) return null;
  const id = container.id.slice(0, 12);
  return { name: `container ${id}`, stopCommand: `${container.tool} stop ${id}`, startCommand: null };
}
