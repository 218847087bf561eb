// What a standby costs: `standby.ts ENGINE FOLDER`, in a yard, default profile. Last line on stdout: JSON.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { EngineName } from '../support/engines.ts';
import { openScene } from './scene.ts';

export interface StandbyCost {
  readonly engine: EngineName;
  readonly standbyRssMb: number;
  /** The same supervisor, polling without a lease. */
  readonly aloneRssMb: number;
  /** Of one CPU, over the measured minute. */
  readonly cpuPercent: number;
  readonly requestsPerSecond: number;
}

const MEASURED_MS = 60_000;
/** Until start-up and its garbage are over. */
const REST_MS = 15_000;
const TICKS_PER_SECOND = 100;

const rssMb = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/status`, 'latin1').match(/^VmRSS:\s+(\d+)/m)?.[1]) / 1_024;
/** utime and stime of proc(5). */
const cpuMs = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
};

const [engine = '', dir = ''] = process.argv.slice(2);
const scene = await openScene(engine as EngineName, 'default', dir);
const { b: standby } = await scene.pair();
const other = await scene.machine('D');
await other.start({ alone: true, env: { TELEGRAM_BOT_TOKEN: scene.sandbox.addBot() } });
await other.run.waitFor(/polls/);
await pause(REST_MS);
const before = { cpuMs: cpuMs(standby.run.pid), pieces: standby.line.pieces() };
await pause(MEASURED_MS);
const result: StandbyCost = {
  engine: engine as EngineName,
  standbyRssMb: rssMb(standby.run.pid),
  aloneRssMb: rssMb(other.run.pid),
  cpuPercent: ((cpuMs(standby.run.pid) - before.cpuMs) / MEASURED_MS) * 100,
  requestsPerSecond: (standby.line.pieces() - before.pieces) / (MEASURED_MS / 1_000),
};
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
