// The time of a hand-over, again and again: `handover.ts ENGINE PROFILE ROUNDS CRASHES FOLDER`, in a yard. SIGTERM to the holder; from
// the end of its worker to the first instruction of the next one, and to its first line of JavaScript, which comes after the start of
// Node. SIGKILL of supervisor and worker: from the signal to the next worker's first line. Last line on stdout: JSON.
import type { LeaseProfile } from '../../src/lease/timing.ts';
import type { EngineName } from '../support/engines.ts';
import { randomMoment } from '../support/wait.ts';
import { nowMs } from './journal.ts';
import type { Machine } from './machine.ts';
import { WORKER } from './machine.ts';
import { openScene } from './scene.ts';

export interface Handovers {
  readonly engine: EngineName;
  readonly profile: LeaseProfile;
  /** ms, one per round. */
  readonly starts: readonly number[];
  readonly handovers: readonly number[];
  readonly takeovers: readonly number[];
  readonly overlapMs: number;
  readonly lost: number;
  readonly updates: number;
}

const [engine = '', profile = '', rounds = '', crashes = '', dir = ''] = process.argv.slice(2);
const scene = await openScene(engine as EngineName, profile as LeaseProfile, dir);
/** Says that it is there, then becomes the worker: perl is there within a few ms. */
const MARKED = [
  ...['perl', '-MTime::HiRes=clock_gettime,CLOCK_MONOTONIC', '-e'],
  'open(J, ">>", $ENV{CHAOS_JOURNAL}); printf J qq({"ev":"begin","name":"%s","pid":%d,"epoch":0,"at":%.3f}\\n), $ENV{CHAOS_NAME}, $$, 1000 * clock_gettime(CLOCK_MONOTONIC); close J; exec @ARGV',
  ...[process.execPath, WORKER],
];
const options = { worker: MARKED };
let { a: holder, b: standby } = await scene.pair({ a: options, b: options });
const starts: number[] = [];
const handovers: number[] = [];
const takeovers: number[] = [];

async function comeBack(gone: Machine): Promise<void> {
  await gone.start(options);
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
  const begin = scene
    .journal()
    .find((line) => line.ev === 'begin' && line.name === standby.name && line.at > askedAtMs);
  if (!begin) throw new Error(`no beginning of the worker of ${standby.name}`);
  starts.push(begin.at - end.at);
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
const result = { engine, profile, starts, handovers, takeovers, overlapMs, lost, updates };
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
