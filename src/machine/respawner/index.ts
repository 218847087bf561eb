/**
 * Names the service manager that would bring a stray back, and the command that stops it there for good.
 * Looks only: nothing is stopped, no manager is started, no file is written. Programs that exist only to run the
 * stray (reloaders, masters, `npm start`, shell loops) belong to its tree and are never named here.
 */
import type { Proc, Respawner } from '../../strays/process.ts';
import type { Layer } from './cgroup.ts';
import {
  type ContainerSuspicion,
  inspectContainer,
  nameContainer,
  suspectContainer,
  toolOf,
} from './container.ts';
import type { RespawnerContext } from './context.ts';
import { nameCron } from './cron.ts';
import { type Inquiry, inquiryOf, type Verdict } from './inquiry.ts';
import { nameLaunchd, suspectLaunchd } from './launchd.ts';
import { nameMonit, suspectMonit } from './monit.ts';
import { nameOther } from './others.ts';
import { nameOvermind, suspectOvermind } from './overmind.ts';
import { namePm2 } from './pm2.ts';
import { commandLine, masked, type Step } from './shell.ts';
import { nameSupervise } from './supervise.ts';
import { nameSupervisord } from './supervisord.ts';
import { type LayerSuspicion, type LineSuspicion, suspect } from './suspect.ts';
import { nameUnit } from './systemd.ts';

export { linuxRespawnerContext, type RespawnerContext } from './context.ts';

/**
 * Finds who would start `stray` again once its tree, whose top is `treeTop`, is stopped. Null: nobody that is known.
 * Asks the suspected manager where its tool is there (each question at most 1.5 s) and goes by the snapshot where not.
 * Never throws; name and command hold no token and no control character.
 */
export async function findRespawner(
  treeTop: Proc,
  stray: Proc,
  ctx: RespawnerContext,
): Promise<Respawner | null> {
  const inquiry = inquiryOf(treeTop, stray, ctx);
  const found = await search(inquiry);
  return found === null
    ? null
    : { kind: found.kind, name: masked(found.name), stopCommand: masked(found.stopCommand) };
}

async function search(inquiry: Inquiry): Promise<Respawner | null> {
  const { lineage, layers, ctx } = inquiry;
  const { line, layers: around } = suspect(lineage, layers, inquiry.ownUid);
  if (line !== null) {
    const verdict = await insideContainer(layers, inquiry, (inner) => nameOnLine(line, inner));
    return typeof verdict === 'string' ? null : verdict;
  }
  const overmind = suspectOvermind(lineage, ctx.byPid);
  if (overmind !== null) {
    const verdict = await nameOvermind(overmind, inquiry);
    return typeof verdict === 'string' ? null : verdict;
  }
  for (const layer of around) {
    const verdict = await nameLayer(layer, inquiry);
    if (verdict === 'stops-here') return null;
    if (verdict !== 'look-further') return verdict;
  }
  const end = lineage.line.indexOf(lineage.treeTop) + 1;
  const monit = suspectMonit(lineage.line.slice(0, Math.max(end, 1)), ctx);
  const verdict =
    monit !== null
      ? await nameMonit(monit, inquiry)
      : suspectLaunchd(inquiry)
        ? await nameLaunchd(inquiry)
        : null;
  return verdict === null || typeof verdict === 'string' ? null : verdict;
}

function nameOnLine(suspicion: LineSuspicion, inquiry: Inquiry): Promise<Verdict> {
  switch (suspicion.family) {
    case 'pm2':
      return namePm2(suspicion.is, inquiry);
    case 'supervisord':
      return nameSupervisord(suspicion.is, inquiry);
    case 'supervise':
      return nameSupervise(suspicion.is, inquiry);
    case 'cron':
      return nameCron(suspicion.is, inquiry);
    case 'other':
      return nameOther(suspicion.is, inquiry);
  }
}

function nameLayer(suspicion: LayerSuspicion, inquiry: Inquiry): Promise<Verdict> {
  if (suspicion.family === 'container') return nameContainer(suspicion.is, inquiry);
  return insideContainer(suspicion.outer, inquiry, (inner) => nameUnit(suspicion.is, inner));
}

/**
 * Names a manager that runs in a container that we are not in: its tools and files are not ours to ask, and its
 * command goes through `docker exec`. A pod has no such command; its owner is named in the manager's place.
 */
async function insideContainer(
  layers: readonly Layer[],
  inquiry: Inquiry,
  name: (inner: Inquiry) => Promise<Verdict>,
): Promise<Verdict> {
  const at = layers.findLastIndex((layer) => layer.type === 'container' || layer.type === 'pod');
  const container = at === -1 ? null : suspectContainer(layers.slice(0, at + 1));
  if (container === null) return name(inquiry);
  if (container.podUid !== null) return nameContainer(container, inquiry);
  const { byPid, readCgroup, ownCgroup } = inquiry.ctx;
  const run = async () => ({ code: null, stdout: '' });
  const ctx: RespawnerContext = { byPid, readCgroup, ownCgroup, run, ownUid: inquiry.ownUid };
  const verdict = await name({ ...inquiry, inside: true, ctx });
  return typeof verdict === 'string' ? verdict : throughExec(verdict, container, inquiry);
}

async function throughExec(
  inner: Respawner,
  container: ContainerSuspicion,
  inquiry: Inquiry,
): Promise<Respawner> {
  const facts = await inspectContainer(container, inquiry);
  const name = facts?.name ?? container.id.slice(0, 12);
  const step: Step = { words: [toolOf(container.engine), 'exec', name, 'sh', '-c', inner.stopCommand] };
  const account =
    facts === null || container.engine === 'podman' ? { uid: container.userUid ?? 0, name: 'root' } : null;
  return { ...inner, stopCommand: commandLine([step], inquiry.ownUid, account) };
}
