/**
 * Names the service manager that would bring a stray back, and the command that stops it there for good. Looks only: nothing is
 * stopped, no manager is started. Programs that exist only to run the stray (reloaders, masters, `npm start`, shell loops) belong to
 * its tree and are never named here; any other that starts it again is told by pid once it has done so (strays/policy.ts).
 */
import { insideContainer, nameByCgroup } from './cgroup-managers.ts';
import { nameCron } from './cron.ts';
import {
  accountOf,
  answer,
  ask,
  askAs,
  type Found,
  type ManagerEdges,
  markOf,
  openSearch,
  parseJson,
  programOf,
  type Search,
  type Verdict,
} from './manager-search.ts';
import type { Proc, Respawner } from './process.ts';
import { baseName } from './program.ts';
import { nameSupervisord } from './supervisord.ts';

interface Manager {
  readonly is: (proc: Proc, search: Search) => boolean;
  readonly name: (found: Found, search: Search) => Promise<Verdict>;
}

const runs =
  (...names: readonly string[]) =>
  (proc: Proc) =>
    names.includes(programOf(proc)) || names.includes(proc.comm);

/** The managers that are a parent of what they keep alive. */
const MANAGERS: readonly Manager[] = [
  {
    is: (proc) =>
      /^PM2 v\S+: God/.test(proc.comm) ||
      /^PM2 v\S+: God Daemon/.test(proc.argv[0] ?? '') ||
      runs('pm2-runtime', 'pm2-docker')(proc) ||
      (programOf(proc) === 'pm2' && proc.argv.includes('--no-daemon')),
    name: namePm2,
  },
  { is: runs('supervisord', 'supervisord.py'), name: nameSupervisord },
  { is: (proc) => programOf(proc) === 'runsv' && proc.argv.length > 1, name: nameRunit },
  { is: (proc) => programOf(proc) === 's6-supervise' && proc.argv.length > 1, name: nameS6 },
  {
    is: (proc) =>
      // Debian's shows its children in capitals.
      /^(?:cron|crond|cronie|anacron|fcron|atd)$/i.test(programOf(proc)) ||
      (programOf(proc) === 'busybox' && proc.argv[1] === 'crond'),
    name: nameCron,
  },
  {
    // A supervisor of our own account shares our lock, which is asked instead.
    is: (proc, { edges }) =>
      proc.uid !== edges.ownUid &&
      /^singlepoll(?:\.c?js)?$/.test(programOf(proc)) &&
      proc.argv.includes('start'),
    name: async ({ manager }, search) => {
      const bot = search.line[0]!.env?.bot ?? null;
      const words = bot === null ? ['kill', String(manager.pid)] : ['singlepoll', 'stop', bot];
      const account = accountOf(search, manager.uid);
      return answer(search, 'singlepoll', bot ?? programOf(search.line[0]!), [{ words }], { account });
    },
  },
];

/**
 * Finds who would start `stray` again once its tree, whose top is `top`, is stopped. Null: nobody that is known.
 * Asks the manager where its tool is there (each question at most 1.5 s) and goes by what is seen where not. Never throws; name
 * and command hold no token and no control character.
 */
export async function findManager(top: Proc, stray: Proc, edges: ManagerEdges): Promise<Respawner | null> {
  const search = openSearch(top, stray, edges);
  try {
    const named = await nameOnLine(search);
    return named === undefined ? await nameByCgroup(search) : named;
  } catch {
    // A tool that answered with JSON of another shape.
    return null;
  }
}

/** Undefined: none of them stands above the stray. */
async function nameOnLine(search: Search): Promise<Respawner | null | undefined> {
  const { line, sessionAt, layers } = search;
  for (let at = 1; at < sessionAt && !isContainerEdge(line[at]!); at += 1) {
    const kind = MANAGERS.find(({ is }) => is(line[at]!, search));
    if (!kind) continue;
    const found = { manager: line[at]!, child: line[at - 1]! };
    const verdict = await insideContainer(layers, search, (inner) => kind.name(found, inner));
    return typeof verdict === 'string' ? null : verdict;
  }
  return undefined;
}

function isContainerEdge({ comm }: Proc): boolean {
  return /^(?:containerd-shim|docker-containe|conmon|crun|runc|lxc-start|incusd|lxd|systemd-nspawn)/.test(
    comm,
  );
}

/** As `pm2 jlist` shows it. */
interface Pm2App {
  readonly pid?: number;
  readonly name?: string;
  readonly pm_id?: number;
  readonly pm2_env?: {
    readonly autorestart?: boolean;
    readonly cron_restart?: unknown;
    readonly status?: string;
    readonly pm_exec_path?: string;
  };
}

