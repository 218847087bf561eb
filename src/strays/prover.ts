/**
 * Joins what it takes to prove that somebody polls this bot: the API root's addresses, the observer, the ledger, the experiment
 * and the hunt. One for each run or command.
 */

import { readStat } from '../machine/procfs.ts';
import { parseProcStat } from '../machine/procstat.ts';
import type { BotApi } from '../telegram/api.ts';
import { findApiAddresses } from './api-addresses.ts';
import { createLedger, type Unseen } from './evidence.ts';
import type { Evidence } from './grade.ts';
import { createHunt, type Hunt, type HuntOptions } from './hunt.ts';
import { type Observation, observe } from './observer.ts';
import { askWhoPolls, createPokeNumbers, type ExperimentOptions, type Outcome } from './prove.ts';

export interface ProverOptions {
  readonly api: BotApi;
  readonly apiRoot: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where older addresses of the API root are kept; null: nowhere. */
  readonly addressFile: string | null;
  readonly ownersOf: (inodes: readonly number[]) => Promise<ReadonlyMap<number, readonly number[]>>;
  /** Whose connections are ours: this process, the worker's tree. */
  readonly isOurs: (pid: number) => boolean;
}

export interface Prover {
  experiment(
    asks: Pick<ExperimentOptions, 'beforeFirst' | 'isEnough' | 'onLate' | 'holders' | 'signal'>,
  ): Promise<Outcome>;
  hunt(asks: Pick<HuntOptions, 'asks' | 'onReaction' | 'onNobody' | 'onError'>): Hunt;
  /** Who is connected now, and who of them reacts to a poll that goes out; null: ss does not work here. */
  observe(): Promise<Observation | null>;
  /** What was seen so far, of processes that live now. */
  evidence(): Evidence;
  unseen(): readonly Unseen[];
}

/** Until something was measured: a front end far away. */
const RTT_MS = 200;
const HUNT_POLL_S = 5;

export function createProver(options: ProverOptions): Prover {
  const { api } = options;
  const ledger = createLedger();
  const nextPoke = createPokeNumbers();
  let measured = { rttMs: RTT_MS, conflictBytes: null as number | null };

  async function look(): Promise<Observation | null> {
    const { apiRoot, env, addressFile: file, isOurs, ownersOf } = options;
    return await observe({ addresses: await findApiAddresses({ apiRoot, env, file }), isOurs, ownersOf });
  }

  return {
    observe: look,
    experiment: (asks) =>
      askWhoPolls(
        {
          ...asks,
          api,
          ledger,
          observe: look,
          onMeasured: (it) => {
            measured = it;
          },
        },
        nextPoke,
      ),
    hunt: (asks) =>
      createHunt({
        ...asks,
        observe: look,
        ledger,
        nextPoke,
        measured: () => measured,
        async ask() {
          const params = { timeout: HUNT_POLL_S, limit: 1 };
          await api.call('getUpdates', params, { timeoutMs: (HUNT_POLL_S + 5) * 1_000 });
        },
      }),
    evidence: () => ledger.evidence(isAlive),
    unseen: () => ledger.unseen(),
  };
}

function isAlive({ pid, startId }: { readonly pid: number; readonly startId: string }): boolean {
  return parseProcStat(readStat(pid) ?? '')?.startId === startId;
}
