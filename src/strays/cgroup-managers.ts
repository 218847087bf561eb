/**
 * Managers that are known by the stray's cgroup: systemd, and the engines of containers. Only the main process of a unit or
 * container counts: what was started in it by hand may end without anybody caring.
 * Facts: systemd.service(5) Restart=, systemctl(1), docker restart policies, compose labels, podman-systemd, kubelet's container labels.
 */
import { ROOT, type Step } from '../shell.ts';
import { type ContainerTool, type Layer, layersOf, type Unit, unitIn } from './cgroup.ts';
import {
  accountOf,
  answer,
  ask,
  askAs,
  openSearch,
  parseJson,
  programOf,
  reaches,
  type Search,
  type Verdict,
} from './manager-search.ts';
import type { Proc, Respawner } from './process.ts';

interface Container {
  readonly tool: ContainerTool;
  readonly id: string;
  /** The pod that it belongs to; null outside Kubernetes. */
  readonly podUid: string | null;
  /** Owner of a rootless engine; null: the machine's own. */
  readonly userUid: number | null;
}

/** As `docker inspect` and its like show it. */
interface Inspection {
  readonly Name?: string;
  readonly State?: { readonly Pid?: number };
  readonly HostConfig?: { readonly RestartPolicy?: { readonly Name?: string } };
  readonly Config?: { readonly Labels?: Readonly<Record<string, string>> | null };
}

/** From the innermost layer outwards, until one answers. */
export async function nameByCgroup(search: Search): Promise<Respawner | null> {
  for (let end = search.layers.length; end > 0; end -= 1) {
    const upTo = search.layers.slice(0, end);
    const container = containerIn(upTo);
    const unit = unitIn(upTo);
    if (!container && !unit) return null;
    const verdict = container
      ? await nameContainer(container, search)
      : await insideContainer(upTo, search, (inner) => nameUnit(unit!, inner));
    if (verdict === 'not-restarted') return null;
    if (verdict !== 'look-further') return verdict;
  }
  return null;
}

/**
 * Names a manager that runs in a container that we are not in: its tools and files are not ours to ask, and its command goes
 * through `docker exec`. A pod has no such command; its owner is named in the manager's place.
 */
export async function insideContainer(
  layers: readonly Layer[],
  search: Search,
  name: (inner: Search) => Promise<Verdict>,
): Promise<Verdict> {
  const at = layers.findLastIndex(({ type }) => type === 'container' || type === 'pod');
  const container = at < 0 ? null : containerIn(layers.slice(0, at + 1));
  if (!container) return name(search);
  if (container.podUid !== null) return nameContainer(container, search);
  const blind = { run: async () => ({ code: null, stdout: '' }), readText: () => null, listFolder: () => [] };
  const verdict = await name({ ...search, inside: true, edges: { ...search.edges, ...blind } });
  if (typeof verdict === 'string') return verdict;
  const found = await inspect(container, search);
  const words = [container.tool, 'exec', found?.name ?? shortId(container), 'sh', '-c', verdict.stopCommand];
  return answer(search, verdict.kind, verdict.name, [{ words }], {
    account: engineAccount(container, search),
  });
}

function containerIn(layers: readonly Layer[]): Container | null {
  const leaf = layers.at(-1);
  if (leaf?.type !== 'container' && leaf?.type !== 'pod') return null;
  const pod = layers.findLast((layer) => layer.type === 'pod');
  const user = layers.findLast((layer) => layer.type === 'user');
  return {
    tool: leaf.type === 'pod' ? 'nerdctl' : leaf.tool,
    id: leaf.type === 'pod' ? '' : leaf.id,
    podUid: pod?.type === 'pod' ? pod.uid : null,
    userUid: user?.type === 'user' ? user.uid : null,
  };
}

async function nameContainer(container: Container, search: Search): Promise<Verdict> {
  const isByHand = search.sessionAt < search.line.length;
  if (container.podUid !== null) return isByHand ? 'not-restarted' : namePod(container, search);
  const found = await inspect(container, search);
  if (!found) {
    const account = engineAccount(container, search) ?? ROOT;
    return isByHand
      ? 'not-restarted'
      : answer(search, kindOf(container), shortId(container), stopSteps(container.tool, shortId(container)), {
          account,
        });
  }
  if (found.mainPid > 0 && !reaches(search, found.mainPid)) return 'not-restarted';
  const account = engineAccount(container, search);
  const label = (name: string) => found.labels[name];
  const swarm = label('com.docker.swarm.service.name');
  if (swarm) {
    const words = ['docker', 'service', 'scale', `${swarm}=0`];
    return answer(search, 'docker swarm', swarm, [{ words }], { account });
  }
  const pod = label('io.kubernetes.pod.name');
  if (pod) return stopPod(label('io.kubernetes.pod.namespace') ?? 'default', pod, search);
  const unit = label('PODMAN_SYSTEMD_UNIT');
  if (unit) return nameUnit({ name: unit, userUid: container.userUid }, search);
  if (!found.restarts) return nameClientUnit(found.name, search);
  const project = label('com.docker.compose.project');
  const service = label('com.docker.compose.service');
  if (container.tool === 'docker' && project && service) {
    const words = ['docker', 'compose', '-p', project, 'stop', service];
    return answer(search, 'docker compose', `${project}/${service}`, [{ words }], { account });
  }
  return answer(search, kindOf(container), found.name, stopSteps(container.tool, found.name), { account });
}

/** podman has no daemon that starts a stopped container again, and learnt `update --restart` only in version 5. */
function stopSteps(tool: ContainerTool, name: string): Step[] {
  const stop = { words: [tool, 'stop', name] };
  return tool === 'podman' ? [stop] : [{ words: [tool, 'update', '--restart=no', name] }, stop];
}

