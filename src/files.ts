/** Files of our own: written as a whole or not at all; who else may read one; and what a path leads to. */
import fs from 'node:fs';
import { dirname } from 'node:path';

/** Never through a symlink, never seen half. Throws what the system says. */
export function writeWhole(path: string, text: string, mode = 0o600): void {
  const fresh = `${path}.${process.pid}.tmp`;
  try {
    fs.writeFileSync(fresh, text, { flag: 'wx', mode });
    // The umask may have taken more away than wanted.
    fs.chmodSync(fresh, mode);
    fs.renameSync(fresh, path);
  } catch (error) {
    fs.rmSync(fresh, { force: true });
    throw error;
  }
}

/** False where that can't be: a full disk, a read-only folder. */
export function mayWriteWhole(path: string, text: string): boolean {
  try {
    writeWhole(path, text);
    return true;
  } catch {
    return false;
  }
}

/** Removes a file if it can. No error, because whoever needs the place later is told what is in the way. */
export function removeQuietly(path: string): void {
  try {
    fs.rmSync(path, { force: true });
  } catch {}
}

/** Makes a private folder, and those above it that are missing. Node's `recursive` tries for ever where a file system makes no folders, as /proc. */
export function makeFolder(path: string): void {
  if (fs.existsSync(path)) return;
  makeFolder(dirname(path));
  fs.mkdirSync(path, { mode: 0o700 });
}

/** Whether others than the owner may write a file with secrets, or others than its group read it: 0640 is private enough. */
export function isOpenToOthers(mode: number): boolean {
  return (mode & 0o027) !== 0;
}

/** `0640` */
export function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** With its links followed; the path itself where that can't be done. */
export function realPath(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    return path;
  }
}

/** None where the folder is not there, or can't be read. */
export function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

/** A folder that a process of ours can work in, or with `W_OK` also write to. */
export function isUsableFolder(path: string, more = 0): boolean {
  try {
    fs.accessSync(path, fs.constants.X_OK | more);
    return fs.statSync(path).isDirectory();
  } catch {
    return false;
  }
}
