/** Who listens at a port of this machine: for the sentence that says that it is taken. */
import { createBlockReader, hasProcfs, listPids, readText } from '../machine/procfs.ts';
import { hexPort, socketInodes, tcpRows } from '../machine/sockets.ts';
import { plainCommand } from '../output/plain.ts';

const TABLE_BYTES_MAX = 16 * 1024 * 1024;
const LISTENING = '0A';

/** `pid 4711 (nginx -g …)`; null where the system does not tell. */
export function portHolder(port: number): string | null {
  if (!hasProcfs()) return null;
  const inodes = new Set<string>();
  for (const row of tcpRows(createBlockReader(), 'self', TABLE_BYTES_MAX))
    if (row.state === LISTENING && row.local.endsWith(`:${hexPort(port)}`)) inodes.add(row.inode);
  if (inodes.size === 0) return null;
  for (const pid of listPids()) {
    if (!socketInodes(pid)?.some((inode) => inodes.has(inode))) continue;
    const argv = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter(Boolean);
    return argv.length === 0 ? `pid ${pid}` : `pid ${pid} (${plainCommand(argv)})`;
  }
  return null;
}
