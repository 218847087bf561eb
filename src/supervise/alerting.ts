/** Joins a run to those who are alerted of it. */
import type { AlertService } from '../alert/service.ts';
import type { Facts } from './facts.ts';
import type { GivenGateway } from './open-gateway.ts';
import type { Running } from './run.ts';
import type { AlertModule, Startup } from './startup.ts';
import { statusDocument } from './status-document.ts';

/** Null: nobody is to be told anything. */
export function openAlerts(
  { config, report, changes, botDir }: Startup,
  module: AlertModule | null,
  parts: {
    readonly facts: Facts;
    readonly running: Running;
    readonly gateway: GivenGateway | null;
    readonly isStray: (reason: string) => boolean;
  },
): AlertService | null {
  const { alerts, apiRoot, token } = config;
  if (!alerts || !module) return null;
  const { facts, running, gateway, isStray } = parts;
  report.line('alert', `problems are told ${module.alertsText(alerts)}`);
  return module.openAlerts({
    ...{ alerts, apiRoot, token, report, facts, changes, running, botDir, isStray },
    secrets: [token, gateway?.token].filter((it) => typeof it === 'string'),
    doc: () => statusDocument(running.loop.state, facts, [], performance.now()),
  });
}