/**
 * PM2 and pm2-runtime. The daemon is asked only where it is seen to run and has its socket: `pm2` starts one where there is none.
 * Facts: pm2 7 lib/Daemon.js (process title), lib/God/ForkMode.js (environment), `pm2 jlist`.
 */
async function namePm2({ manager, child }: Found, search: Search): Promise<Verdict> {
  const { edges } = search;
  const account = accountOf(search, manager.uid);
  const home = /God Daemon \((.+)\)$/.exec(manager.argv.join(' '))?.[1] ?? markOf(search, 'PM2_HOME');
  const isDefault = manager.uid === edges.ownUid && home === `${process.env.HOME ?? ''}/.pm2`;
  const pm2 = (...words: string[]) => ({
    words: ['pm2', ...words],
    ...(home === null || isDefault ? {} : { env: { PM2_HOME: home } }),
  });
  const files = home === null ? [] : edges.listFolder(home);
  const jlist = { words: ['pm2', 'jlist'], env: { PM2_HOME: home ?? '' } };
  const list = files.includes('rpc.sock')
    ? parseJson<readonly Pm2App[]>(await askAs(search, account, jlist))
    : null;
  const apps = Array.isArray(list) ? (list as readonly Pm2App[]) : [];
  const id = markOf(search, 'pm_id');
  const app =
    apps.find(({ pid }) => pid === child.pid) ??
    apps.find(({ pm_id }) => String(pm_id) === id) ??
    apps.find(({ pm2_env }) => child.argv.join(' ').includes(pm2_env?.pm_exec_path ?? '\0'));
  const { autorestart, cron_restart, status = '' } = app?.pm2_env ?? {};
  if (autorestart === false && cron_restart === undefined) return 'not-restarted';
  if (status === 'stopping' || status === 'stopped') return 'not-restarted';
  const name = app?.name ?? (id === null ? null : markOf(search, 'name'));
  // `pm2 delete` reads numbers as ids, `all` as everything, `/x/` as a pattern: such names go by their id.
  const isOdd = name === null || name === 'all' || /^(?:\d+|\/.*\/|-.*)$/.test(name);
  const number = app === undefined ? id : String(app.pm_id);
  // PM2 names an app after its script, without the ending, where it is not told otherwise.
  const target = isOdd && number !== null ? number : (name ?? programOf(child).replace(/\.\w{2,3}$/, ''));
  const dump = home === null ? null : edges.readText(`${home}/dump.pm2`);
  const isSaved =
    dump === null
      ? files.length === 0 || files.includes('dump.pm2')
      : name === null || dump.includes(JSON.stringify(name));
  const steps = [pm2('delete', target), ...(isSaved ? [pm2('save', '--force')] : [])];
  return answer(search, 'pm2', name ?? target, steps, { account });
}

/** runsv stands in the service's folder. Stopped for good means down now, and a `down` file for the next start of runsv itself. */
async function nameRunit({ manager }: Found, search: Search): Promise<Verdict> {
  return nameService('runit', ['sv', 'status'], ['sv', 'down'], manager, search);
}

async function nameS6({ manager }: Found, search: Search): Promise<Verdict> {
  return nameService('s6', ['s6-svstat'], ['s6-svc', '-d'], manager, search);
}

async function nameService(
  kind: string,
  status: readonly string[],
  down: readonly string[],
  manager: Proc,
  search: Search,
): Promise<Verdict> {
  const service = manager.argv.at(-1)!.replace(/\/+$/, '');
  const folder = manager.cwd ?? scannedFolder(manager, search, service);
  if (/want down/.test((await ask(search, [...status, folder])) ?? '')) return 'not-restarted';
  const account = accountOf(search, manager.uid);
  if (/\/s6-rc[^/]*\/servicedirs\//.test(folder)) {
    // s6-rc keeps its own account of what is up.
    const name = baseName(service);
    return answer(search, kind, name, [{ words: ['s6-rc', '-d', 'change', name] }], { account });
  }
  const steps = [{ words: [...down, folder] }, { words: ['touch', `${folder}/down`] }];
  return answer(search, kind, folder, steps, { account });
}

/** The folder that runsvdir or s6-svscan was given, for a supervisor whose own may not be seen. */
function scannedFolder(manager: Proc, { line }: Search, service: string): string {
  const scanner = line[line.indexOf(manager) + 1];
  const given = scanner?.argv.slice(1).find((word) => word.startsWith('/'));
  return given === undefined ? service : `${given}/${baseName(service)}`;
}
