/** `/metrics`: what the numbers are, that nothing unknown becomes a number, and that the format holds whatever the texts are. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RunState, StatusDocument } from '../../src/core/status.ts';
import type { Figures } from '../../src/http/figures.ts';
import { metricsText } from '../../src/http/metrics.ts';
import { sampleLease, sampleStatus, sampleStray } from '../support/status-sample.ts';

const FIGURES: Figures = {
  straysStopped: 9,
  webhooksCleared: 10,
  deafReplaced: 11,
  nodeVersion: 'v20.20.0',
  startedAtSeconds: 1_800_000_000.5,
  cpuSeconds: 1.25,
  residentBytes: 50_000_000,
};

/** Series → value. Fails where a series comes twice, or before its HELP and TYPE. */
function series(more: Partial<StatusDocument> = {}): Map<string, number> {
  const found = new Map<string, number>();
  const described = new Set<string>();
  const text = metricsText(sampleStatus(more), FIGURES);
  assert.ok(text.endsWith('\n'));
  for (const line of text.trimEnd().split('\n')) {
    const [, kind, name] = /^# (HELP|TYPE) (\S+) \S/.exec(line) ?? [];
    if (kind !== undefined) {
      assert.ok(!described.has(`${kind} ${name}`), `${line}: twice`);
      described.add(`${kind} ${name}`);
      continue;
    }
    const [, family, labels = '', value] = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line) ?? [];
    assert.ok(family !== undefined, `no sample: ${line}`);
    assert.ok(described.has(`HELP ${family}`) && described.has(`TYPE ${family}`), line);
    assert.ok(!found.has(family + labels), `${line}: twice`);
    found.set(family + labels, Number(value));
  }
  return found;
}

