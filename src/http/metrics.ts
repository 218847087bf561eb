/**
 * `/metrics`: the status document in Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats; names as in
 * prometheus.io/docs/practices/naming), and `/readyz`. Unknown values have no sample, as a zero would be wrong.
 */
import { plain } from '../output/plain.ts';
import type { Tally } from '../supervisor/record.ts';
import type { RunState, StatusDocument } from '../supervisor/status.ts';

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];
/** Null and undefined: unknown. */
type Value = number | boolean | null | undefined | readonly Sample[];

const STATES = ['starting', 'standby', 'polling', 'backoff', 'stopping', 'disabled', 'stopped'] as const;
const GRADES = ['own', 'proven', 'declared', 'likely'] as const;
const ROLES = ['holder', 'standby', 'none'] as const;

/** Name, type and help, in the order of the page. */
export const FAMILIES = `
singlepoll_up gauge 1 while the worker polls, in deploy mode while it runs; 0 otherwise, also in standby.
singlepoll_healthy gauge 1 while status shows no problem.
singlepoll_build_info gauge Always 1: which singlepoll this is, on which Node.
singlepoll_bot_info gauge Always 1: which bot this is.
singlepoll_state gauge 1 for the state that the supervisor is in, 0 for the others.
singlepoll_problems gauge Number of problems that status shows.
singlepoll_problem gauge 1 for each kind of problem that status shows; kinds that do not apply are absent.
singlepoll_worker_alive gauge 1 while the worker process lives.
singlepoll_worker_processes gauge Number of processes in the tree of the worker.
singlepoll_worker_start_time_seconds gauge When the present worker was started.
singlepoll_worker_spawns_total counter Workers started.
singlepoll_worker_restarts_total counter Workers started again, after their end or as asked.
singlepoll_worker_last_exit_timestamp_seconds gauge When a worker last ended.
singlepoll_polls_total counter Polls (getUpdates) of the worker that were answered.
singlepoll_updates_total counter Updates that the worker has received.
singlepoll_updates_stolen_total counter Updates that were probably taken by somebody who polls without waiting.
singlepoll_last_poll_success_timestamp_seconds gauge When a poll of the worker was last answered.
singlepoll_conflicts_total counter Answers 409 to getUpdates, by what was in the way: another poller, or a webhook.
singlepoll_via_gateway gauge 1 while the worker polls through the gateway, 0 past it.
singlepoll_polls_refused_total counter Polls of processes outside of the tree of the worker, turned away.
singlepoll_worker_webhook_attempts_total counter Tries of the worker to set a webhook, turned down.
singlepoll_deaf_replacements_total counter Workers replaced because they lived without polling.
singlepoll_api_latency_seconds gauge How long the Bot API took to answer recent calls, the median.
singlepoll_strays_stopped_total counter Stray pollers of this machine that were stopped.
singlepoll_strays gauge Stray pollers that live on this machine, by grade of proof.
singlepoll_webhooks_cleared_total counter Webhooks that were in the way and were deleted.
singlepoll_webhook_set gauge 1 while a webhook is set, so that nobody can poll.
singlepoll_pending_updates gauge Updates that waited at the Bot API when it was last asked.
singlepoll_alerts_total counter Alerts and digests, by what became of them at each place they go to.
singlepoll_lease_info gauge Always 1: the engine that several machines share.
singlepoll_lease_role gauge 1 for what this machine is in the lease, 0 for the others.
singlepoll_lease_epoch gauge Fencing number of the present or last term.
singlepoll_lease_expiry_timestamp_seconds gauge When another machine may take the lease, unless it is renewed before.
singlepoll_lease_reachable gauge 1 while the engine of the lease answers.
process_start_time_seconds gauge When the supervisor was started, in seconds since the epoch.
process_cpu_seconds_total counter Processor time of the supervisor, user and system, in seconds.
process_resident_memory_bytes gauge Memory of the supervisor.`
  .trim()
  .split('\n')
  .map((line) => /^(\S+) (\S+) (.*)$/.exec(line)!.slice(1) as [string, string, string]);

export function metricsText(doc: StatusDocument, tally: Tally): string {
  const values = valuesOf(doc, tally);
  const lines = FAMILIES.flatMap(([name, type, help]) => {
    const value = values[name.replace(/^singlepoll_/, '').replace(/_total$/, '')] ?? [];
    const samples: readonly Sample[] = typeof value === 'object' ? value : [[{}, Number(value)]];
    const texts = samples.map(([labels, number]) => `${name}${labelText(labels)} ${number}`);
    return texts.length === 0 ? [] : [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...texts];
  });
  return `${lines.join('\n')}\n`;
}

