/**
 * Lets us end in order after our terminal has hung up. At its exit Node puts the modes of a terminal back that it was
 * started on, and aborts (SIGABRT) when that fails with EIO, as it does once the terminal is gone (node.cc,
 * ResetStdio). It leaves alone a descriptor that has become another file since.
 */
import fs from 'node:fs';
import tty from 'node:tty';

/** Replaces each of stdin, stdout, stderr that is a gone terminal by /dev/null; to be called right before the exit. */
export function leaveGoneTerminal(): void {
  for (const fd of [0, 1, 2]) {
    try {
      if (!isGoneTerminal(fd)) continue;
      // The lowest free number is given next: the one just closed.
      fs.closeSync(fd);
      fs.openSync('/dev/null', 'r+');
    } catch {
      // Not open, or no /dev/null: nothing that could be put right here.
    }
  }
}

/** A device that is neither a terminal (any more) nor /dev/null. */
function isGoneTerminal(fd: number): boolean {
  const stat = fs.fstatSync(fd);
  return stat.isCharacterDevice() && !tty.isatty(fd) && stat.rdev !== fs.statSync('/dev/null').rdev;
}
