/**
 * The daemontools family: runit, s6 (also under s6-rc and s6-overlay), daemontools. One small supervisor per
 * service folder; it is the parent of what it runs, and its working folder is the service folder.
 * Stopped for good means down now and a `down` file for the next time the supervisor itself is started.
 * Facts: runsv(8), sv(8), s6-supervise, s6-svc and s6-svstat pages, supervise(8) of daemontools.
 */
import type { Proc } from '../../strays/process.ts';
import { accountOf, ask, type Inquiry, respawner, type Verdict } from './inquiry.ts';
import { baseName, type Lineage, nearestAbove, programOf, resolveIn } from './lineage.ts';

interface Tool {
  readonly kind: 'runit' | 's6' | 'daemontools';
  readonly supervisor: string;
  readonly scanner: string;
  readonly stop: readonly string[];
  readonly status: readonly string[];
}

const TOOLS: readonly Tool[] = [
  { kind: 'runit', supervisor: 'runsv', scanner: 'runsvdir', stop: ['sv', 'down'], status: ['sv', 'status'] },
  {
    kind: 's6',
    supervisor: 's6-supervise',
    scanner: 's6-svscan',
    stop: ['s6-svc', '-d'],
    status: ['s6-svstat'],
  },
  {
    kind: 'daemontools',
    supervisor: 'supervise',
    scanner: 'svscan',
    stop: ['svc', '-d'],
    status: ['svstat'],
  },
];

export interface SuperviseSuspicion {
  readonly tool: Tool;
  readonly supervisor: Proc;
  readonly service: string;
  /** Folder of the service; null where neither the supervisor nor its scanner tells. */
  readonly folder: string | null;
}

/** The nearest runsv, s6-supervise or supervise above the stray, and its service folder. */
export function suspectSupervise(lineage: Lineage): SuperviseSuspicion | null {
  const toolOf = (proc: Proc) =>
    TOOLS.find((tool) => programOf(proc) === tool.supervisor && proc.argv.length > 1);
  const found = nearestAbove(lineage, (proc) => toolOf(proc) !== undefined);
  if (found === null) return null;
  const tool = toolOf(found.manager)!;
  const argument = found.manager.argv.at(-1)!;
  const scanner = lineage.line[lineage.line.indexOf(found.manager) + 1];
  const scanned = scanner === undefined ? null : scannedFolder(tool, scanner);
  const folder = found.manager.cwd ?? (scanned === null ? null : resolveIn(scanned, argument));
  return { tool, supervisor: found.manager, service: baseName(argument.replace(/\/+$/, '')), folder };
}

/** Asks for the state where the tool is there; a service that is wanted down will not come back. */
export async function nameSupervise(suspicion: SuperviseSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const { tool, supervisor, service, folder } = suspicion;
  const path = folder ?? service;
  const [command, ...args] = tool.status;
  const status = await ask(inquiry, command!, [...args, path]);
  if (status !== null && /want down/.test(status)) return 'stops-here';
  const account = await accountOf(inquiry, supervisor.uid);
  if (tool.kind === 's6' && /\/s6-rc[^/]*\/servicedirs\//.test(path)) {
    return respawner(inquiry, 's6', service, [{ words: ['s6-rc', '-d', 'change', service] }], account);
  }
  const steps = [{ words: [...tool.stop, path] }, { words: ['touch', `${path}/down`] }];
  return respawner(inquiry, tool.kind, folder ?? service, steps, account);
}

function scannedFolder(tool: Tool, scanner: Proc): string | null {
  if (programOf(scanner) !== tool.scanner) return null;
  const argument = scanner.argv.slice(1).find((word) => !word.startsWith('-') && !word.startsWith('log:'));
  return argument === undefined ? scanner.cwd : resolveIn(scanner.cwd, argument);
}
