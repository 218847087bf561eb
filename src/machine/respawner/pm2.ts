/**
 * PM2 and pm2-runtime: the God daemon above a stray, the app's name there, and whose PM2_HOME it is.
 * The daemon is only asked where it is seen to run: `pm2` starts one where there is none.
 * Facts: pm2 7 lib/Daemon.js (process title), lib/God/ForkMode.js (environment marks), `pm2 jlist`.
 */
import type { Proc } from '../../strays/process.ts';
import {
  accountOf,
  askAs,
  type Inquiry,
  member,
  parseJson,
  respawner,
  textMember,
  type Verdict,
} from './inquiry.ts';
import { baseName, type Lineage, markOf, nearestAbove, programOf } from './lineage.ts';
import type { Account, Step } from './shell.ts';

export interface Pm2Suspicion {
  /** The God daemon; null where only the marks that it leaves in the environment tell of it. */
  readonly daemon: Proc | null;
  /** The process that the daemon itself started. */
  readonly child: Proc;
  readonly name: string | null;
  readonly id: string | null;
  readonly home: string | null;
}

/** Whether a process is PM2's daemon (its title says so), or pm2-runtime, which is its own daemon. */
export function isPm2Daemon(proc: Proc): boolean {
  if (/^PM2 v\S+: God/.test(proc.comm) || /^PM2 v\S+: God Daemon/.test(proc.argv[0] ?? '')) return true;
  const program = programOf(proc);
  return (
    program === 'pm2-runtime' ||
    program === 'pm2-docker' ||
    (program === 'pm2' && proc.argv.includes('--no-daemon'))
  );
}

/** The daemon on the line, or its marks where the line has a hole that could hide it. */
export function suspectPm2(lineage: Lineage): Pm2Suspicion | null {
  const found = nearestAbove(lineage, isPm2Daemon);
  const id = markOf(lineage, 'pm_id');
  // Marks outlive the daemon: an orphan of a killed daemon carries them, and nobody brings it back.
  if (found === null && (id === null || lineage.complete)) return null;
  const titleHome = /God Daemon \((.+)\)$/.exec((found?.manager.argv ?? []).join(' '))?.[1] ?? null;
  return {
    daemon: found?.manager ?? null,
    child: found?.child ?? lineage.treeTop,
    name: id === null ? null : markOf(lineage, 'name'),
    id,
    home: titleHome ?? markOf(lineage, 'PM2_HOME'),
  };
}

/** Looks the app up in the daemon's list where we may; says `stops-here` where it is not to be restarted. */
export async function namePm2(suspicion: Pm2Suspicion, inquiry: Inquiry): Promise<Verdict> {
  const account = await accountOf(inquiry, suspicion.daemon?.uid ?? suspicion.child.uid);
  const app = await appOf(suspicion, inquiry, account);
  if (
    member(app, 'pm2_env', 'autorestart') === false &&
    member(app, 'pm2_env', 'cron_restart') === undefined
  ) {
    return 'stops-here';
  }
  if (['stopping', 'stopped'].includes(textMember(app, 'pm2_env', 'status') ?? '')) return 'stops-here';
  const noted = app === null ? pidFileOf(suspicion, inquiry) : null;
  const name = textMember(app, 'name') ?? suspicion.name ?? noted?.name ?? null;
  // A pid file's name has lost its odd characters: its number is what `pm2 delete` is given.
  const id = suspicion.id ?? (app === null ? (noted?.id ?? null) : String(member(app, 'pm_id')));
  const target = suspicion.name === null && noted !== null ? id : targetOf(name, id);
  if (target === null) {
    const shown = nameFromScript(suspicion.child);
    return respawner(
      inquiry,
      'pm2',
      shown,
      [pm2Step(suspicion, inquiry, account, ['delete', shown])],
      account,
    );
  }
  const steps = [pm2Step(suspicion, inquiry, account, ['delete', target])];
  if (resurrects(suspicion, inquiry, name))
    steps.push(pm2Step(suspicion, inquiry, account, ['save', '--force']));
  return respawner(inquiry, 'pm2', name ?? target, steps, account);
}

async function appOf(suspicion: Pm2Suspicion, inquiry: Inquiry, account: Account): Promise<unknown> {
  if (suspicion.daemon === null || suspicion.home === null) return null;
  // A daemon whose socket was swept away cannot be asked: `pm2` would start a second one.
  if (inquiry.ctx.listFolder?.(suspicion.home).includes('rpc.sock') === false) return null;
  const list = parseJson(
    await askAs(inquiry, account, { words: ['pm2', 'jlist'], env: { PM2_HOME: suspicion.home } }),
  );
  if (!Array.isArray(list)) return null;
  const apps: readonly unknown[] = list;
  return (
    apps.find((app) => member(app, 'pid') === suspicion.child.pid) ??
    apps.find((app) => suspicion.id !== null && String(member(app, 'pm_id')) === suspicion.id) ??
    null
  );
}

/** PM2 notes each app's pid in `pids/NAME-ID.pid`: a way to the name where neither marks nor the daemon tell it. */
function pidFileOf(suspicion: Pm2Suspicion, inquiry: Inquiry): { name: string; id: string } | null {
  const folder = `${suspicion.home ?? ''}/pids`;
  for (const file of (suspicion.home === null ? undefined : inquiry.ctx.listFolder?.(folder)) ?? []) {
    const match = /^(.+)-(\d+)\.pid$/.exec(file);
    const pid = match === null ? null : inquiry.ctx.readText?.(`${folder}/${file}`)?.trim();
    if (match !== null && pid === String(suspicion.child.pid)) return { name: match[1]!, id: match[2]! };
  }
  return null;
}

/** `pm2 delete` reads numbers as ids, `all` as everything, `/x/` as a pattern: such names go by their id. */
function targetOf(name: string | null, id: string | null): string | null {
  if (name === null || name === 'all' || /^(?:\d+|\/.*\/|-.*)$/.test(name)) return id;
  return name;
}

/** PM2 names an app after its script, without the ending, where it is not told otherwise. */
function nameFromScript(child: Proc): string {
  return programOf(child).replace(/\.[cm]?[jt]s$|\.py$|\.sh$/, '');
}

function pm2Step(
  suspicion: Pm2Suspicion,
  inquiry: Inquiry,
  account: Account,
  words: readonly string[],
): Step {
  const { home } = suspicion;
  const byDefault =
    account.uid === inquiry.ownUid && home !== null && home === `${process.env.HOME ?? ''}/.pm2`;
  return home === null || byDefault
    ? { words: ['pm2', ...words] }
    : { words: ['pm2', ...words], env: { PM2_HOME: home } };
}

/** Whether `pm2 resurrect` (at boot) would start it: its list was saved with the app in it, or that cannot be read. */
function resurrects(suspicion: Pm2Suspicion, inquiry: Inquiry, name: string | null): boolean {
  const { home } = suspicion;
  if (home === null || inquiry.ctx.readText === undefined) return true;
  const dump = inquiry.ctx.readText(`${home}/dump.pm2`);
  if (dump !== null) return name === null || dump.includes(JSON.stringify(name));
  const files = inquiry.ctx.listFolder?.(home) ?? [];
  return files.length === 0 || files.some((file) => baseName(file) === 'dump.pm2');
}
