/**
 * overmind: its processes are children of a tmux server of its own, named after the instance; overmind itself is
 * the parent of that server's control client. It starts again only what `--auto-restart` names.
 * Facts: DarthSim/overmind start/command.go, start/tmux.go (v2).
 */
import type { Proc } from '../../strays/process.ts';
import { accountOf, type Inquiry, respawner, type Verdict } from './inquiry.ts';
import { type Lineage, optionOf, programOf, resolveIn } from './lineage.ts';

export interface OvermindSuspicion {
  readonly daemon: Proc;
  /** Name in the Procfile. */
  readonly name: string;
}

/** The overmind whose script for this stray is on the line, if it is to restart it. */
export function suspectOvermind(
  lineage: Lineage,
  byPid: ReadonlyMap<number, Proc>,
): OvermindSuspicion | null {
  const script = lineage.line
    .flatMap((proc) => proc.argv.slice(1, 2))
    .map((word) => /\/(overmind-[^/]+)\/([^/]+)$/.exec(word))
    .find((match) => match !== null);
  if (script == null) return null;
  const [, instance, name] = script;
  for (const client of byPid.values()) {
    if (programOf(client) !== 'tmux' || optionOf(client.argv, null, '-L') !== instance) continue;
    const daemon = byPid.get(client.ppid);
    if (daemon !== undefined && restarts(daemon, name!)) return { daemon, name: name! };
  }
  return null;
}

/** Its stop command, through the socket in its folder or the one that its arguments name. */
export async function nameOvermind(suspicion: OvermindSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const { daemon, name } = suspicion;
  const socket = resolveIn(daemon.cwd, optionOf(daemon.argv, '-s', '--socket') ?? '.overmind.sock');
  const words = ['overmind', 'stop', ...(socket === null ? [] : ['-s', socket]), name];
  return respawner(inquiry, 'overmind', name, [{ words }], await accountOf(inquiry, daemon.uid));
}

/** `-r web,bot` or `-r all`; a process that runs several times is called `bot.1`, `bot.2` there. */
function restarts(daemon: Proc, name: string): boolean {
  if (programOf(daemon) !== 'overmind') return false;
  const named = optionOf(daemon.argv, '-r', '--auto-restart')?.split(',') ?? [];
  return named.some((each) => ['all', name, name.replace(/\.\d+$/, '')].includes(each.trim()));
}
