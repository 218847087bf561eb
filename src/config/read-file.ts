/**
 * Reads the small text files that configure singlepoll. Never waits: a FIFO, socket or device under the expected name is
 * refused, not read (open(2): O_NONBLOCK keeps the open of a FIFO from blocking). At most 1 MiB is read.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

export const LARGEST_FILE_BYTES = 1024 * 1024;

export type FileText =
  | { readonly kind: 'text'; readonly text: string; readonly mode: number }
  | { readonly kind: 'missing' }
  /** There, but not a regular file: `a folder`, `a FIFO` … */
  | { readonly kind: 'irregular'; readonly problem: string }
  | { readonly kind: 'unreadable'; readonly problem: string };

/** Reads one file; the text comes without a byte order mark. Never throws. */
export function readTextFile(path: string): FileText {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return openFailed(error as NodeJS.ErrnoException);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return { kind: 'irregular', problem: `it is ${kindOf(stat)}, not a file` };
    const bytes = readUpTo(fd, LARGEST_FILE_BYTES + 1);
    if (bytes.length > LARGEST_FILE_BYTES) return { kind: 'unreadable', problem: 'it is larger than 1 MiB' };
    return decode(bytes, stat.mode & 0o7777);
  } catch (error) {
    return { kind: 'unreadable', problem: reason(error as NodeJS.ErrnoException) };
  } finally {
    closeSync(fd);
  }
}

function openFailed(error: NodeJS.ErrnoException): FileText {
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return { kind: 'missing' };
    // What open(2) says of a socket and of a device without a driver.
    case 'ENXIO':
    case 'ENODEV':
      return { kind: 'irregular', problem: 'it is a socket or device, not a file' };
    default:
      return { kind: 'unreadable', problem: reason(error) };
  }
}

function reason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EACCES':
    case 'EPERM':
      return 'it may not be read by this user';
    case 'ELOOP':
      return 'it is a symlink that leads to itself';
    default:
      return `it cannot be read (${error.code ?? error.message})`;
  }
}

function kindOf(stat: ReturnType<typeof fstatSync>): string {
  if (stat.isDirectory()) return 'a folder';
  if (stat.isFIFO()) return 'a FIFO';
  if (stat.isSocket()) return 'a socket';
  return 'a device';
}

function readUpTo(fd: number, maxBytes: number): Buffer {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < maxBytes) {
    const chunk = Buffer.allocUnsafe(Math.min(64 * 1024, maxBytes - total));
    const count = readSync(fd, chunk, 0, chunk.length, null);
    if (count === 0) break;
    chunks.push(chunk.subarray(0, count));
    total += count;
  }
  return Buffer.concat(chunks, total);
}

function decode(bytes: Buffer, mode: number): FileText {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    // What `echo … > .env` writes in an older PowerShell.
    return { kind: 'unreadable', problem: 'it is UTF-16; save it as UTF-8' };
  }
  const text = bytes.toString('utf8');
  return { kind: 'text', text: text.startsWith('\uFEFF') ? text.slice(1) : text, mode };
}