function valuesOf(doc: StatusDocument, tally: Tally): Readonly<Record<string, Value>> {
  const { bot, state, problems, strays, supervisor, worker, polling, webhook, lease, alerts } = doc;
  const cpu = process.cpuUsage();
  // Single polls that bypass the gateway are not seen.
  const seen = polling && (polling.via === 'gateway' || polling.polls > 0) ? polling : null;
  return {
    up: readiness(doc, false).ready,
    healthy: doc.healthy,
    build_info: [[{ version: supervisor?.version ?? 'unknown', node_version: process.version }, 1]],
    bot_info: bot?.id == null ? null : [[{ bot_id: String(bot.id), username: bot.username ?? '' }, 1]],
    state: STATES.map((it) => [{ state: it }, Number(it === state)]),
    problems: problems.length,
    problem: [...new Set(problems.map(({ code }) => code))].map((code) => [{ code }, 1]),
    worker_alive: worker && worker.pid !== null,
    worker_processes: worker?.tree.length,
    worker_start_time_seconds: seconds(worker?.startedAt),
    worker_spawns: worker?.spawns,
    worker_restarts: worker?.restarts,
    worker_last_exit_timestamp_seconds: seconds(worker?.lastExit?.at),
    polls: seen?.polls,
    updates: seen?.updates,
    updates_stolen: seen?.stolen,
    last_poll_success_timestamp_seconds: seconds(polling?.lastPollAt),
    conflicts: byLabel('kind', polling && { ...polling.conflicts }),
    via_gateway: polling && polling.via === 'gateway',
    polls_refused: polling?.refused,
    worker_webhook_attempts: polling?.webhookAttempts,
    deaf_replacements: polling && tally.deafReplaced,
    api_latency_seconds: polling?.latencyMs == null ? null : polling.latencyMs / 1_000,
    strays_stopped: polling && tally.straysStopped,
    strays: polling && GRADES.map((grade) => [{ grade }, strays.filter((it) => it.grade === grade).length]),
    webhooks_cleared: polling && tally.webhooksCleared,
    webhook_set: webhook && webhook.url !== '',
    pending_updates: webhook?.pendingUpdates,
    alerts: byLabel('result', alerts && { sent: alerts.sent, failed: alerts.failed }),
    lease_info: lease && [[{ engine: lease.engine }, 1]],
    lease_role: lease && ROLES.map((role) => [{ role }, Number(role === lease.role)]),
    lease_epoch: lease?.epoch,
    lease_expiry_timestamp_seconds: seconds(lease?.expiresAt),
    lease_reachable: lease?.reachable,
    process_start_time_seconds: performance.timeOrigin / 1_000,
    process_cpu_seconds: (cpu.user + cpu.system) / 1e6,
    process_resident_memory_bytes: process.memoryUsage.rss(),
  };
}

const byLabel = (label: string, values: Readonly<Record<string, number>> | null): Value =>
  values && Object.entries(values).map(([name, value]) => [{ [label]: name }, value]);

/** Seconds since 1970; null: there is no time. */
function seconds(at: string | null | undefined): number | null {
  const ms = Date.parse(at ?? '');
  return Number.isNaN(ms) ? null : ms / 1_000;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const escaped = (text: string) =>
    plain(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

export interface Readiness {
  readonly ready: boolean;
  /** The reason for people; machines read the code. */
  readonly why: string;
}

/** `readyInStandby`: a platform that starts the new copy first stops the old one only when the new one is ready. */
export function readiness(
  { state, worker }: Pick<StatusDocument, 'state' | 'worker'>,
  readyInStandby: boolean,
): Readiness {
  const runs = (worker?.pid ?? null) !== null;
  const answers: Readonly<Record<RunState, Readiness>> = {
    polling: { ready: true, why: 'the worker polls' },
    standby: { ready: readyInStandby, why: 'standing by: another copy may poll' },
    disabled: { ready: runs, why: `deploy mode: ${runs ? 'the worker runs' : 'no worker runs'}` },
    starting: { ready: false, why: 'starting' },
    backoff: { ready: false, why: 'the worker has ended; waiting to start it again' },
    stopping: { ready: false, why: 'stopping' },
    stopped: { ready: false, why: 'stopped' },
  };
  return answers[state];
}
