/** The first and the last part of a log file, which may be of any size. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

const END_BYTES = 1024 * 1024;

/** The text, for a long file both ends of it with a line between them; null where it can't be read. Line numbers hold for the first part. */
export function readEnds(path: string, endBytes = END_BYTES): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return null;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return null;
    if (stat.size <= 2 * endBytes) return part(fd, 0, stat.size);
    return `${part(fd, 0, endBytes)}${CUT}${part(fd, stat.size - endBytes, endBytes)}`;
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** Stands where the middle of a log was left out. */
export const CUT = '\n\u0000\n';

function part(fd: number, from: number, length: number): string {
  const bytes = Buffer.allocUnsafe(length);
  const count = readSync(fd, bytes, 0, length, from);
  return bytes.toString('latin1', 0, count);
}
