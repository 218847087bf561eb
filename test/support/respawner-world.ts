/** A machine on paper for the respawner tests: processes as short literals, tools and files as tables. */

import { findRespawner, type RespawnerContext } from '../../src/machine/respawner/index.ts';
import type { Proc } from '../../src/strays/process.ts';

export interface PaperProc {
  readonly pid: number;
  readonly ppid: number;
  readonly argv: readonly string[];
  readonly comm?: string;
  readonly uid?: number;
  readonly tty?: number;
  readonly cwd?: string | null;
  readonly marks?: Readonly<Record<string, string>> | null;
}

export interface PaperMachine {
  readonly procs: readonly PaperProc[];
  /** The process that polls; the last of `procs` where it is not given. */
  readonly stray?: number;
  /** Top of its tree; the stray itself where it is not given. */
  readonly top?: number;
  /** Cgroup paths by pid; all hierarchies' text where it holds a colon. */
  readonly cgroups?: Readonly<Record<number, string>>;
  readonly ownCgroup?: string;
  readonly ownUid?: number;
  /** Answers of tools by their whole command line; everything else is not installed. */
  readonly tools?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  readonly platform?: string;
}

export const INIT: PaperProc = { pid: 1, ppid: 0, argv: ['/sbin/init'], comm: 'systemd' };

export function proc(paper: PaperProc): Proc {
  const { marks = {}, cwd = '/srv/bot', argv } = paper;
  return {
    pid: paper.pid,
    ppid: paper.ppid,
    pgid: paper.pid,
    sid: paper.pid,
    uid: paper.uid ?? 0,
    state: 'S',
    startId: `${paper.pid}00`,
    tty: paper.tty ?? 0,
    comm: paper.comm ?? (argv[0] ?? '').replace(/^.*\//, '').slice(0, 15),
    argv,
    cwd,
    env: marks === null ? null : { holdsToken: true, bot: null, run: null, spawn: null, marks },
  };
}

/** Runs findRespawner on a paper machine; `asked` lists every question that went to a tool. */
export async function search(machine: PaperMachine) {
  const procs = machine.procs.map(proc);
  const byPid = new Map(procs.map((each) => [each.pid, each]));
  const stray = byPid.get(machine.stray ?? procs.at(-1)!.pid)!;
  const top = byPid.get(machine.top ?? stray.pid)!;
  const asked: string[] = [];
  const cgroupText = (path: string | undefined) =>
    path === undefined
      ? '0::/user.slice/user-0.slice/session-1.scope\n'
      : path.includes(':')
        ? path
        : `0::${path}\n`;
  const ctx: RespawnerContext = {
    byPid,
    readCgroup: (pid) => cgroupText(machine.cgroups?.[pid]),
    ownCgroup: cgroupText(machine.ownCgroup),
    ownUid: machine.ownUid ?? 0,
    platform: machine.platform ?? 'linux',
    run: async (command, args) => {
      const line = [command, ...args].join(' ');
      asked.push(line);
      const stdout = machine.tools?.[line];
      return stdout === undefined ? { code: null, stdout: '' } : { code: 0, stdout };
    },
    readText: (path) => machine.files?.[path] ?? null,
    listFolder: (folder) =>
      Object.keys(machine.files ?? {})
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1)),
  };
  const found = await findRespawner(top, stray, ctx);
  return { found, asked };
}

/** What a case expects: nobody, or kind, name and command. */
export type Expected = null | readonly [kind: string, name: string, stopCommand: string];

/** The three parts of an answer as a tuple, so that one deepEqual compares them all. */
export async function answerOf(machine: PaperMachine): Promise<Expected> {
  const { found } = await search(machine);
  return found === null ? null : [found.kind, found.name, found.stopCommand];
}
