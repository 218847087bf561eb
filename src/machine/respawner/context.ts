/**
 * The edge of the respawner search: cgroup files, configuration files, and the managers' own tools, asked with
 * a time limit. Nothing here throws, nothing here changes the machine. The tools get a small environment of
 * their own, so that no token of ours ever lands in a daemon that one of them might start.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import type { Proc } from '../../strays/process.ts';

export interface RespawnerContext {
  /** Snapshot of the machine. */
  readonly byPid: ReadonlyMap<number, Proc>;
  /** Text of /proc/PID/cgroup, null where it cannot be read. */
  readCgroup(pid: number): string | null;
  /** Ours: a unit or container that we share with the stray is not its respawner. */
  readonly ownCgroup: string | null;
  /** Runs a program to its end; code is null where it is not installed, was killed, or took too long. Never throws. */
  run(command: string, args: string[], timeoutMs: number): Promise<{ code: number | null; stdout: string }>;
  /** Our own user id; asked from the system where it is not given. */
  readonly ownUid?: number;
  /** Text of a regular file, null where it cannot be read. */
  readText?(path: string): string | null;
  /** Names in a folder, none where it cannot be read. */
  listFolder?(path: string): readonly string[];
  /** `process.platform` where it is not given. */
  readonly platform?: string;
}

const MAX_FILE_BYTES = 1 << 20;
const MAX_OUTPUT_CHARACTERS = 8 << 20;
const PASSED_ON = [
  'HOME',
  'USER',
  'LOGNAME',
  'DBUS_SESSION_BUS_ADDRESS',
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CONFIG',
  'CONTAINER_HOST',
  'KUBECONFIG',
];

/** The context of a real Linux machine (and of a Mac: no cgroups there). */
export function linuxRespawnerContext(byPid: ReadonlyMap<number, Proc>): RespawnerContext {
  const readCgroup = (pid: number) => readText(`/proc/${pid}/cgroup`);
  return { byPid, readCgroup, ownCgroup: readCgroup(process.pid), run, readText, listFolder };
}

async function run(
  command: string,
  args: string[],
  timeoutMs: number,
): Promise<{ code: number | null; stdout: string }> {
  try {
    const { execa } = await import('execa');
    const result = await execa(command, args, {
      env: toolEnvironment(process.env),
      extendEnv: false,
      cwd: '/',
      stdin: 'ignore',
      stderr: 'ignore',
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      reject: false,
      maxBuffer: MAX_OUTPUT_CHARACTERS,
    });
    return { code: result.exitCode ?? null, stdout: typeof result.stdout === 'string' ? result.stdout : '' };
  } catch {
    return { code: null, stdout: '' };
  }
}

/** What the tools need of our environment; everything else, tokens above all, stays here. */
export function toolEnvironment(own: NodeJS.ProcessEnv): Record<string, string> {
  const runtimeFolder = own.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.() ?? 0}`;
  const environment: Record<string, string> = {
    PATH: `${own.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.replace(/^:/, ''),
    LC_ALL: 'C',
    XDG_RUNTIME_DIR: runtimeFolder,
    SYSTEMD_PAGER: '',
  };
  for (const name of PASSED_ON) {
    const value = own[name];
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

function readText(path: string): string | null {
  try {
    // Files under /proc say that they are empty; a pipe would block the reader for ever.
    const stats = statSync(path);
    return stats.isFile() && stats.size <= MAX_FILE_BYTES ? readFileSync(path, 'utf8') : null;
  } catch {
    return null;
  }
}

function listFolder(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
