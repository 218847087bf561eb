/**
 * Containers: docker (also compose and swarm), podman, and pods of Kubernetes, told by the stray's cgroup.
 * Only the container's main process counts: what was started in it by hand (`docker exec`) may die without the
 * engine caring. Facts: docker restart policies, compose labels, podman-systemd labels, kubelet's container labels.
 */
import type { Proc } from '../../strays/process.ts';
import { type ContainerEngine, type Layer, layersOf } from './cgroup.ts';
import {
  accountOf,
  ask,
  askAs,
  type Inquiry,
  inquiryOf,
  member,
  parseJson,
  respawner,
  textMember,
  type Verdict,
} from './inquiry.ts';
import { programOf, reaches } from './lineage.ts';
import type { Account, Step } from './shell.ts';
import { nameUnit, suspectUnit } from './systemd.ts';

export interface ContainerSuspicion {
  readonly engine: ContainerEngine;
  readonly id: string;
  /** The pod that the container belongs to; null outside Kubernetes. */
  readonly podUid: string | null;
  /** Owner of a rootless engine; null: the machine's own. */
  readonly userUid: number | null;
}

/** What the engine says of a container; null members where it does not. */
export interface ContainerFacts {
  readonly name: string;
  readonly mainPid: number | null;
  readonly restarts: boolean;
  readonly labels: unknown;
}

/** The container that the layers end in. */
export function suspectContainer(layers: readonly Layer[]): ContainerSuspicion | null {
  const leaf = layers.at(-1);
  if (leaf?.type === 'pod') return { engine: 'containerd', id: '', podUid: leaf.uid, userUid: null };
  if (leaf?.type !== 'container') return null;
  const outer = layers.slice(0, -1);
  const pod = outer.findLast((layer) => layer.type === 'pod');
  const user = outer.findLast((layer) => layer.type === 'user');
  return {
    engine: leaf.engine,
    id: leaf.id,
    podUid: pod?.type === 'pod' ? pod.uid : null,
    userUid: user?.type === 'user' ? user.uid : null,
  };
}

/** Asks the engine for name, policy and labels; goes by the cgroup alone where it does not answer. */
export async function nameContainer(suspicion: ContainerSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const startedByHand = inquiry.lineage.sessionEnd < inquiry.lineage.line.length;
  if (suspicion.podUid !== null) return startedByHand ? 'stops-here' : namePod(suspicion, inquiry);
  const account = await engineAccount(suspicion, inquiry);
  const facts = await inspectContainer(suspicion, inquiry);
  if (facts === null) {
    if (startedByHand) return 'stops-here';
    return stopContainer(suspicion, suspicion.id.slice(0, 12), inquiry, account ?? { uid: 0, name: 'root' });
  }
  if (facts.mainPid !== null && !reaches(inquiry.lineage, facts.mainPid)) return 'stops-here';
  return byLabels(suspicion, facts, inquiry, account);
}

async function byLabels(
  suspicion: ContainerSuspicion,
  facts: ContainerFacts,
  inquiry: Inquiry,
  account: Account | null,
): Promise<Verdict> {
  const label = (name: string) => textMember(facts.labels, name);
  const swarm = label('com.docker.swarm.service.name');
  if (swarm !== null) {
    const words = ['docker', 'service', 'scale', `${swarm}=0`];
    return respawner(inquiry, 'docker swarm', swarm, [{ words }], account);
  }
  const pod = label('io.kubernetes.pod.name');
  if (pod !== null) return stopPod(label('io.kubernetes.pod.namespace') ?? 'default', pod, inquiry);
  const unit = label('PODMAN_SYSTEMD_UNIT');
  if (unit !== null) return nameUnit({ unit, userUid: suspicion.userUid, machine: null }, inquiry);
  if (!facts.restarts) return (await nameForeground(facts.name, inquiry)) ?? 'look-further';
  const project = label('com.docker.compose.project');
  const service = label('com.docker.compose.service');
  if (suspicion.engine === 'docker' && project !== null && service !== null) {
    const words = ['docker', 'compose', '-p', project, 'stop', service];
    return respawner(inquiry, 'docker compose', `${project}/${service}`, [{ words }], account);
  }
  return stopContainer(suspicion, facts.name, inquiry, account);
}

function stopContainer(
  suspicion: ContainerSuspicion,
  name: string,
  inquiry: Inquiry,
  account: Account | null,
): Verdict {
  const tool = toolOf(suspicion.engine);
  const stop: Step = { words: [tool, 'stop', name] };
  // podman has no daemon that starts a stopped container again, and learnt `update --restart` only in version 5.
  const steps = tool === 'podman' ? [stop] : [{ words: [tool, 'update', '--restart=no', name] }, stop];
  return respawner(inquiry, tool === 'nerdctl' ? 'containerd' : tool, name, steps, account);
}

