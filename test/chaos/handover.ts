// The time of a hand-over, again and again: `handover.ts ENGINE PROFILE ROUNDS CRASHES FOLDER`, in a yard. SIGTERM to the holder; from
// the end of its worker to the first line of the next one's (which includes the start of Node). SIGKILL of supervisor and worker;
// from the signal to the next worker's first line. Last line on stdout: JSON.
import type { LeaseProfile } from '../../src/core/lease-timing.ts';
import type { EngineName } from '../support/engines.ts';
import { randomMoment } from '../support/wait.ts';
import { nowMs } from './journal.ts';
import type { Machine } from './machine.ts';
import { openScene } from './scene.ts';

export interface Handovers {
  readonly engine: EngineName;
  readonly profile: LeaseProfile;
  /** ms, one per round. */
  readonly handovers: readonly number[];
  readonly takeovers: readonly number[];
  readonly overlapMs: number;
  readonly lost: number;
  readonly updates: number;
}

const [engine = '', profile = '', rounds = '', crashes = '', dir = ''] = process.argv.slice(2);
const scene = await openScene(engine as EngineName, profile as LeaseProfile, dir);
let { a: holder, b: standby } = await scene.pair();
const handovers: number[] = [];
const takeovers: number[] = [];

async function comeBack(gone: Machine): Promise<void> {
  await gone.start();
  await gone.run.waitFor(/standing by/);
  [holder, standby] = [standby, gone];
  await scene.served(2);
  // At any moment between two renewals.
  await randomMoment(scene.timing.renewMs);
}

for (let round = 0; round < Number(rounds); round++) {
  const askedAtMs = nowMs();
  holder.run.signal('SIGTERM');
  const { at } = await scene.workerOf(standby, askedAtMs);
  const end = scene
    .journal()
    .find((line) => line.ev === 'end' && line.name === holder.name && line.at > askedAtMs);
  if (!end) throw new Error(`no end of the worker of ${holder.name}`);
  handovers.push(at - end.at);
  await holder.run.exit();
  await comeBack(holder);
}
for (let round = 0; round < Number(crashes); round++) {
  const killedAtMs = nowMs();
  holder.crash();
  const { at } = await scene.workerOf(standby, killedAtMs, 2 * scene.timing.ttlMs);
  takeovers.push(at - killedAtMs);
  await comeBack(holder);
}
await scene.settle();
const { overlapMs, lost, updates } = scene.verdict();
const result = { engine, profile, handovers, takeovers, overlapMs, lost, updates };
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
