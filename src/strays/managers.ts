/**
 * Names the service manager that would restart a stray, and the command that stops it there for good. It only looks. Programs that exist
 * only to run the stray belong to its tree; other starters are named by pid once they have restarted a stray (policy.ts).
 * Facts: systemd.service(5) Restart=, systemctl(1), docker restart policies, compose labels, podman-systemd, kubelet's container labels;
 * pm2 7 lib/Daemon.js (title), lib/God/ForkMode.js (environment); supervisor 4.2 process.py (environment); crontab(5), run-parts(8).
 */
import { join } from 'node:path';
import { parseObject, readTextFile } from '../config/files.ts';
import { maskForeign } from '../config/token.ts';
import { namesIn } from '../files.ts';
import { userName } from '../machine/procfs.ts';
import { plain } from '../output/plain.ts';
import { type Account, commandLine, ROOT, type Step } from '../shell.ts';
import { runTool } from '../tools.ts';
import { bystander, isInteractiveShell } from './bystander.ts';
import {
  type Container,
  containerIn,
  foreignLayers,
  type Layer,
  layersOf,
  type Unit,
  unitIn,
} from './cgroup.ts';
import type { Proc, Respawner } from './process.ts';
import { baseName, isShellName, readProgram } from './program.ts';

/** The search's access to the machine. Nothing here throws or changes anything. */
interface ManagerEdges {
  readonly ownUid: number;
  run(command: string, args: readonly string[]): Promise<{ code: number | null; stdout: string }>;
  readText(path: string): string | null;
  listFolder(path: string): readonly string[];
  nameOf(uid: number): string;
}

interface Search {
  readonly edges: ManagerEdges;
  /** The stray and its ancestors, up to the last whose end a manager would notice. */
  readonly line: readonly Proc[];
  /** The line was started by a person: above it is a terminal, login or shell. */
  readonly isByHand: boolean;
  /** The stray's layers that we are not in, from the machine inwards. */
  readonly layers: readonly Layer[];
}

interface Named {
  readonly kind: string;
  readonly name: string;
  readonly steps: readonly Step[];
  /** The account that must type the command; null: any. */
  readonly account?: Account | null;
  readonly remark?: string;
}

/** `not-restarted`: it does not restart the stray, and nothing further out would notice that one's end. */
type Verdict = Named | 'not-restarted' | 'look-further';

/** A manager among the stray's ancestors, and the process right below it. */
interface Found {
  readonly manager: Proc;
  readonly child: Proc;
}

const ASK_MS = 1_500;

/** Managers that are parents of the programs that they run, by program and arguments, or by title. */
const MANAGERS: readonly (readonly [RegExp, (found: Found, search: Search) => Promise<Verdict>])[] = [
  [/^PM2 v\S+: God|^pm2-(?:runtime|docker)\b|^pm2 .*--no-daemon\b/, pm2],
  [/^supervisord(?:\.py)?(?: |$)/, supervisord],
  [/^(?:runsv|s6-supervise) ./, service],
  // Debian's cron has children with a title in capitals.
  [/^(?:cron|crond|cronie|anacron|fcron|atd|busybox crond)(?: |$)/i, cron],
];

export const linuxEdges = (): ManagerEdges => ({
  ownUid: process.getuid?.() ?? 0,
  run: (command, args) => runTool(command, args, { timeoutMs: ASK_MS }),
  readText(path) {
    const file = readTextFile(path);
    return file.kind === 'text' ? file.text : null;
  },
  listFolder: namesIn,
  nameOf: userName,
});

/**
 * Finds the manager that would restart a stray once its tree is stopped; `line`: the stray and its ancestors. Null: none is known.
 * Asks the manager if its tool exists, otherwise judges by what can be seen. Name and command hold no token and no control character.
 */