/** A unit that runs `docker run NAME` in its foreground brings the container back whatever its own policy says. */
async function nameForeground(name: string, inquiry: Inquiry): Promise<Verdict | null> {
  for (const client of inquiry.ctx.byPid.values()) {
    if (!isForegroundClient(client, name)) continue;
    const unit = suspectUnit(layersOf(inquiry.ctx.readCgroup(client.pid)));
    if (unit !== null) return nameUnit(unit, inquiryOf(client, client, inquiry.ctx));
  }
  return null;
}

function isForegroundClient(proc: Proc, name: string): boolean {
  if (!['docker', 'podman'].includes(programOf(proc))) return false;
  const verb = proc.argv.find((word) => ['run', 'start', 'attach'].includes(word));
  return verb !== undefined && proc.argv.some((word) => word === name || word === `--name=${name}`);
}

/** Asks the engine; null where it is not there, not ours to ask, or does not know the container. */
export async function inspectContainer(
  suspicion: ContainerSuspicion,
  inquiry: Inquiry,
): Promise<ContainerFacts | null> {
  const account = await engineAccount(suspicion, inquiry);
  const words = [toolOf(suspicion.engine), 'inspect', suspicion.id];
  const answer =
    account === null
      ? await ask(inquiry, words[0]!, words.slice(1))
      : await askAs(inquiry, account, { words });
  const list = parseJson(answer);
  const found: unknown = Array.isArray(list) ? list[0] : null;
  const name = textMember(found, 'Name')?.replace(/^\//, '') ?? null;
  if (name === null) return null;
  const mainPid = member(found, 'State', 'Pid');
  const policy = textMember(found, 'HostConfig', 'RestartPolicy', 'Name') ?? 'no';
  return {
    name,
    mainPid: typeof mainPid === 'number' && mainPid > 0 ? mainPid : null,
    restarts: policy !== 'no',
    labels: member(found, 'Config', 'Labels') ?? {},
  };
}

/** Whose engine it is, where that is another account than ours by necessity (rootless engines). */
async function engineAccount(suspicion: ContainerSuspicion, inquiry: Inquiry): Promise<Account | null> {
  if (suspicion.userUid !== null) return accountOf(inquiry, suspicion.userUid);
  return suspicion.engine === 'podman' ? { uid: 0, name: 'root' } : null;
}

/** The command line tool that reaches an engine. */
export function toolOf(engine: ContainerEngine): 'docker' | 'podman' | 'nerdctl' {
  return engine === 'containerd' ? 'nerdctl' : engine;
}

async function namePod(suspicion: ContainerSuspicion, inquiry: Inquiry): Promise<Verdict> {
  const answer =
    suspicion.id === '' ? null : parseJson(await ask(inquiry, 'crictl', ['inspect', suspicion.id]));
  const pod = textMember(answer, 'status', 'labels', 'io.kubernetes.pod.name');
  const namespace = textMember(answer, 'status', 'labels', 'io.kubernetes.pod.namespace');
  if (pod !== null) return stopPod(namespace ?? 'default', pod, inquiry);
  // Nobody here knows the pod's name: the command finds it; its owner is then to be scaled to 0.
  const query = `jsonpath={range .items[?(@.metadata.uid=="${suspicion.podUid}")]}{.metadata.namespace}/{.metadata.name} of {.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}{"\\n"}{end}`;
  return respawner(inquiry, 'kubernetes', `pod ${suspicion.podUid}`, [
    { words: ['kubectl', 'get', 'pods', '-A', '-o', query] },
  ]);
}

/** A pod comes back as long as its owner wants it: the owner follows from the shape of the pod's name. */
function stopPod(namespace: string, pod: string, inquiry: Inquiry): Verdict {
  const deployment = /^(.+)-[a-z0-9]{6,10}-[a-z0-9]{5}$/.exec(pod)?.[1];
  const stateful = /^(.+)-\d{1,4}$/.exec(pod)?.[1];
  const owner =
    deployment !== undefined
      ? `deployment/${deployment}`
      : stateful !== undefined
        ? `statefulset/${stateful}`
        : null;
  const words = owner === null ? ['delete', 'pod', pod] : ['scale', owner, '--replicas=0'];
  return respawner(inquiry, 'kubernetes', `${namespace}/${pod}`, [
    { words: ['kubectl', '-n', namespace, ...words] },
  ]);
}
