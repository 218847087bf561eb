/** Collects what service managers are known by: the stray's line of parents, its cgroup layers, and the answers of the managers' tools. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { userName } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import { type Account, commandLine, ROOT, type Step } from '../shell.ts';
import { runTool } from '../tools.ts';
import { isInteractiveShell } from './bystander.ts';
import { foreignLayers, type Layer, layersOf } from './cgroup.ts';
import { maskTokens } from './environ.ts';
import type { Proc, Respawner } from './process.ts';
import { baseName, isShellName, readProgram } from './program.ts';

/** The machine, as far as the search sees it. Nothing here throws or changes anything. */
export interface ManagerEdges {
  readonly procs: ReadonlyMap<number, Proc>;
  readonly ownUid: number;
  /** Text of /proc/PID/cgroup, null where it cannot be read; of ourselves for `self`. */
  cgroupOf(pid: number | 'self'): string | null;
  run(command: string, args: readonly string[]): Promise<{ code: number | null; stdout: string }>;
  /** Text of a regular file, null where it cannot be read. */
  readText(path: string): string | null;
  /** Names in a folder, none where it cannot be read. */
  listFolder(path: string): readonly string[];
  nameOf(uid: number): string;
}

export interface Search {
  readonly edges: ManagerEdges;
  readonly top: Proc;
  /** The stray, its parent, and so on upwards. */
  readonly line: readonly Proc[];
  /** Index on `line` of the terminal, login or shell in which somebody started the rest; a manager's reach ends there. */
  readonly sessionAt: number;
  /** Layers of the stray that we are not in, from the machine inwards. */
  readonly layers: readonly Layer[];
  /** The manager runs in a container that we are not in: accounts and tools of this machine mean nothing there. */
  readonly inside: boolean;
}

/** A manager on the stray's line of parents, and the process right below it. */
export interface Found {
  readonly manager: Proc;
  readonly child: Proc;
}

/** `not-restarted`: it does not bring the stray back, and nothing further out would notice its end. */
export type Verdict = Respawner | 'not-restarted' | 'look-further';

const ASK_MS = 1_500;
const FILE_BYTES_MAX = 1 << 20;
const SESSIONS = new Set(
  `sshd sshd-session sshd-auth dropbear login agetty getty tmux screen SCREEN dtach abduco mosh-server zellij ttyd wetty xterm
  gnome-terminal-server gnome-terminal- konsole kitty alacritty xfce4-terminal sleep tail pause`.split(/\s+/),
);

export function linuxEdges(procs: ReadonlyMap<number, Proc>): ManagerEdges {
  const readAny = (path: string) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return null;
    }
  };
  return {
    procs,
    ownUid: process.getuid?.() ?? 0,
    cgroupOf: (pid) => readAny(`/proc/${pid}/cgroup`),
    run: (command, args) => runTool(command, args, { timeoutMs: ASK_MS }),
    readText(path) {
      // A pipe would hold the reader for ever.
      const stats = statSync(path, { throwIfNoEntry: false });
      return stats?.isFile() && stats.size <= FILE_BYTES_MAX ? readAny(path) : null;
    },
    listFolder(path) {
      try {
        return readdirSync(path);
      } catch {
        return [];
      }
    },
    nameOf: userName,
  };
}

export function openSearch(top: Proc, stray: Proc, edges: ManagerEdges): Search {
  const line = [stray];
  for (
    let next = edges.procs.get(stray.ppid);
    next && !line.includes(next);
    next = edges.procs.get(next.ppid)
  )
    line.push(next);
  const session = line.findIndex((proc, at) => at > 0 && isSession(proc));
  return {
    edges,
    top,
    line,
    sessionAt: session < 0 ? line.length : session,
    layers: foreignLayers(layersOf(edges.cgroupOf(stray.pid)), layersOf(edges.cgroupOf('self'))),
    inside: false,
  };
}

function isSession(proc: Proc): boolean {
  const name = programOf(proc);
  if (SESSIONS.has(name) || SESSIONS.has(proc.comm) || proc.comm.startsWith('tmux: ')) return true;
  const isTyped = (proc.argv[0] ?? '').startsWith('-') || proc.tty !== 0;
  return isTyped && isShellName(name) && isInteractiveShell(proc.argv);
}

/** The script where an interpreter runs one, else the program; without its folder. */
export function programOf({ argv, comm }: Proc): string {
  const { name, scripts } = readProgram(argv, comm);
  return baseName(scripts[0] ?? name);
}

/** Whether a manager that runs `pid` would notice the end of the stray. */
export function reaches({ line, sessionAt }: Search, pid: number): boolean {
  return line.some((proc, at) => proc.pid === pid && at < sessionAt);
}

/** A variable that a manager has left; a process that lost its environment leaves it to its parent. */
export function markOf({ line }: Search, name: string): string | null {
  return line.find(({ env }) => env !== null)?.env?.marks[name] || null;
}

/** Standard output of a tool that ended with 0 (or `alsoFine`); null where it did not, or is not there. */
export async function ask(
  { edges }: Search,
  [command, ...args]: readonly string[],
  alsoFine = 0,
): Promise<string | null> {
  const { code, stdout } = await edges.run(command!, args);
  return code === 0 || (code !== null && code === alsoFine) ? stdout : null;
}

/** Asks as another account: through `su` where we are root, not at all where we are a third. */
export async function askAs(search: Search, account: Account, step: Step): Promise<string | null> {
  const { ownUid } = search.edges;
  const settings = Object.entries(step.env ?? {}).map(([name, value]) => `${name}=${value}`);
  if (account.uid === ownUid) return ask(search, ['env', ...settings, ...step.words]);
  if (ownUid !== 0) return null;
  return ask(search, ['su', '-s', '/bin/sh', account.name, '-c', commandLine([step], account.uid, null)]);
}

export function accountOf({ edges }: Search, uid: number): Account {
  const name = edges.nameOf(uid);
  return uid === 0 ? ROOT : { uid, name: /^\d+$/.test(name) ? `#${name}` : name };
}

/** Name and command, safe to show, the command written for the account that must run it. */
export function answer(
  search: Search,
  kind: string,
  name: string,
  steps: readonly Step[],
  { account = null, remark = '' }: { account?: Account | null; remark?: string } = {},
): Respawner {
  const command = commandLine(steps, search.edges.ownUid, search.inside ? null : account);
  const told = remark === '' ? '' : `   # ${plain(remark, 400)}`;
  return { kind, name: plain(name), stopCommand: maskTokens(command) + told };
}

/** The JSON that a tool printed, from the first bracket on (some print warnings before it); null where it is none. */
export function parseJson<T>(text: string | null): T | null {
  for (const start of [0, text?.indexOf('[{') ?? -1, text?.indexOf('{') ?? -1]) {
    try {
      if (text !== null && start >= 0) return JSON.parse(text.slice(start)) as T;
    } catch {
      // The next bracket may be the right one.
    }
  }
  return null;
}
