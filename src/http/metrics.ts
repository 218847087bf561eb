/**
 * `/metrics`: the status document in Prometheus' text format, version 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats), names by prometheus.io/docs/practices/naming. Pure.
 * What is not known has no sample: a zero would be a claim.
 */
import type { RunState, StatusDocument } from '../core/status.ts';
import { plain } from '../output/plain.ts';
import type { Figures } from './figures.ts';
import { readiness } from './ready.ts';

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [Labels, number];
type Value = number | boolean | null | readonly Sample[];

const STATES: readonly RunState[] = [
  'starting',
  'standby',
  'polling',
  'backoff',
  'stopping',
  'disabled',
  'stopped',
];
const GRADES = ['own', 'proven', 'declared', 'likely'] as const;
const ROLES = ['holder', 'standby', 'none'] as const;

export function metricsText(doc: StatusDocument, figures: Figures): string {
  const families: string[] = [];
  const family = (type: 'gauge' | 'counter', name: string, help: string, value: Value) => {
    const samples = toSamples(value);
    if (samples.length === 0) return;
    const lines = samples.map(([labels, number]) => `${name}${labelText(labels)} ${numberText(number)}`);
    families.push([`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n'));
  };
  const gauge = (name: string, help: string, value: Value) =>
    family('gauge', `singlepoll_${name}`, help, value);
  const counter = (name: string, help: string, value: Value) =>
    family('counter', `singlepoll_${name}_total`, help, value);

  const { bot, worker, polling, webhook, lease } = doc;
  const up = doc.state !== 'standby' && readiness(doc, false).ready;
  gauge('up', '1 while the worker polls, in deploy mode while it runs; 0 otherwise, also in standby.', up);
  gauge('healthy', '1 while status shows no problem.', doc.healthy);
  gauge('build_info', 'Always 1: which singlepoll this is, on which Node.', [
    [{ version: doc.supervisor?.version ?? 'unknown', node_version: figures.nodeVersion }, 1],
  ]);
  const id = bot?.id ?? null;
  gauge(
    'bot_info',
    'Always 1: which bot this is.',
    id === null ? null : [[{ bot_id: String(id), username: bot?.username ?? '' }, 1]],
  );
  gauge(
    'state',
    '1 for the state that the supervisor is in, 0 for the others.',
    STATES.map((state) => [{ state }, Number(state === doc.state)]),
  );
  gauge('problems', 'Number of problems that status shows.', doc.problems.length);
  gauge(
    'problem',
    '1 for each kind of problem that status shows; kinds that do not apply are absent.',
    [...new Set(doc.problems.map((it) => it.code))].map((code) => [{ code }, 1]),
  );

  if (worker) {
    gauge('worker_alive', '1 while the worker process lives.', worker.pid !== null);
    gauge('worker_processes', 'Number of processes in the tree of the worker.', worker.tree.length);
    gauge('worker_start_time_seconds', 'When the present worker was started.', seconds(worker.startedAt));
    counter('worker_spawns', 'Workers started.', worker.spawns);
    counter('worker_restarts', 'Workers started again, after their end or as asked.', worker.restarts);
    gauge(
      'worker_last_exit_timestamp_seconds',
      'When a worker last ended.',
      seconds(worker.lastExit?.at ?? null),
    );
  }

  if (polling) {
    const { conflicts } = polling;
    // Past the gateway single polls are not seen.
    const seen = polling.via === 'gateway' || polling.polls > 0;
    counter('polls', 'Polls (getUpdates) of the worker that were answered.', seen ? polling.polls : null);
    counter('updates', 'Updates that the worker has received.', seen ? polling.updates : null);
    counter(
      'updates_stolen',
      'Updates that were probably taken by somebody who polls without waiting.',
      seen ? polling.stolen : null,
    );
    gauge(
      'last_poll_success_timestamp_seconds',
      'When a poll of the worker was last answered.',
      seconds(polling.lastPollAt),
    );
    counter('conflicts', 'Answers 409 to getUpdates, by what was in the way: another poller, or a webhook.', [
      [{ kind: 'poller' }, conflicts.poller],
      [{ kind: 'webhook' }, conflicts.webhook],
    ]);
    gauge(
      'via_gateway',
      '1 while the worker polls through the gateway, 0 past it.',
      polling.via === 'gateway',
    );
    counter(
      'polls_refused',
      'Polls of processes outside of the tree of the worker, turned away.',
      polling.refused,
    );
    counter(
      'worker_webhook_attempts',
      'Tries of the worker to set a webhook, turned down.',
      polling.webhookAttempts,
    );
    counter(
      'deaf_replacements',
      'Workers replaced because they lived without polling.',
      figures.deafReplaced,
    );
    gauge(
      'api_latency_seconds',
      'How long the Bot API took to answer recent calls, the median.',
      polling.latencyMs === null ? null : polling.latencyMs / 1_000,
    );
    counter('strays_stopped', 'Stray pollers of this machine that were stopped.', figures.straysStopped);
    gauge(
      'strays',
      'Stray pollers that live on this machine, by grade of proof.',
      GRADES.map((grade) => [{ grade }, doc.strays.filter((it) => it.grade === grade).length]),
    );
    counter('webhooks_cleared', 'Webhooks that were in the way and were deleted.', figures.webhooksCleared);
  }

  if (webhook) {
    gauge('webhook_set', '1 while a webhook is set, so that nobody can poll.', webhook.url !== '');
    gauge(
      'pending_updates',
      'Updates that waited at the Bot API when it was last asked.',
      webhook.pendingUpdates,
    );
  }

  if (doc.alerts) {
    counter('alerts', 'Alerts and digests, by what became of them at each place they go to.', [
      [{ result: 'sent' }, doc.alerts.sent],
      [{ result: 'failed' }, doc.alerts.failed],
    ]);
  }

  if (lease) {
    const { engine } = lease;
    gauge('lease_info', 'Always 1: the engine that several machines share.', [[{ engine }, 1]]);
    gauge(
      'lease_role',
      '1 for what this machine is in the lease, 0 for the others.',
      ROLES.map((role) => [{ role }, Number(role === lease.role)]),
    );
    gauge('lease_epoch', 'Fencing number of the present or last term.', lease.epoch);
    gauge(
      'lease_expiry_timestamp_seconds',
      'When another machine may take the lease, unless it is renewed before.',
      seconds(lease.expiresAt),
    );
    gauge('lease_reachable', '1 while the engine of the lease answers.', lease.reachable);
  }

  family(
    'gauge',
    'process_start_time_seconds',
    'When the supervisor was started, in seconds since the epoch.',
    figures.startedAtSeconds,
  );
  family(
    'counter',
    'process_cpu_seconds_total',
    'Processor time of the supervisor, user and system, in seconds.',
    figures.cpuSeconds,
  );
  family('gauge', 'process_resident_memory_bytes', 'Memory of the supervisor.', figures.residentBytes);
  return `${families.join('\n')}\n`;
}

function toSamples(value: Value): readonly Sample[] {
  if (value === null) return [];
  return typeof value === 'object' ? value : [[{}, Number(value)]];
}

/** Seconds since 1970; null where there is no time. */
function seconds(at: string | null): number | null {
  const ms = at === null ? Number.NaN : Date.parse(at);
  return Number.isNaN(ms) ? null : ms / 1_000;
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  return Number.isFinite(value) ? String(value) : value > 0 ? '+Inf' : '-Inf';
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${labelValue(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function labelValue(text: string): string {
  return plain(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