export async function findManager(line: readonly Proc[], edges: ManagerEdges): Promise<Respawner | null> {
  const cgroupOf = (pid: number | 'self') => layersOf(edges.readText(`/proc/${pid}/cgroup`));
  const session = line.findIndex((proc, at) => at > 0 && isSession(proc));
  const search: Search = {
    edges,
    line: session < 0 ? line : line.slice(0, session),
    isByHand: session >= 0,
    layers: foreignLayers(cgroupOf(line[0]!.pid), cgroupOf('self')),
  };
  const verdict = await nameKeeper(search, managerAbove(search.line));
  if (typeof verdict === 'string') return null;
  const { kind, name, steps, account = null, remark = '' } = verdict;
  const told = remark === '' ? '' : `   # ${plain(remark, 400)}`;
  const command = commandLine(steps, edges.ownUid, account);
  return { kind, name: plain(name), stopCommand: maskForeign(command) + told };
}

/** A person's login or terminal, or the main process of a container in which one works (`sleep infinity`). */
function isSession(proc: Proc): boolean {
  const { name } = readProgram(proc.argv, proc.comm);
  if (bystander(proc) === 'terminal' || /^(?:sleep|tail|pause)$/.test(name)) return true;
  const isTyped = (proc.argv[0] ?? '').startsWith('-') || proc.tty !== 0;
  return isTyped && isShellName(name) && isInteractiveShell(proc.argv);
}

const CONTAINER_EDGE =
  /^(?:containerd-shim|docker-containe|conmon|crun|runc|lxc-start|incusd|lxd|systemd-nspawn)/;

type Manager = (search: Search) => Promise<Verdict>;

function managerAbove(line: readonly Proc[]): Manager | null {
  let child = line[0]!;
  for (const manager of line.slice(1)) {
    if (CONTAINER_EDGE.test(manager.comm)) return null;
    const { argv, comm } = manager;
    const titles = [[programOf(manager), ...argv.slice(1)].join(' '), argv[0] ?? '', comm];
    const [, name] = MANAGERS.find(([title]) => titles.some((it) => title.test(it))) ?? [];
    const found = { manager, child };
    if (name) return (search) => name(found, search);
    child = manager;
  }
  return null;
}

/**
 * Tries each layer from the innermost outwards until one gives a verdict. The managers in a container that we are not in can't be
 * asked from here, so it is the container that is named for them.
 */
async function nameKeeper(search: Search, within: Manager | null): Promise<Verdict> {
  const wall = search.layers.findLastIndex(({ type }) => type === 'container' || type === 'pod');
  if (within && wall < 0) return await within(search);
  const isKept = within !== null || unitIn(search.layers) !== null;
  for (let end = wall < 0 ? search.layers.length : wall + 1; end > 0; end -= 1) {
    const inner = { ...search, layers: search.layers.slice(0, end) };
    const leaf = inner.layers.at(-1)!;
    const container = containerIn(inner.layers);
    const unit = unitIn(inner.layers);
    if (leaf.type === 'pod') return search.isByHand ? 'not-restarted' : namePod(leaf.uid);
    if (!container && !unit) return 'not-restarted';
    const verdict = container ? await nameContainer(container, inner, isKept) : await nameUnit(unit!, inner);
    if (verdict !== 'look-further') return verdict;
  }
  return 'not-restarted';
}

/** An app in the output of `pm2 jlist`. */
interface Pm2App {
  readonly pid?: number;
  readonly name?: string;
  readonly pm_id?: number;
  readonly pm2_env?: { readonly autorestart?: boolean; readonly cron_restart?: unknown };
}

/** The daemon is asked only if it runs and has its socket, as `pm2` would start one otherwise. */
async function pm2({ manager, child }: Found, search: Search): Promise<Verdict> {
  const account = accountOf(search, manager.uid);
  const home = /God Daemon \((.+)\)$/.exec(manager.argv.join(' '))?.[1] ?? markOf(search, 'PM2_HOME');
  const step = (...words: string[]) => ({
    words: ['pm2', ...words],
    ...(home === null ? {} : { env: { PM2_HOME: home } }),
  });
  // A folder of another user may be on a file system that hangs, so another program looks into it.
  const files = home === null ? '' : ((await ask(search, { words: ['ls', home] })) ?? '');
  const list = /^rpc\.sock$/m.test(files) ? parseList<Pm2App>(await ask(search, step('jlist'), account)) : [];
  const id = markOf(search, 'pm_id');
  const app = list.find(({ pid }) => pid === child.pid) ?? list.find(({ pm_id }) => String(pm_id) === id);
  const { autorestart, cron_restart } = app?.pm2_env ?? {};
  if (autorestart === false && cron_restart === undefined) return 'not-restarted';
  const name = app?.name ?? (id === null ? null : markOf(search, 'name'));
  // `pm2 delete` takes numbers for ids, `all` for everything, `/x/` for a pattern, so the id replaces such names.
  const isOdd = name === null || name === 'all' || /^(?:\d+|\/.*\/|-.*)$/.test(name);
  const number = app?.pm_id === undefined ? id : String(app.pm_id);
  // By default PM2 names an app after its script without the extension.
  const target = isOdd && number !== null ? number : (name ?? programOf(child).replace(/\.\w{2,3}$/, ''));
  const save = files === '' || /^dump\.pm2$/m.test(files) ? [step('save', '--force')] : [];
  return { kind: 'pm2', name: name ?? target, steps: [step('delete', target), ...save], account };
}

