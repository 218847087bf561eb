/**
 * Reads the cgroup path of a process as layers, from the machine inwards: units, user managers, containers, pods. PURE.
 * Facts: cgroups(7), systemd.special(7), systemd's cg_escape(), and the paths of docker (cgroupfs and systemd drivers), podman,
 * cri-containerd and cri-o.
 */

export type ContainerTool = 'docker' | 'podman' | 'nerdctl';

export type Layer =
  | { readonly type: 'unit'; readonly name: string }
  /** A user's own service manager (user@UID.service). */
  | { readonly type: 'user'; readonly uid: number }
  /** Processes that the service manager did not start: login sessions, terminals. */
  | { readonly type: 'scope'; readonly name: string }
  | { readonly type: 'container'; readonly tool: ContainerTool; readonly id: string }
  | { readonly type: 'pod'; readonly uid: string }
  /** A system container (nspawn, lxc), whose service manager cannot be asked here. */
  | { readonly type: 'machine' };

/** Layers of the hierarchy that tells most: the unified one, then systemd's, then any other. Empty where none does. */
export function layersOf(text: string | null): readonly Layer[] {
  const rank = (controllers: string) => ['', 'name=systemd'].indexOf(controllers) >>> 0;
  const paths = (text ?? '')
    .split('\n')
    .flatMap((line) => {
      const match = /^\d+:([^:]*):(.*)$/.exec(line);
      return match ? [{ rank: rank(match[1]!), path: match[2]! }] : [];
    })
    .sort((a, b) => a.rank - b.rank);
  for (const { path } of paths) {
    const segments = path.split('/').filter((segment) => segment !== '' && segment !== '..');
    const layers = segments.flatMap((segment, at) => layerOf(segment, segments[at - 1]) ?? []);
    if (layers.length > 0) return layers;
  }
  return [];
}

/**
 * The stray's layers that we are not in ourselves. A user manager stays although we share it, since its units are told from the
 * machine's by it; not so one outside of a container that we share.
 */
export function foreignLayers(stray: readonly Layer[], own: readonly Layer[]): readonly Layer[] {
  const differs = stray.findIndex((layer, at) => JSON.stringify(layer) !== JSON.stringify(own[at]));
  const shared = differs < 0 ? stray.length : differs;
  const isWall = ({ type }: Layer) => type === 'container' || type === 'machine' || type === 'pod';
  const wall = stray.slice(0, shared).findLastIndex(isWall);
  return stray.filter((layer, at) => at >= shared || (at > wall && layer.type === 'user'));
}

function layerOf(segment: string, before: string | undefined): Layer | null {
  const named = /^(docker|libpod|libpod-payload|cri-containerd|crio|nerdctl)-([0-9a-f]{12,64})(?:\.scope)?$/;
  const [, engine, id] = named.exec(segment) ?? [];
  if (engine && id) return { type: 'container', tool: toolOf(engine), id };
  if (/^[0-9a-f]{64}$/.test(segment)) {
    const isDocker = ['docker', 'actions_job', 'ecs', 'buildkit'].includes(before ?? '');
    return { type: 'container', tool: isDocker ? 'docker' : 'nerdctl', id: segment };
  }
  const pod = /^(?:kubepods.*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27})(?:\.slice)?$/.exec(segment);
  if (pod) return { type: 'pod', uid: pod[1]!.replaceAll('_', '-') };
  const isMachine =
    /^systemd-nspawn@.+\.service$|^lxc\.payload\./.test(segment) ||
    before === 'lxc' ||
    (before === 'machine.slice' && /^machine-.+\.scope$/.test(segment));
  if (isMachine) return { type: 'machine' };
  // systemd puts `_` before names that would clash with files of the kernel.
  const name = segment.replace(/^_/, '');
  const user = /^user@(\d+)\.service$/.exec(name);
  if (user) return { type: 'user', uid: Number(user[1]) };
  if (name.endsWith('.service')) return { type: 'unit', name };
  return name.endsWith('.scope') ? { type: 'scope', name } : null;
}

function toolOf(engine: string): ContainerTool {
  if (engine === 'docker') return 'docker';
  return engine.startsWith('libpod') ? 'podman' : 'nerdctl';
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

export interface Unit {
  readonly name: string;
  /** Owner of the user manager that runs it; null: the system manager. */
  readonly userUid: number | null;
}

/** The unit that the layers end in. Null: a scope, a unit that only hosts others, or one of another system. */
export function unitIn(layers: readonly Layer[]): Unit | null {
  const leaf = layers.at(-1);
  if (leaf?.type !== 'unit' || HOSTS.test(leaf.name) || layers.some(({ type }) => type === 'machine'))
    return null;
  const container = layers.findLastIndex(({ type }) => type === 'container' || type === 'pod');
  const user = layers.slice(container + 1).findLast((layer) => layer.type === 'user');
  return { name: leaf.name, userUid: user?.type === 'user' ? user.uid : null };
}
