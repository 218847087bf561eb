// The same fault for singlepoll and for `etcdctl lock`: `rival.ts PROGRAM FAULT FOLDER`, in a yard with an etcd. Last line on stdout:
// JSON.
import { setTimeout as pause } from 'node:timers/promises';
import { COMMON_FAULTS, type CommonFault, type Program } from './common-faults.ts';
import { openScene } from './scene.ts';
import type { Verdict } from './verdict.ts';
import { YARD_ADDRESS } from './yard.ts';

export interface Compared {
  readonly program: Program;
  readonly fault: CommonFault;
  /** From the fault to the first line of the other machine's worker; null: none came. */
  readonly takeoverMs: number | null;
  readonly verdict: Verdict;
}

const [program, fault, dir] = process.argv.slice(2) as [Program, CommonFault, string];
const scene = await openScene('etcd', 'default', dir);
const lock = (port: number) => ['etcdctl', '--endpoints', `http://${YARD_ADDRESS}:${port}`, 'lock', 'bot'];
const [a, b] = [await scene.machine('A'), await scene.machine('B')];
const startOn = (machine: typeof a) =>
  machine.start(program === 'etcdctl lock' ? { rival: lock(machine.line.port) } : {});
await startOn(a);
await scene.pollOf(a, 0);
scene.flow();
await startOn(b);
if (program === 'singlepoll') await b.run.waitFor(/standing by/);
await scene.served(12);
const atMs = scene.fault();
const { strike, mend, mendAfterMs, watchMs } = COMMON_FAULTS[fault];
await strike(scene, a);
if (mend) {
  await pause(mendAfterMs);
  await mend(scene, a);
}
await pause(watchMs - (mend ? mendAfterMs : 0));
await scene.settle();
const next = scene.journal().find(({ ev, name, at }) => ev === 'start' && name === 'B' && at > atMs);
const result: Compared = {
  ...{ program, fault, takeoverMs: next ? next.at - atMs : null },
  verdict: scene.verdict(),
};
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
