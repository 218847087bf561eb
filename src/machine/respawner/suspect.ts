/**
 * The first guess at a stray's respawner, from the snapshot alone: the nearest manager on its line of parents,
 * and the cgroup layers around it. Pure; who is right is then asked from the manager itself.
 */
import type { Layer } from './cgroup.ts';
import { type ContainerSuspicion, suspectContainer } from './container.ts';
import { type CronSuspicion, suspectCron } from './cron.ts';
import type { Lineage } from './lineage.ts';
import { type OtherSuspicion, suspectOther } from './others.ts';
import { type Pm2Suspicion, suspectPm2 } from './pm2.ts';
import { type SuperviseSuspicion, suspectSupervise } from './supervise.ts';
import { type SupervisordSuspicion, suspectSupervisord } from './supervisord.ts';
import { suspectUnit, type UnitSuspicion } from './systemd.ts';

/** A manager that is a parent of the stray. */
export type LineSuspicion =
  | { readonly family: 'pm2'; readonly is: Pm2Suspicion }
  | { readonly family: 'supervisord'; readonly is: SupervisordSuspicion }
  | { readonly family: 'supervise'; readonly is: SuperviseSuspicion }
  | { readonly family: 'cron'; readonly is: CronSuspicion }
  | { readonly family: 'other'; readonly is: OtherSuspicion };

/** A manager that put the stray into a cgroup. */
export type LayerSuspicion =
  | { readonly family: 'container'; readonly is: ContainerSuspicion; readonly outer: readonly Layer[] }
  | { readonly family: 'unit'; readonly is: UnitSuspicion; readonly outer: readonly Layer[] };

export interface Suspicions {
  /** The nearest on the line; it comes before every layer, being inside them. */
  readonly line: LineSuspicion | null;
  /** From the innermost outwards. */
  readonly layers: readonly LayerSuspicion[];
}

/** Everything that the snapshot gives reason to suspect, nearest first. */
export function suspect(lineage: Lineage, layers: readonly Layer[], ownUid: number): Suspicions {
  return { line: suspectOnLine(lineage, ownUid), layers: suspectLayers(layers) };
}

function suspectOnLine(lineage: Lineage, ownUid: number): LineSuspicion | null {
  const pm2 = suspectPm2(lineage);
  const supervisord = suspectSupervisord(lineage);
  const supervise = suspectSupervise(lineage);
  const cron = suspectCron(lineage);
  const other = suspectOther(lineage, ownUid);
  const candidates: (readonly [number, LineSuspicion])[] = [];
  // Marks without a daemon on the line are the weakest guess, hence the last place.
  const place = (pid: number | undefined) =>
    pid === undefined ? Number.MAX_SAFE_INTEGER : lineage.line.findIndex((proc) => proc.pid === pid);
  if (pm2 !== null) candidates.push([place(pm2.daemon?.pid), { family: 'pm2', is: pm2 }]);
  if (supervisord !== null)
    candidates.push([place(supervisord.daemon.pid), { family: 'supervisord', is: supervisord }]);
  if (supervise !== null)
    candidates.push([place(supervise.supervisor.pid), { family: 'supervise', is: supervise }]);
  if (cron !== null) candidates.push([place(cron.daemon.pid), { family: 'cron', is: cron }]);
  if (other !== null) candidates.push([place(other.found.manager.pid), { family: 'other', is: other }]);
  candidates.sort((a, b) => a[0] - b[0]);
  return candidates[0]?.[1] ?? null;
}

function suspectLayers(layers: readonly Layer[]): readonly LayerSuspicion[] {
  const suspicions: LayerSuspicion[] = [];
  for (let end = layers.length; end > 0; end -= 1) {
    const upTo = layers.slice(0, end);
    const outer = layers.slice(0, end - 1);
    const container = suspectContainer(upTo);
    const unit = suspectUnit(upTo);
    if (container !== null) suspicions.push({ family: 'container', is: container, outer });
    else if (unit !== null) suspicions.push({ family: 'unit', is: unit, outer });
    // A scope or a hosting service: what is around it did not start the stray.
    else if (upTo.at(-1)?.type !== 'pod') return suspicions;
  }
  return suspicions;
}
