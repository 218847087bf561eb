/**
 * systemd: the unit that a stray runs in, and whether it would start it again. Only the unit's main process on
 * the stray's line counts: what else is in the unit's cgroup may die without systemd caring. Never a respawner:
 * scopes (login sessions, terminals), and services that only host what others start (ssh, cron, containers).
 * Facts: systemd.service(5) Restart=, systemctl(1), systemd.unit(5).
 */
import type { Layer } from './cgroup.ts';
import { accountOf, ask, type Inquiry, respawner, type Verdict } from './inquiry.ts';
import { baseName, reaches } from './lineage.ts';
import type { Step } from './shell.ts';

export interface UnitSuspicion {
  readonly unit: string;
  /** Owner of the user manager that runs the unit; null: the system manager. */
  readonly userUid: number | null;
  /** The machine (systemd-nspawn, lxc) whose manager runs it; null: this one. */
  readonly machine: { readonly tool: 'nspawn' | 'lxc'; readonly name: string } | null;
}

/** Units that host programs which they do not watch. */
const HOSTS = new RegExp(
  `^(?:${[
    'sshd?(?:@.*)?|ssh-session.*|dropbear.*|telnetd?.*|inetd|xinetd|mosh.*',
    'cron|crond|cronie|anacron|atd|fcron|systemd-cron.*',
    'docker|containerd|podman|crio|cri-o|kubelet|k3s.*|rke2.*|snap\\.docker\\..*|buildkit|lxc.*|lxd.*|incus.*|libvirtd|virt.*',
    'user@.*|user-runtime-dir@.*|systemd-.*|dbus.*|polkit.*|init|rc-local',
    'getty@.*|serial-getty@.*|console-getty|autovt@.*|container-getty@.*|gdm.*|sddm.*|lightdm.*|display-manager|xdm|greetd',
    'gnome-.*|org\\.gnome\\..*|app-.*-autostart@.*|plasma-.*|xfce.*|.*-terminal.*|konsole.*|tmux.*|screen.*|ttyd.*|wetty.*|zellij.*',
    'code-server.*|code-tunnel.*|openvscode.*|vscode.*|jupyter.*|rstudio.*|webmin|cockpit.*',
    'actions\\.runner\\..*|gitlab-runner.*|jenkins.*|buildkite.*|drone.*|woodpecker.*',
  ].join('|')})\\.service$`,
);

/** The innermost unit of the layers, with the manager that owns it. Null where the stray is in a scope or a host's unit. */
export function suspectUnit(layers: readonly Layer[]): UnitSuspicion | null {
  const leaf = layers.at(-1);
  if (leaf?.type !== 'unit' || HOSTS.test(leaf.name)) return null;
  const outer = layers.slice(0, -1);
  const user = outer.findLast((layer) => layer.type === 'user' || layer.type === 'machine');
  const machine = outer.findLast((layer) => layer.type === 'machine');
  return {
    unit: leaf.name,
    userUid: user?.type === 'user' ? user.uid : null,
    machine: machine?.type === 'machine' ? { tool: machine.tool, name: machine.name } : null,
  };
}

const PROPERTIES =
  'Id,LoadState,ActiveState,MainPID,Restart,UnitFileState,Transient,TriggeredBy,FragmentPath,SourcePath';

/** Asks systemctl where it can answer; goes by the cgroup alone where it cannot. */
export async function nameUnit(suspicion: UnitSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const reach = await reachOf(suspicion, inquiry);
  // A member of a unit without systemd's answer: its main process is on the line unless a session lies between.
  if (reach.shown === null) {
    return inquiry.lineage.sessionEnd < inquiry.lineage.line.length
      ? 'stops-here'
      : stopUnit(suspicion, inquiry, ['disable', '--now', suspicion.unit]);
  }
  const shown = reach.shown;
  const unit = shown.get('Id') || suspicion.unit;
  if (shown.get('LoadState') === 'not-found' || shown.get('ActiveState') === 'deactivating')
    return 'stops-here';
  const mainPid = Number(shown.get('MainPID') ?? 0);
  // Main pids of another machine's manager are numbers of its own process list.
  const watched = mainPid === 0 || suspicion.machine !== null || reaches(inquiry.lineage, mainPid);
  if (!watched) return 'stops-here';
  const restart = shown.get('Restart') ?? 'no';
  const triggers = (shown.get('TriggeredBy') ?? '').split(' ').filter((name) => name !== '');
  if ((restart === 'no' || restart === 'on-watchdog') && triggers.length === 0) return 'stops-here';
  return stopUnit({ ...suspicion, unit }, inquiry, verbFor(shown, unit, triggers));
}

/** Units without a file cannot be disabled; generated ones come back with the next reload unless masked. */
function verbFor(
  shown: ReadonlyMap<string, string>,
  unit: string,
  triggers: readonly string[],
): readonly string[] {
  if (shown.get('Transient') === 'yes' || shown.get('UnitFileState') === 'transient')
    return ['stop', ...triggers, unit];
  const fromInitScript = (shown.get('SourcePath') ?? '').startsWith('/etc/init.d/');
  if (shown.get('UnitFileState') === 'generated' && !fromInitScript)
    return ['mask', '--now', ...triggers, unit];
  return ['disable', '--now', ...triggers, unit];
}

async function reachOf(
  suspicion: UnitSuspicion,
  inquiry: Inquiry,
): Promise<{ shown: ReadonlyMap<string, string> | null }> {
  if (suspicion.machine?.tool === 'lxc') return { shown: null };
  const scope = await scopeOf(suspicion, inquiry);
  const stdout = await ask(inquiry, 'systemctl', [
    ...scope,
    'show',
    '--no-pager',
    '-p',
    PROPERTIES,
    '--',
    suspicion.unit,
  ]);
  if (stdout === null) return { shown: null };
  const shown = new Map<string, string>();
  for (const line of stdout.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) shown.set(line.slice(0, at), line.slice(at + 1));
  }
  // An offline systemctl answers with 0 and nothing, or with a unit that it knows nothing of.
  return { shown: shown.has('MainPID') ? shown : null };
}

async function scopeOf(suspicion: UnitSuspicion, inquiry: Inquiry): Promise<readonly string[]> {
  const { userUid, machine } = suspicion;
  const inMachine = machine === null ? '' : machine.name;
  if (userUid === null) return machine === null ? [] : ['-M', inMachine];
  if (machine !== null) return ['--user', '-M', `#${userUid}@${inMachine}`];
  if (userUid === inquiry.ownUid) return ['--user'];
  return ['--user', '-M', `${(await accountOf(inquiry, userUid)).name}@`];
}

async function stopUnit(
  suspicion: UnitSuspicion,
  inquiry: Inquiry,
  verb: readonly string[],
): Promise<Verdict> {
  const { unit, userUid, machine } = suspicion;
  const scope = await scopeOf(suspicion, inquiry);
  const words =
    machine?.tool === 'lxc'
      ? ['lxc-attach', '-n', machine.name, '--', 'systemctl', ...verb]
      : ['systemctl', ...scope, ...verb];
  const step: Step = { words };
  const ownUnit = userUid !== null && userUid === inquiry.ownUid && machine === null;
  const root = ownUnit ? null : { uid: 0, name: 'root' };
  return respawner(inquiry, userUid === null ? 'systemd' : 'systemd --user', baseName(unit), [step], root);
}