describe('metrics', () => {
  test('of a healthy run', () => {
    const seen = series();
    const wanted: [string, number][] = [
      ['singlepoll_up', 1],
      ['singlepoll_healthy', 1],
      ['singlepoll_build_info{version="1.2.3",node_version="v20.20.0"}', 1],
      ['singlepoll_bot_info{bot_id="123456",username="my_bot"}', 1],
      ['singlepoll_state{state="polling"}', 1],
      ['singlepoll_state{state="standby"}', 0],
      ['singlepoll_problems', 0],
      ['singlepoll_worker_alive', 1],
      ['singlepoll_worker_processes', 2],
      ['singlepoll_worker_start_time_seconds', Date.parse('2026-11-21T11:59:00Z') / 1000],
      ['singlepoll_worker_spawns_total', 3],
      ['singlepoll_worker_restarts_total', 2],
      ['singlepoll_worker_last_exit_timestamp_seconds', Date.parse('2026-11-21T11:58:59Z') / 1000],
      ['singlepoll_polls_total', 40],
      ['singlepoll_updates_total', 7],
      ['singlepoll_updates_stolen_total', 9],
      ['singlepoll_last_poll_success_timestamp_seconds', Date.parse('2026-11-21T11:59:30Z') / 1000],
      ['singlepoll_conflicts_total{kind="poller"}', 4],
      ['singlepoll_conflicts_total{kind="webhook"}', 1],
      ['singlepoll_via_gateway', 1],
      ['singlepoll_polls_refused_total', 5],
      ['singlepoll_worker_webhook_attempts_total', 6],
      ['singlepoll_deaf_replacements_total', 11],
      ['singlepoll_api_latency_seconds', 0.0125],
      ['singlepoll_strays_stopped_total', 9],
      ['singlepoll_strays{grade="proven"}', 0],
      ['singlepoll_webhooks_cleared_total', 10],
      ['singlepoll_webhook_set', 0],
      ['singlepoll_pending_updates', 8],
      ['process_start_time_seconds', 1_800_000_000.5],
      ['process_cpu_seconds_total', 1.25],
      ['process_resident_memory_bytes', 50_000_000],
    ];
    for (const [name, value] of wanted) assert.equal(seen.get(name), value, name);
    assert.ok(![...seen.keys()].some((name) => name.includes('lease')));
  });

  test('exactly one state is 1, in every state; up is 1 only where a worker does its work', () => {
    const up: Record<RunState, number> = {
      starting: 0,
      standby: 0,
      polling: 1,
      backoff: 0,
      stopping: 0,
      disabled: 1,
      stopped: 0,
    };
    for (const [state, wanted] of Object.entries(up)) {
      const seen = series({ state: state as RunState });
      const ones = [...seen].filter(([name, value]) => name.startsWith('singlepoll_state{') && value === 1);
      assert.deepEqual(ones, [[`singlepoll_state{state="${state}"}`, 1]]);
      assert.equal(seen.get('singlepoll_up'), wanted, state);
    }
    const dead = { ...sampleStatus().worker!, pid: null };
    assert.equal(series({ state: 'disabled', worker: dead }).get('singlepoll_up'), 0);
  });

  test('the lease: role, epoch, expiry; what is not known is absent', () => {
    const seen = series({ lease: sampleLease });
    assert.equal(seen.get('singlepoll_lease_info{engine="redis"}'), 1);
    assert.equal(seen.get('singlepoll_lease_role{role="holder"}'), 1);
    assert.equal(seen.get('singlepoll_lease_role{role="standby"}'), 0);
    assert.equal(seen.get('singlepoll_lease_epoch'), 7);
    assert.equal(
      seen.get('singlepoll_lease_expiry_timestamp_seconds'),
      Date.parse('2026-11-21T12:00:12.500Z') / 1000,
    );
    assert.equal(seen.get('singlepoll_lease_reachable'), 1);
    const unknown = series({ lease: { ...sampleLease, epoch: null, expiresAt: null, reachable: null } });
    for (const name of ['epoch', 'expiry_timestamp_seconds', 'reachable'])
      assert.ok(!unknown.has(`singlepoll_lease_${name}`), name);
    assert.equal(
      series({ lease: { ...sampleLease, reachable: false } }).get('singlepoll_lease_reachable'),
      0,
    );
  });

  test('what nobody has seen has no sample: no poll yet, no worker, polls past the gateway, deploy mode', () => {
    const { polling, worker } = sampleStatus();
    const none = series({ polling: { ...polling!, lastPollAt: null, latencyMs: null } });
    assert.ok(!none.has('singlepoll_last_poll_success_timestamp_seconds'));
    assert.ok(!none.has('singlepoll_api_latency_seconds'));
    const past = series({ polling: { ...polling!, via: 'direct', polls: 0, updates: 0, lastPollAt: null } });
    assert.ok(!past.has('singlepoll_polls_total') && !past.has('singlepoll_updates_total'));
    assert.equal(past.get('singlepoll_via_gateway'), 0);
    assert.equal(past.get('singlepoll_conflicts_total{kind="poller"}'), 4);
    const dead = series({ worker: { ...worker!, pid: null, startedAt: null, lastExit: null } });
    assert.equal(dead.get('singlepoll_worker_alive'), 0);
    assert.ok(!dead.has('singlepoll_worker_start_time_seconds'));
    const early = series({ bot: null, worker: null, polling: null, webhook: null, state: 'starting' });
    assert.equal(early.get('singlepoll_up'), 0);
    assert.ok(![...early.keys()].some((name) => /bot_info|_worker|_poll|webhook/.test(name)));
  });

  test('alerts: by what became of them; absent where none are sent', () => {
    const seen = series({
      alerts: { sent: 3, failed: 1, waiting: 2, lastError: 'hooks.example.com: HTTP 500' },
    });
    assert.equal(seen.get('singlepoll_alerts_total{result="sent"}'), 3);
    assert.equal(seen.get('singlepoll_alerts_total{result="failed"}'), 1);
    assert.ok(![...series().keys()].some((name) => name.includes('alerts')));
  });

  test('problems: how many, and each kind once', () => {
    const problem = (code: string) => ({ code, message: 'x' });
    const seen = series({
      healthy: false,
      problems: [problem('stray'), problem('webhook-set'), problem('webhook-set')],
    });
    assert.equal(seen.get('singlepoll_healthy'), 0);
    assert.equal(seen.get('singlepoll_problems'), 3);
    assert.equal(seen.get('singlepoll_problem{code="stray"}'), 1);
    assert.equal(seen.get('singlepoll_problem{code="webhook-set"}'), 1);
    assert.equal(series({ strays: [sampleStray] }).get('singlepoll_strays{grade="proven"}'), 1);
  });

  test('a hostile name stays inside its label', () => {
    const username = 'a"} 1\nsinglepoll_up 0\\\u001b[31m';
    const seen = series({ bot: { id: 1, username } });
    assert.equal(seen.get('singlepoll_up'), 1);
    const name = [...seen.keys()].find((it) => it.startsWith('singlepoll_bot_info'));
    assert.match(name ?? '', /username="a\\"\} 1\\\\nsinglepoll_up 0\\\\*\\\\e\[31m"\}$/);
  });
});