/** The command must not stop other programs, too. */
async function supervisord({ manager, child }: Found, search: Search): Promise<Verdict> {
  const { argv, cwd } = manager;
  const at = argv.findIndex((word) => word === '-c' || word === '--configuration');
  const given = at < 0 ? argv.find((word) => word.startsWith('--configuration='))?.slice(16) : argv[at + 1];
  const path = given === undefined || given.startsWith('/') || cwd === null ? given : join(cwd, given);
  const url = markOf(search, 'SUPERVISOR_SERVER_URL');
  const reach = path !== undefined ? ['-c', path] : url === null ? [] : ['-s', url];
  const step = (...words: string[]) => ({ words: ['supervisorctl', ...reach, ...words] });
  const process = markOf(search, 'SUPERVISOR_PROCESS_NAME');
  const group = markOf(search, 'SUPERVISOR_GROUP_NAME');
  const name = group === null || group === process ? process : `${group}:${process}`;
  const named = { kind: 'supervisord', account: accountOf(search, manager.uid) };
  if (name !== null) return { ...named, name, steps: [step('stop', name)] };
  const remark = `shows its name there; then: ${step('stop').words.join(' ')} NAME`;
  return { ...named, name: programOf(child), steps: [step('status')], remark };
}

/** runsv and s6-supervise run in the service's folder. A file `down` keeps the service stopped after their next start. */
async function service({ manager: { argv, cwd, uid, comm } }: Found, search: Search): Promise<Verdict> {
  const isS6 = comm.startsWith('s6-');
  const [kind, status, down]: [string, string[], string[]] = isS6
    ? ['s6', ['s6-svstat'], ['s6-svc', '-d']]
    : ['runit', ['sv', 'status'], ['sv', 'down']];
  const folder = cwd ?? argv.at(-1)!.replace(/\/+$/, '');
  if (/want down/.test((await ask(search, { words: [...status, folder] })) ?? '')) return 'not-restarted';
  const steps = [{ words: [...down, folder] }, { words: ['touch', `${folder}/down`] }];
  return { kind, name: folder, steps, account: accountOf(search, uid) };
}

/** A stray whose line is in no readable table will not come back, and at(1) restarts nothing. */
async function cron({ manager, child }: Found, search: Search): Promise<Verdict> {
  if (programOf(manager).toLowerCase() === 'atd') return 'not-restarted';
  const { edges, line } = search;
  /** From the process that cron started, usually the line's shell, down to the stray. */
  const job = line.slice(0, line.indexOf(child) + 1).reverse();
  const periodic = job
    .flatMap(({ argv }) => argv)
    .find((word) => /^\/etc\/(?:cron\.(?:hourly|daily|weekly|monthly)|periodic\/\w+)\/[^/]+$/.test(word));
  if (periodic !== undefined)
    return { kind: 'cron', name: periodic, steps: [{ words: ['chmod', 'a-x', periodic] }], account: ROOT };
  const isOwn = child.uid === edges.ownUid;
  // Only root may use -u.
  const crontab = ['crontab', ...(isOwn ? [] : ['-u', accountOf(search, child.uid).name])];
  const edit = (text: string, words = [...crontab, '-e'], account: Account | null = isOwn ? null : ROOT) => ({
    ...{ kind: 'cron', name: text, steps: [{ words }], account, remark: `remove the line "${text}"` },
  });
  const isReadable = isOwn || edges.ownUid === 0;
  const own = isReadable ? ((await ask(search, { words: [...crontab, '-l'] })) ?? '') : '';
  const files = ['/etc/crontab', ...edges.listFolder('/etc/cron.d').map((it) => `/etc/cron.d/${it}`)];
  for (const path of [null, ...files]) {
    const found = lineOf(path === null ? own : (edges.readText(path) ?? ''), job);
    if (found?.startsWith('@reboot')) return 'not-restarted';
    if (found && path === null) return edit(found);
    if (found) return edit(found, [edges.ownUid === 0 ? 'vi' : 'sudoedit', path!], null);
  }
  return isReadable ? 'not-restarted' : edit(child.argv.at(-1) ?? child.comm);
}

