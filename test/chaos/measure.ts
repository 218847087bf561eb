// The commands of `npm run chaos` that measure: each prints a table of Markdown and says whether its promise is kept.
import { spawnSync } from 'node:child_process';
import { LEASE_PROFILES, type LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import { inYard, sideBySide } from './cells.ts';
import type { Handovers, StandbyCost } from './measured.ts';
import { markdown, seconds } from './table.ts';

const HANDOVER_P95_MS = 100;
const TAKEOVER_ROOM_MS = 500;
const STANDBY = { mb: 25, cpuPercent: 0.2, requestsPerSecond: 0.5 };

/** What the start of Node alone needs now: tells how busy the machine is. */
function bareNodeMs(): number {
  const times = Array.from({ length: 9 }, () => {
    const beganMs = performance.now();
    // With nothing of the caller's: more certificates, for one, cost it a while.
    spawnSync(process.execPath, ['-e', '0'], { env: {} });
    return performance.now() - beganMs;
  });
  return quantile(times, 0.5);
}

const kept = (ok: boolean): string => (ok ? 'kept' : 'BROKEN');

/** Nearest rank. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export async function measureHandovers(
  engines: readonly EngineName[],
  profile: LeaseProfile,
  { rounds, crashes }: { rounds: number; crashes: number },
): Promise<boolean> {
  const nodeMs = bareNodeMs();
  const results: Handovers[] = [];
  for (const engine of engines) {
    const args = ['handover', engine, profile, String(rounds), String(crashes)];
    results.push((await inYard<Handovers>(args, 3_600_000)).value);
  }
  const limitMs = LEASE_PROFILES[profile].ttlMs + TAKEOVER_ROOM_MS;
  const good = (one: Handovers) =>
    one.overlapMs === 0 &&
    one.lost === 0 &&
    (rounds === 0 || quantile(one.starts, 0.95) <= HANDOVER_P95_MS) &&
    (crashes === 0 || Math.max(...one.takeovers) <= limitMs);
  const ms = (value: number) => (Number.isNaN(value) ? '' : value.toFixed(0));
  const s = (value: number) => (Number.isFinite(value) ? seconds(value) : '');
  console.log(
    markdown(
      [
        ...['engine', 'rounds', 'hand-over p50 (ms)', 'p95 (ms)', 'first line of Node p50 (ms)', 'p95 (ms)'],
        ...['crashes', 'take-over p50 (s)', 'most (s)', 'overlap (ms)', 'updates lost', 'verdict'],
      ],
      results.map((one) => [
        ...[one.engine, String(rounds), ms(quantile(one.starts, 0.5)), ms(quantile(one.starts, 0.95))],
        ...[ms(quantile(one.handovers, 0.5)), ms(quantile(one.handovers, 0.95)), String(crashes)],
        ...[s(quantile(one.takeovers, 0.5)), s(quantile(one.takeovers, 1))],
        ...[one.overlapMs.toFixed(0), `${one.lost} of ${one.updates}`],
        kept(good(one)),
      ]),
    ),
  );
  console.log(
    `\n${profile} profile. Hand-over: SIGTERM to the holder; from the end of its worker to the first instruction of the next one; its first line of JavaScript comes after the start of Node (here alone: ${nodeMs.toFixed(0)} ms). Take-over: SIGKILL of supervisor and worker; from the signal. Promised: p95 ${HANDOVER_P95_MS} ms, ${limitMs / 1_000} s.`,
  );
  return results.every(good);
}

export async function measureStandbys(engines: readonly EngineName[], jobs: number): Promise<boolean> {
  const results = await sideBySide(engines, jobs, async (engine) => {
    return (await inYard<StandbyCost>(['standby', engine])).value;
  });
  const good = ({ standbyRssMb, aloneRssMb, cpuPercent, requestsPerSecond }: StandbyCost) =>
    standbyRssMb - aloneRssMb <= STANDBY.mb &&
    cpuPercent < STANDBY.cpuPercent &&
    requestsPerSecond <= STANDBY.requestsPerSecond;
  console.log(
    markdown(
      ['engine', 'standby (MB)', 'without a lease (MB)', 'more (MB)', 'CPU (%)', 'requests per s', 'verdict'],
      results.map((one) => [
        ...[one.engine, one.standbyRssMb.toFixed(1), one.aloneRssMb.toFixed(1)],
        ...[(one.standbyRssMb - one.aloneRssMb).toFixed(1), one.cpuPercent.toFixed(2)],
        ...[one.requestsPerSecond.toFixed(2), kept(good(one))],
      ]),
    ),
  );
  const { mb, cpuPercent, requestsPerSecond } = STANDBY;
  console.log(
    `\nOver a minute, default profile. Promised: ${mb} MB more at most, under ${cpuPercent} % CPU, ${requestsPerSecond} requests per second at most.`,
  );
  return results.every(good);
}
