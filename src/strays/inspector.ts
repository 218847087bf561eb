/** Which processes have a socket open, by the descriptors in /proc/PID/fd. */
import { readdirSync, readlinkSync } from 'node:fs';

export interface SocketOwners {
  /** Socket inode to the pids that have it open; an inode without a visible owner is not in it. */
  readonly owners: ReadonlyMap<number, readonly number[]>;
  /** Processes whose descriptors could not be read. */
  readonly unseen: number;
}

/** `hintPids` are looked at first, and where they have all that is asked for, nobody else is looked at. */
export async function ownersOfSockets(
  inodes: readonly number[],
  options: { readonly hintPids?: readonly number[]; readonly timeoutMs?: number } = {},
): Promise<SocketOwners> {
  const owners = new Map<number, number[]>();
  const wanted = new Map(inodes.map((inode) => [`socket:[${inode}]`, inode]));
  let unseen = 0;
  const look = (pid: number) => {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const inode = wanted.get(linkOf(`/proc/${pid}/fd/${fd}`));
        if (inode === undefined) continue;
        const pids = owners.get(inode) ?? [];
        if (!pids.includes(pid)) owners.set(inode, [...pids, pid]);
      }
    } catch {
      unseen += 1;
    }
  };
  for (const pid of options.hintPids ?? []) look(pid);
  if (owners.size === wanted.size) return { owners, unseen: 0 };
  unseen = 0;
  for (const name of readdirSync('/proc')) if (/^\d+$/.test(name)) look(Number(name));
  return { owners, unseen };
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
