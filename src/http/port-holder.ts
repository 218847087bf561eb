/** Who listens at a port of this machine: for the sentence that says that it is taken. */
import { hasProcfs, listPids, readText } from '../machine/procfs.ts';
import { socketInodes, tcpRows } from '../machine/tcp-table.ts';
import { plainCommand } from '../output/plain.ts';

const LISTENING = '0A';

/** `pid 4711 (nginx -g …)`; null where the system does not tell. */
export function portHolder(port: number): string | null {
  if (!hasProcfs()) return null;
  const inodes = new Set<string>();
  for (const row of tcpRows()) if (row.state === LISTENING && row.localPort === port) inodes.add(row.inode);
  if (inodes.size === 0) return null;
  for (const pid of listPids()) {
    if (!socketInodes(pid)?.some((inode) => inodes.has(inode))) continue;
    const argv = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter(Boolean);
    return argv.length === 0 ? `pid ${pid}` : `pid ${pid} (${plainCommand(argv)})`;
  }
  return null;
}
