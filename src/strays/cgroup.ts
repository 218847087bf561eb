/**
 * Reads the cgroup path of a process as layers, from the machine inwards: units, user managers, containers, pods. PURE.
 * Facts: cgroups(7), systemd.special(7), systemd's cg_escape(), and the paths of docker, podman, cri-containerd and cri-o.
 */

export type Layer =
  | { readonly type: 'unit'; readonly name: string }
  /** A user's own service manager (user@UID.service). */
  | { readonly type: 'user'; readonly uid: number }
  /** A group of processes that the service manager did not start: login sessions, terminals. */
  | { readonly type: 'scope'; readonly name: string }
  | { readonly type: 'container'; readonly tool: 'docker' | 'podman'; readonly id: string }
  | { readonly type: 'pod'; readonly uid: string }
  /** A container whose manager can't be asked from here (nspawn, lxc, another engine). */
  | { readonly type: 'machine' };

/** Layers of the most informative hierarchy: the unified one, then systemd's, then any other. Empty: none tells any. */
export function layersOf(text: string | null): readonly Layer[] {
  const rank = (controllers: string) => ['', 'name=systemd'].indexOf(controllers) >>> 0;
  const lines = [...(text ?? '').matchAll(/^\d+:([^:\n]*):(.*)$/gm)];
  lines.sort(([, a = ''], [, b = '']) => rank(a) - rank(b));
  for (const [, , path = ''] of lines) {
    const segments = path.split('/').filter((segment) => segment !== '' && segment !== '..');
    const layers = segments.flatMap((segment, at) => layerOf(segment, segments[at - 1] ?? '') ?? []);
    if (layers.length > 0) return layers;
  }
  return [];
}

/**
 * The stray's layers that we are not in. A user manager that we share is kept, since it distinguishes its units from the
 * machine's, unless it is outside of a container that we share.
 */
export function foreignLayers(stray: readonly Layer[], own: readonly Layer[]): readonly Layer[] {
  const differs = stray.findIndex((layer, at) => JSON.stringify(layer) !== JSON.stringify(own[at]));
  const shared = differs < 0 ? stray.length : differs;
  const wall = stray.slice(0, shared).findLastIndex(({ type }) => type in WALLS);
  return stray.filter((layer, at) => at >= shared || (at > wall && layer.type === 'user'));
}

const WALLS = { container: true, machine: true, pod: true };

const CONTAINER =
  /^(docker|libpod|libpod-payload|cri-containerd|crio|nerdctl)-([0-9a-f]{12,64})(?:\.scope)?$/;
const POD = /^(?:kubepods.*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27})(?:\.slice)?$/;

function layerOf(segment: string, before: string): Layer | null {
  const pod = POD.exec(segment)?.[1];
  if (pod) return { type: 'pod', uid: pod.replaceAll('_', '-') };
  const isBare = /^[0-9a-f]{64}$/.test(segment);
  const [, engine = isBare ? before : '', id = segment] = CONTAINER.exec(segment) ?? [];
  if (/^(?:docker|actions_job|ecs|buildkit)$/.test(engine)) return { type: 'container', tool: 'docker', id };
  if (engine.startsWith('libpod')) return { type: 'container', tool: 'podman', id };
  // The containers of a pod go with it.
  if (engine !== '') return POD.test(before) ? null : { type: 'machine' };
  if (/^systemd-nspawn@.+\.service$|^lxc\.payload\.|^machine-.+\.scope$/.test(segment) || before === 'lxc')
    return { type: 'machine' };
  // systemd prefixes `_` to names that would clash with the kernel's files.
  const name = segment.replace(/^_/, '');
  const user = /^user@(\d+)\.service$/.exec(name)?.[1];
  if (user) return { type: 'user', uid: Number(user) };
  if (name.endsWith('.service')) return { type: 'unit', name };
  return name.endsWith('.scope') ? { type: 'scope', name } : null;
}

/** Units that host programs without watching them. */
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
  /** Owner of the user manager that runs the unit; null: the system manager. */
  readonly userUid: number | null;
}

/** The unit of the innermost layer. Null: that is a scope, a unit that only hosts others, or of another system. */
export function unitIn(layers: readonly Layer[]): Unit | null {
  const leaf = layers.at(-1);
  if (leaf?.type !== 'unit' || HOSTS.test(leaf.name) || layers.some(({ type }) => type === 'machine'))
    return null;
  const wall = layers.findLastIndex(({ type }) => type in WALLS);
  return { name: leaf.name, userUid: userIn(layers.slice(wall + 1)) };
}

export interface Container {
  readonly tool: 'docker' | 'podman';
  readonly id: string;
  /** Owner of a rootless engine; null: the machine's engine. */
  readonly userUid: number | null;
}

export function containerIn(layers: readonly Layer[]): Container | null {
  const leaf = layers.at(-1);
  return leaf?.type === 'container' ? { tool: leaf.tool, id: leaf.id, userUid: userIn(layers) } : null;
}

function userIn(layers: readonly Layer[]): number | null {
  return layers.findLast((layer) => layer.type === 'user')?.uid ?? null;
}
