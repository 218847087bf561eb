/**
 * Reads the cgroup path of a process as a list of layers, from the machine inwards: units, user managers,
 * containers, pods, machines. Pure. Facts: cgroups(7), systemd.special(7), systemd's cg_escape(), and the path
 * shapes of docker (cgroupfs and systemd drivers), podman, cri-containerd and cri-o.
 */

export type ContainerEngine = 'docker' | 'podman' | 'containerd';

export type Layer =
  | { readonly type: 'unit'; readonly name: string }
  /** A user's own service manager (user@UID.service). */
  | { readonly type: 'user'; readonly uid: number }
  /** A scope: processes that the service manager did not start (login sessions, terminals). */
  | { readonly type: 'scope'; readonly name: string }
  | { readonly type: 'container'; readonly engine: ContainerEngine; readonly id: string }
  | { readonly type: 'pod'; readonly uid: string }
  /** A system container with an init of its own. */
  | { readonly type: 'machine'; readonly tool: 'nspawn' | 'lxc'; readonly name: string };

/** Layers of the first hierarchy that tells anything, the one that systemd uses before the others. Empty where none does. */
export function layersOf(text: string | null): readonly Layer[] {
  if (text === null) return [];
  const lines = text.split('\n').map((line) => /^(\d+):([^:]*):(.*)$/.exec(line));
  const rank = (controllers: string) => (controllers === '' ? 0 : controllers === 'name=systemd' ? 1 : 2);
  const paths = lines
    .filter((match) => match !== null)
    .sort((a, b) => rank(a[2]!) - rank(b[2]!))
    .map((match) => match[3]!);
  for (const path of paths) {
    const layers = layersOfPath(path);
    if (layers.length > 0) return layers;
  }
  return [];
}

/**
 * The stray's layers that we are not in ourselves. A user manager stays although we share it, for its units are
 * told from the machine's by it; unless it lies outside of a container that we share.
 */
export function foreignLayers(stray: readonly Layer[], own: readonly Layer[]): readonly Layer[] {
  let shared = 0;
  while (shared < stray.length && shared < own.length && sameLayer(stray[shared]!, own[shared]!)) shared += 1;
  const isWall = (layer: Layer) =>
    layer.type === 'container' || layer.type === 'machine' || layer.type === 'pod';
  const wall = stray.slice(0, shared).findLastIndex(isWall);
  return stray.filter((layer, at) => at >= shared || (at > wall && layer.type === 'user'));
}

function sameLayer(a: Layer, b: Layer): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function layersOfPath(path: string): Layer[] {
  const layers: Layer[] = [];
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '..');
  for (const [at, segment] of segments.entries()) {
    const layer = layerOf(segment, segments[at - 1]);
    if (layer !== null) layers.push(layer);
  }
  return layers;
}

function layerOf(segment: string, before: string | undefined): Layer | null {
  const container = containerOf(segment, before);
  if (container !== null) return container;
  const pod = /^(?:kubepods.*-)?pod([0-9a-f]{8}[-_][0-9a-f_-]{27})(?:\.slice)?$/.exec(segment);
  if (pod !== null) return { type: 'pod', uid: pod[1]!.replaceAll('_', '-') };
  const machine =
    /^systemd-nspawn@(.+)\.service$/.exec(segment) ??
    (before === 'machine.slice' ? /^machine-(.+)\.scope$/.exec(segment) : null);
  if (machine !== null) return { type: 'machine', tool: 'nspawn', name: unescapeUnit(machine[1]!) };
  const lxc = /^lxc\.payload\.(.+)$/.exec(segment) ?? (before === 'lxc' ? /^(.+)$/.exec(segment) : null);
  if (lxc !== null) return { type: 'machine', tool: 'lxc', name: lxc[1]! };
  // systemd puts `_` before names that would clash with files of the kernel (cg_escape).
  const name = segment.startsWith('_') ? segment.slice(1) : segment;
  const user = /^user@(\d+)\.service$/.exec(name);
  if (user !== null) return { type: 'user', uid: Number(user[1]) };
  if (name.endsWith('.service')) return { type: 'unit', name };
  if (name.endsWith('.scope')) return { type: 'scope', name };
  return null;
}

function containerOf(segment: string, before: string | undefined): Layer | null {
  const named =
    /^(docker|libpod|libpod-payload|cri-containerd|crio|nerdctl)-([0-9a-f]{64}|[0-9a-f]{12,63})(?:\.scope)?$/.exec(
      segment,
    );
  if (named !== null) return { type: 'container', engine: engineOf(named[1]!), id: named[2]! };
  const bare = /^[0-9a-f]{64}$/.exec(segment);
  if (bare === null) return null;
  const inDocker =
    before === 'docker' || before === 'actions_job' || before === 'ecs' || before === 'buildkit';
  return { type: 'container', engine: inDocker ? 'docker' : 'containerd', id: segment };
}

function engineOf(prefix: string): ContainerEngine {
  if (prefix === 'docker') return 'docker';
  return prefix.startsWith('libpod') ? 'podman' : 'containerd';
}

/** Undoes systemd's `\x2d` spelling of characters in unit names. */
export function unescapeUnit(name: string): string {
  return name.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