function kindOf({ tool }: Container): string {
  return tool === 'nerdctl' ? 'containerd' : tool;
}

function shortId({ id }: Container): string {
  return id.slice(0, 12);
}

/** A unit that runs `docker run NAME` in its foreground brings the container back whatever its own policy says. */
async function nameClientUnit(name: string, search: Search): Promise<Verdict> {
  const { edges } = search;
  const isClient = (proc: Proc) =>
    ['docker', 'podman'].includes(programOf(proc)) &&
    proc.argv.some((word) => ['run', 'start', 'attach'].includes(word)) &&
    proc.argv.some((word) => word === name || word === `--name=${name}`);
  for (const client of [...edges.procs.values()].filter(isClient)) {
    const unit = unitIn(layersOf(edges.cgroupOf(client.pid)));
    if (unit) return nameUnit(unit, openSearch(client, client, edges));
  }
  return 'look-further';
}

async function inspect(container: Container, search: Search) {
  const account = engineAccount(container, search);
  const words = [container.tool, 'inspect', container.id];
  const text = account ? await askAs(search, account, { words }) : await ask(search, words);
  const found = parseJson<readonly Inspection[]>(text)?.[0];
  if (!found?.Name) return null;
  const { Name, State, HostConfig, Config } = found;
  return {
    name: Name.replace(/^\//, ''),
    mainPid: State?.Pid ?? 0,
    restarts: !['no', ''].includes(HostConfig?.RestartPolicy?.Name || 'no'),
    labels: Config?.Labels ?? {},
  };
}

/** Whose engine it is, where that is necessarily another account than ours. */
function engineAccount({ tool, userUid }: Container, search: Search) {
  if (userUid !== null) return accountOf(search, userUid);
  return tool === 'podman' ? ROOT : null;
}

async function namePod({ id, podUid }: Container, search: Search): Promise<Verdict> {
  const text = id === '' ? null : await ask(search, ['crictl', 'inspect', id]);
  const labels = parseJson<{ status?: { labels?: Record<string, string> } }>(text)?.status?.labels;
  const pod = labels?.['io.kubernetes.pod.name'];
  if (pod) return stopPod(labels['io.kubernetes.pod.namespace'] ?? 'default', pod, search);
  // Nobody here knows the pod's name: the command finds it, and its owner, which is then to be scaled to 0.
  const query = `jsonpath={range .items[?(@.metadata.uid=="${podUid}")]}{.metadata.namespace}/{.metadata.name} of {.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}{"\\n"}{end}`;
  return answer(search, 'kubernetes', `pod ${podUid}`, [
    { words: ['kubectl', 'get', 'pods', '-A', '-o', query] },
  ]);
}

/** A pod comes back as long as its owner wants it: the owner follows from the shape of the pod's name. */
function stopPod(namespace: string, pod: string, search: Search): Respawner {
  const deployment = /^(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}$/.exec(pod)?.[1];
  const stateful = /^(.+)-\d{1,4}$/.exec(pod)?.[1];
  const owner = deployment ? `deployment/${deployment}` : stateful ? `statefulset/${stateful}` : null;
  const words = owner ? ['scale', owner, '--replicas=0'] : ['delete', 'pod', pod];
  return answer(search, 'kubernetes', `${namespace}/${pod}`, [
    { words: ['kubectl', '-n', namespace, ...words] },
  ]);
}

const PROPERTIES =
  'Id,LoadState,ActiveState,MainPID,Restart,UnitFileState,Transient,TriggeredBy,FragmentPath,SourcePath';

/** Asks systemctl where it can answer; goes by the cgroup alone where it cannot. */
async function nameUnit({ name, userUid }: Unit, search: Search): Promise<Verdict> {
  const { ownUid } = search.edges;
  const isOwn = userUid !== null && userUid === ownUid;
  const scope =
    userUid === null ? [] : isOwn ? ['--user'] : ['--user', '-M', `${accountOf(search, userUid).name}@`];
  const stop = (verb: readonly string[], unit = name) =>
    answer(
      search,
      userUid === null ? 'systemd' : 'systemd --user',
      unit,
      [{ words: ['systemctl', ...scope, ...verb, unit] }],
      { account: isOwn ? null : ROOT },
    );
  const text = await ask(search, ['systemctl', ...scope, 'show', '--no-pager', '-p', PROPERTIES, '--', name]);
  const shown = new Map((text ?? '').split('\n').map((line) => [line.split('=', 1)[0]!, line]));
  const value = (key: string) => shown.get(key)?.slice(key.length + 1) ?? '';
  // An offline systemctl answers with 0 and nothing, or with a unit that it knows nothing of.
  if (!shown.has('MainPID'))
    return search.sessionAt < search.line.length ? 'not-restarted' : stop(['disable', '--now']);
  if (value('LoadState') === 'not-found' || value('ActiveState') === 'deactivating') return 'not-restarted';
  const mainPid = Number(value('MainPID'));
  if (mainPid !== 0 && !reaches(search, mainPid)) return 'not-restarted';
  const triggers = value('TriggeredBy').split(' ').filter(Boolean);
  if (['', 'no', 'on-watchdog'].includes(value('Restart')) && triggers.length === 0) return 'not-restarted';
  const unit = value('Id') || name;
  // Units without a file cannot be disabled; generated ones come back with the next reload unless masked.
  const isTransient = value('Transient') === 'yes' || value('UnitFileState') === 'transient';
  const isGenerated =
    value('UnitFileState') === 'generated' && !value('SourcePath').startsWith('/etc/init.d/');
  const verb = isTransient ? ['stop'] : isGenerated ? ['mask', '--now'] : ['disable', '--now'];
  return stop([...verb, ...triggers], unit);
}
