// Faults that strike singlepoll and `etcdctl lock` alike.
import type { Machine } from './machine.ts';
import type { Scene } from './scene.ts';

export type Program = 'singlepoll' | 'etcdctl lock';
export const PROGRAMS: readonly Program[] = ['singlepoll', 'etcdctl lock'];

interface Strike {
  readonly text: string;
  strike(scene: Scene, holder: Machine): unknown;
  mend?(scene: Scene, holder: Machine): unknown;
  readonly mendAfterMs: number;
  /** From the fault on. */
  readonly watchMs: number;
}

export type CommonFault = 'sigterm' | 'sigkill' | 'crash' | 'sigstop' | 'frozen';

/** ms */
export const COMMON_FAULTS: Readonly<Record<CommonFault, Strike>> = {
  sigterm: {
    text: 'SIGTERM to the program that holds it',
    strike: (_scene, holder) => holder.run.signal('SIGTERM'),
    ...{ mendAfterMs: 0, watchMs: 20_000 },
  },
  crash: {
    text: 'SIGKILL of the program and its worker',
    strike: (_scene, holder) => holder.crash(),
    ...{ mendAfterMs: 0, watchMs: 20_000 },
  },
  sigkill: {
    text: 'SIGKILL of the program alone',
    strike: (_scene, holder) => holder.run.signal('SIGKILL'),
    ...{ mendAfterMs: 0, watchMs: 30_000 },
  },
  sigstop: {
    text: 'SIGSTOP of the program for 20 s',
    strike: (_scene, holder) => holder.freeze('supervisor'),
    mend: (_scene, holder) => holder.thaw(),
    ...{ mendAfterMs: 20_000, watchMs: 30_000 },
  },
  frozen: {
    text: 'etcd frozen for 25 s',
    strike: ({ engine }) => engine.pause(),
    mend: ({ engine }) => engine.resume(),
    ...{ mendAfterMs: 25_000, watchMs: 45_000 },
  },
};
