/**
 * The line of a stray: from the process that polls up to pid 1, and where on that line a service manager's
 * reach ends. A shell that somebody types into, a terminal or a login ends it: what was started by hand from
 * there is not brought back by the manager that runs the terminal. Pure.
 */
import type { Proc } from '../../strays/process.ts';

export interface Lineage {
  readonly stray: Proc;
  readonly treeTop: Proc;
  /** The stray, its parent, and so on upwards; ends with the last process that the snapshot knows. */
  readonly line: readonly Proc[];
  /** Index on `line` of the first process that a manager's reach does not cross; `line.length` where there is none. */
  readonly sessionEnd: number;
  /** The same for the edge of a container (its shim or monitor). */
  readonly containerEnd: number;
  /** The line ends at a process that has no parent; false: the snapshot has a hole. */
  readonly complete: boolean;
}

const MAX_DEPTH = 128;
const SHELLS = new Set([
  'sh',
  'bash',
  'dash',
  'zsh',
  'fish',
  'ksh',
  'mksh',
  'ash',
  'tcsh',
  'csh',
  'nu',
  'xonsh',
]);
const SESSIONS = new Set([
  ...[
    'sshd',
    'sshd-session',
    'sshd-auth',
    'dropbear',
    'login',
    'agetty',
    'getty',
    'tmux',
    'screen',
    'dtach',
    'abduco',
    'mosh-server',
  ],
  ...[
    'zellij',
    'ttyd',
    'wetty',
    'xterm',
    'gnome-terminal-server',
    'gnome-terminal-',
    'konsole',
    'kitty',
    'alacritty',
    'xfce4-terminal',
  ],
  ...['sleep', 'tail', 'pause'],
]);
const INTERPRETERS =
  /^(?:node|nodejs|bun|deno|python[\d.]*|pypy[\d.]*|ruby[\d.]*|perl[\d.]*|sh|bash|dash|ash|zsh)$/;

/** Follows parents from the stray upwards. */
export function lineageOf(treeTop: Proc, stray: Proc, byPid: ReadonlyMap<number, Proc>): Lineage {
  const line: Proc[] = [];
  const seen = new Set<number>();
  let next: Proc | undefined = stray;
  let last = stray;
  while (next !== undefined && !seen.has(next.pid) && line.length < MAX_DEPTH) {
    line.push(next);
    seen.add(next.pid);
    last = next;
    next = byPid.get(next.ppid);
  }
  const firstAfterStray = (test: (proc: Proc) => boolean) => {
    const index = line.findIndex((proc, at) => at > 0 && test(proc));
    return index === -1 ? line.length : index;
  };
  return {
    stray,
    treeTop,
    line,
    sessionEnd: firstAfterStray((proc) => isSession(proc)),
    containerEnd: firstAfterStray((proc) => isContainerEdge(proc)),
    complete: last.ppid === 0 || last.pid === 1,
  };
}

/** A process above the stray that meets a test, with the process right below it (the one that it runs). */
export interface Found {
  readonly manager: Proc;
  readonly child: Proc;
}

/** The nearest process above the stray that passes `test`, not further than a session's or a container's edge. */
export function nearestAbove(lineage: Lineage, test: (proc: Proc) => boolean): Found | null {
  const end = Math.min(lineage.sessionEnd, lineage.containerEnd);
  for (let at = 1; at < lineage.line.length && at < end; at += 1) {
    const manager = lineage.line[at]!;
    if (test(manager)) return { manager, child: lineage.line[at - 1]! };
  }
  return null;
}

/** Whether a manager that runs `pid` would notice the end of the stray's tree: it is on the line, before any session. */
export function reaches(lineage: Lineage, pid: number): boolean {
  return lineage.line.some((proc, at) => proc.pid === pid && at < lineage.sessionEnd);
}

/** The first mark of that name on the line; a process that lost its environment leaves it to its parent. */
export function markOf(lineage: Lineage, name: string): string | null {
  for (const proc of lineage.line) {
    const mark = proc.env?.marks[name];
    if (mark !== undefined && mark !== '') return mark;
    if (proc.env !== null) return null;
  }
  return null;
}

/** Base name of what a process runs: the script where an interpreter runs one, else the program. Never with a folder. */
export function programOf(proc: Proc): string {
  const first = proc.argv[0];
  if (first === undefined || first === '') return proc.comm;
  const program = baseName(first).replace(/^-/, '');
  if (!INTERPRETERS.test(program)) return program;
  const script = proc.argv.slice(1).find((word) => !word.startsWith('-'));
  return script === undefined || proc.argv.slice(1, 3).some((word) => word === '-c' || word === '-e')
    ? program
    : baseName(script);
}

/** The last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The value of an option in any of its spellings: `-c FILE`, `-cFILE`, `--long FILE`, `--long=FILE`. */
export function optionOf(argv: readonly string[], short: string | null, long: string | null): string | null {
  for (const [at, word] of argv.entries()) {
    if (word === short || word === long) return argv[at + 1] ?? null;
    if (long !== null && word.startsWith(`${long}=`)) return word.slice(long.length + 1);
    if (short !== null && word.startsWith(short) && !word.startsWith('--')) return word.slice(short.length);
  }
  return null;
}

/** A path as another process means it: relative ones count from its working folder; null where that is unknown. */
export function resolveIn(cwd: string | null, path: string): string | null {
  if (path.startsWith('/')) return path;
  if (cwd === null) return null;
  const parts: string[] = [];
  for (const part of `${cwd}/${path}`.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

function isSession(proc: Proc): boolean {
  const name = programOf(proc);
  if (SESSIONS.has(name) || SESSIONS.has(proc.comm) || proc.comm.startsWith('tmux: ')) return true;
  return isInteractiveShell(proc);
}

function isInteractiveShell(proc: Proc): boolean {
  const [first, ...rest] = proc.argv;
  if (first === undefined) return false;
  if (!SHELLS.has(baseName(first).replace(/^-/, ''))) return false;
  if (first.startsWith('-')) return true;
  // `sh` without a script or -c reads commands: from a terminal, or from a pipe that somebody feeds.
  const isFlag = (word: string, at: number) =>
    /^[-+]/.test(word) ? !/^-[a-zA-Z]*c/.test(word) : /^--(?:rcfile|init-file)$/.test(rest[at - 1] ?? '');
  return rest.every(isFlag) && proc.tty !== 0;
}

function isContainerEdge(proc: Proc): boolean {
  return /^(?:containerd-shim|docker-containe|conmon|crun|runc|lxc-start|incusd|lxd|systemd-nspawn)/.test(
    proc.comm,
  );
}