/** The crontab line that most likely started these processes: it holds the words of one of them, or of a shell's `-c` text. */
function lineOf(table: string, job: readonly Proc[]): string | undefined {
  const bare = (text: string) =>
    text
      .replace(/["'\\]/g, '')
      .replace(/\s+/g, ' ')
      .trim();
  const lines = table.split('\n').filter((line) => !/^\s*#/.test(line));
  const parts = job.map(({ argv }) => bare(argv.slice(argv.indexOf('-c') + 1).join(' '))).filter(Boolean);
  return parts.flatMap((part) => lines.find((line) => bare(line).includes(part)) ?? [])[0]?.trim();
}

// Managers that a cgroup shows. Only the main process of a unit or container counts: the manager ignores the end of a process
// that was started in it by hand.

const PROPERTIES = 'Id,LoadState,MainPID,Restart,UnitFileState,TriggeredBy';

/** Asks systemctl; if that can't answer, the cgroup alone counts. */
async function nameUnit({ name, userUid }: Unit, search: Search): Promise<Verdict> {
  const isOwn = userUid !== null && userUid === search.edges.ownUid;
  const machine = userUid === null || isOwn ? [] : ['-M', `${accountOf(search, userUid).name}@`];
  const systemctl = ['systemctl', ...(userUid === null ? [] : ['--user', ...machine])];
  const stop = (verb: readonly string[], unit = name): Named => ({
    kind: userUid === null ? 'systemd' : 'systemd --user',
    name: unit,
    steps: [{ words: [...systemctl, ...verb, unit] }],
    account: isOwn ? null : ROOT,
  });
  const words = [...systemctl, 'show', '--no-pager', '-p', PROPERTIES, '--', name];
  const shown = new Map(
    [...((await ask(search, { words })) ?? '').matchAll(/^(\w+)=(.*)$/gm)].map(([, k, v]) => [k, v]),
  );
  const value = (key: string) => shown.get(key) ?? '';
  // Without a running systemd, systemctl exits with 0 and shows nothing, or an unknown unit.
  if (!shown.has('MainPID')) return search.isByHand ? 'not-restarted' : stop(['disable', '--now']);
  if (value('LoadState') === 'not-found') return 'not-restarted';
  const mainPid = Number(value('MainPID'));
  if (mainPid !== 0 && !reaches(search, mainPid)) return 'not-restarted';
  const triggers = value('TriggeredBy').split(' ').filter(Boolean);
  if (['', 'no', 'on-watchdog'].includes(value('Restart')) && triggers.length === 0) return 'not-restarted';
  // Units without a file of their own can't be disabled; generated ones come back with the next reload unless masked.
  const verbs: Record<string, string[]> = { transient: ['stop'], generated: ['mask', '--now'] };
  const verb = verbs[value('UnitFileState')] ?? ['disable', '--now'];
  return stop([...verb, ...triggers], value('Id') || name);
}

/** A container in the output of `docker inspect` and the like. */
interface Inspection {
  readonly Name?: string;
  readonly State?: { readonly Pid?: number };
  readonly HostConfig?: { readonly RestartPolicy?: { readonly Name?: string } };
  readonly Config?: { readonly Labels?: Readonly<Record<string, string>> | null };
}

/** `isKept`: a manager within it would start the stray again. */
async function nameContainer(container: Container, search: Search, isKept: boolean): Promise<Verdict> {
  const { tool, id, userUid } = container;
  // The account of the engine, if that can't be ours.
  const account = userUid !== null ? accountOf(search, userUid) : tool === 'podman' ? ROOT : null;
  const answer = await ask(search, { words: [tool, 'inspect', id] }, account);
  const found = parseList<Inspection>(answer).find(({ Name }) => Name);
  const mainPid = found?.State?.Pid ?? 0;
  if (found ? mainPid > 0 && !reaches(search, mainPid) : search.isByHand) return 'not-restarted';
  const labels = found?.Config?.Labels ?? {};
  const unit = labels.PODMAN_SYSTEMD_UNIT;
  if (unit) return await nameUnit({ name: unit, userUid }, search);
  const policy = found?.HostConfig?.RestartPolicy?.Name || 'no';
  if (found && policy === 'no' && !isKept) return 'look-further';
  const project = labels['com.docker.compose.project'];
  const service = labels['com.docker.compose.service'];
  if (tool === 'docker' && project && service) {
    const words = ['docker', 'compose', '-p', project, 'stop', service];
    return { kind: 'docker compose', name: `${project}/${service}`, steps: [{ words }], account };
  }
  const name = found?.Name?.replace(/^\//, '') ?? id.slice(0, 12);
  // podman has no daemon that restarts a stopped container, and has `update --restart` only since version 5.
  const update = tool === 'podman' ? [] : [{ words: [tool, 'update', '--restart=no', name] }];
  const steps = [...update, { words: [tool, 'stop', name] }];
  return { kind: tool, name, steps, account: found ? account : (account ?? ROOT) };
}

/** A pod is restarted until its owner is deleted. Their names are unknown here, so the command looks them up. */
function namePod(uid: string): Named {
  const columns =
    'UID:.metadata.uid,NAMESPACE:.metadata.namespace,POD:.metadata.name,OWNER:.metadata.ownerReferences[0].name';
  const words = ['kubectl', 'get', 'pods', '-A', '-o', `custom-columns=${columns}`];
  const remark = `shows the pod ${uid}; then scale its owner to 0`;
  return { kind: 'kubernetes', name: `pod ${uid}`, steps: [{ words }], remark };
}

/** The interpreter's script, otherwise the program; without the folder. */
function programOf({ argv, comm }: Proc): string {
  const { name, scripts } = readProgram(argv, comm);
  return baseName(scripts[0] ?? name);
}

/** Whether the manager of `pid` would notice the end of the stray. */
const reaches = ({ line }: Search, pid: number): boolean => line.some((proc) => proc.pid === pid);

/** A manager's variable in the environment of the stray, or of its nearest ancestor if that of the stray is lost. */
function markOf({ line }: Search, name: string): string | null {
  return line.find(({ env }) => env !== null)?.env?.marks[name] || null;
}

/**
 * Standard output of a tool that exits with 0; null: it failed or does not exist. As root, asks for another account with `su`;
 * other users can't ask for it.
 */
async function ask({ edges }: Search, step: Step, account: Account | null = null): Promise<string | null> {
  const { ownUid } = edges;
  const isOwn = account === null || account.uid === ownUid;
  if (!isOwn && ownUid !== 0) return null;
  const settings = Object.entries(step.env ?? {}).map(([name, value]) => `${name}=${value}`);
  const [command, ...args] = isOwn
    ? [...(settings.length > 0 ? ['env', ...settings] : []), ...step.words]
    : ['su', '-s', '/bin/sh', account.name, '-c', commandLine([step], account.uid, null)];
  const { code, stdout } = await edges.run(command!, args);
  return code === 0 ? stdout : null;
}

function accountOf({ edges }: Search, uid: number): Account {
  const name = edges.nameOf(uid);
  return uid === 0 ? ROOT : { uid, name: /^\d+$/.test(name) ? `#${name}` : name };
}

/** Parses a list of objects that a tool printed, perhaps after warnings; empty if there is none. */
function parseList<T>(text: string | null): readonly T[] {
  return parseObject<T[]>(text?.slice(Math.max(0, text.search(/\[\s*[{\]]/))) ?? '') ?? [];
}
