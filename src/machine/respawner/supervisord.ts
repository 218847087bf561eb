/**
 * supervisord: the program of a stray there, from the marks that it leaves in the environment or from its own
 * status, and `supervisorctl` with the options that reach that very daemon.
 * Facts: supervisord.org configuration, supervisor 4.2 options.py (search path), process.py (environment).
 */
import type { Proc } from '../../strays/process.ts';
import { iniSections } from './ini.ts';
import { accountOf, ask, type Inquiry, respawner, type Verdict } from './inquiry.ts';
import { type Lineage, markOf, nearestAbove, optionOf, programOf, resolveIn } from './lineage.ts';

export interface SupervisordSuspicion {
  readonly daemon: Proc;
  readonly child: Proc;
  readonly group: string | null;
  readonly process: string | null;
  readonly serverUrl: string | null;
  /** Its configuration file as its arguments say it, made absolute; null where they say none. */
  readonly configPath: string | null;
}

/** The nearest supervisord above the stray. */
export function suspectSupervisord(lineage: Lineage): SupervisordSuspicion | null {
  const found = nearestAbove(
    lineage,
    (proc) => /^supervisord(?:$|\.)/.test(programOf(proc)) || proc.comm === 'supervisord',
  );
  if (found === null) return null;
  const config = optionOf(found.manager.argv.slice(1), '-c', '--configuration');
  return {
    daemon: found.manager,
    child: found.child,
    group: markOf(lineage, 'SUPERVISOR_GROUP_NAME'),
    process: markOf(lineage, 'SUPERVISOR_PROCESS_NAME'),
    serverUrl: markOf(lineage, 'SUPERVISOR_SERVER_URL'),
    configPath: config === null ? null : resolveIn(found.manager.cwd, config),
  };
}

/** Asks `supervisorctl status` where it is there; a program that is not to be restarted, or is stopping, is none. */
export async function nameSupervisord(suspicion: SupervisordSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const reach = reachOf(suspicion, inquiry);
  // 3 says that some program is not running; the list is complete all the same.
  const status = await ask(inquiry, 'supervisorctl', [...reach, 'status'], [3]);
  const row = rowOf(status, suspicion.child.pid);
  if (row?.state === 'STOPPING') return 'stops-here';
  const marked = suspicion.process === null ? null : nameOf(suspicion.group, suspicion.process);
  const name = row?.name ?? marked;
  if (name !== null && !restarts(suspicion, inquiry, name)) return 'stops-here';
  const account = await accountOf(inquiry, suspicion.daemon.uid);
  if (name === null) {
    const words = ['supervisorctl', ...reach, 'stop', 'all'];
    return respawner(inquiry, 'supervisord', programOf(suspicion.child), [{ words }], account);
  }
  return respawner(
    inquiry,
    'supervisord',
    name,
    [{ words: ['supervisorctl', ...reach, 'stop', name] }],
    account,
  );
}

/** `group:process`, or the short form where both are the same. */
function nameOf(group: string | null, process: string): string {
  return group === null || group === process ? process : `${group}:${process}`;
}

function rowOf(status: string | null, pid: number): { name: string; state: string } | null {
  for (const line of status?.split('\n') ?? []) {
    const match = /^(\S+)\s+([A-Z]+)\s+pid (\d+),/.exec(line);
    if (match !== null && Number(match[3]) === pid) return { name: match[1]!, state: match[2]! };
  }
  return null;
}

function reachOf(suspicion: SupervisordSuspicion, inquiry: Inquiry): readonly string[] {
  const { configPath, serverUrl, daemon } = suspicion;
  const readText = inquiry.ctx.readText;
  // Without -c supervisord takes the supervisord.conf of its working folder before that of the machine.
  const near = resolveIn(daemon.cwd, 'supervisord.conf');
  const path = configPath ?? (near !== null && readText?.(near) != null ? near : null);
  if (path !== null) {
    const text = readText?.(path) ?? null;
    const canBeUsed = text === null || /^\s*\[supervisorctl\]/m.test(text);
    if (canBeUsed || serverUrl === null) return ['-c', path];
  }
  return serverUrl === null ? [] : ['-s', serverUrl];
}

/** False only where the configuration says autorestart=false for that program. */
function restarts(suspicion: SupervisordSuspicion, inquiry: Inquiry, name: string): boolean {
  const path = suspicion.configPath ?? '/etc/supervisor/supervisord.conf';
  const sections = iniSections(path, inquiry.ctx);
  const [group, process] = name.includes(':') ? name.split(':') : [name, name];
  const program = [...sections.keys()]
    .filter((title) => title.startsWith('program:'))
    .map((title) => title.slice('program:'.length))
    .find((title) => title === process || title === group || process!.startsWith(`${title}_`));
  const value = sections
    .get(`program:${program ?? ''}`)
    ?.get('autorestart')
    ?.toLowerCase();
  return value === undefined || !['false', 'no', 'off', '0'].includes(value);
}
