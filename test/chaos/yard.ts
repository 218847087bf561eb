// A yard: a network namespace of its own with a bridge, and machines on it, each with a network, PID, mount and host name namespace
// of its own and one cable to the bridge. All of it belongs to one process and is gone with it: the namespaces have no names, the
// processes die with their parent (setpriv --pdeathsig, unshare --kill-child), nothing is made in the caller's namespaces.
import { execFile, spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { promisify } from 'node:util';
import { allPids, commandOf, readProc } from '../support/proc.ts';
import { within } from '../support/wait.ts';

const run = promisify(execFile);

/** Where the bridge is, and everything that machines reach. */
export const YARD_ADDRESS = '10.77.0.1';

/** Put before a command, it runs in a new yard, as its first process. */
export const IN_YARD = [
  ...['setpriv', '--pdeathsig', 'KILL', 'unshare'],
  ...['--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
] as const;

/** What is missing for a yard; '' when nothing is. */
export async function yardProblem(): Promise<string> {
  if (process.platform !== 'linux') return 'network namespaces need Linux';
  if (process.getuid?.() !== 0) return 'root is needed for network and PID namespaces: sudo npm run chaos';
  const [file, ...args] = [...IN_YARD, 'ip', 'link', 'add', 'br0', 'type', 'bridge'] as [string, ...string[]];
  try {
    await run(file, args);
    return '';
  } catch (error) {
    return `no network namespace with a bridge can be made here: ${(error as Error).message.trim()}`;
  }
}

const ip = (...words: string[]) => run('ip', words);

/** Once, in a yard's first process. */
export async function layGround(): Promise<void> {
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', 'br0', 'type', 'bridge');
  await ip('addr', 'add', `${YARD_ADDRESS}/24`, 'dev', 'br0');
  await ip('link', 'set', 'br0', 'up');
}

export type Ground = Awaited<ReturnType<typeof openGround>>;

/** `number` from 2 to 250, each once. */
export async function openGround(name: string, number: number) {
  const script = `echo ${name} >/proc/sys/kernel/hostname; echo up; while sleep 1000; do :; done`;
  const holder = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--net', '--pid', '--uts', '--fork', '--kill-child'],
      ...['--mount-proc', 'sh', '-c', script],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await within(`machine ${name}`, new Promise((resolve) => holder.stdout.once('data', resolve)), 10_000);
  const init = childOf(holder.pid!);
  if (init === null) throw new Error(`machine ${name} has no first process`);
  const cable = `v${number}`;
  await ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(init));
  await ip('link', 'set', cable, 'master', 'br0', 'up');
  const inside = (...words: string[]) => run('nsenter', ['-t', String(init), '-n', 'ip', ...words]);
  await inside('link', 'set', 'lo', 'up');
  await inside('addr', 'add', `10.77.0.${number}/24`, 'dev', 'eth0');
  await inside('link', 'set', 'eth0', 'up');
  const space = pidSpaceOf(init);
  const pids = () =>
    allPids().filter((pid) => pid !== init && pidSpaceOf(pid) === space && !idles(pid, init));
  return {
    /** Puts a command into the machine. */
    enter: (command: readonly string[]): [string, ...string[]] => [
      ...(['nsenter', '-t', String(init), '-n', '-p', '-m', '-u', '--'] as const),
      ...command,
    ],
    cut: async () => void (await ip('link', 'set', cable, 'down')),
    mend: async () => void (await ip('link', 'set', cable, 'up')),
    /** Its processes, as the yard sees them; not its first one. */
    pids,
    /** A process of the machine by the number that it has there. */
    outer: (pid: number) => pids().find((one) => innerPid(one) === pid) ?? null,
  };
}

export function childOf(pid: number): number | null {
  return allPids().find((child) => readProc(child)?.ppid === pid) ?? null;
}

/** NSpid of proc(5): the innermost number stands last. */
const statusLine = (pid: number): number[] => {
  try {
    const line = readFileSync(`/proc/${pid}/status`, 'latin1').match(/^NSpid:(.*)$/m)?.[1] ?? '';
    return line.trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
};
const innerPid = (pid: number): number | undefined => statusLine(pid).at(-1);

const pidSpaceOf = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
};

/** The sleep that the machine's first process waits for. */
const idles = (pid: number, init: number): boolean =>
  readProc(pid)?.ppid === init && commandOf(pid) === 'sleep 1000';
