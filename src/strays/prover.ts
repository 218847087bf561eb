/**
 * Joins what it takes to prove that somebody polls this bot: the API root's addresses, the observer, the ledger, the experiment
 * and the hunt. One for each run or command.
 */

import { parseProcStat, readStat } from '../machine/procfs.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import { type ApiAddresses, findApiAddresses } from './api-addresses.ts';
import { createLedger, type Unseen } from './evidence.ts';
import type { Evidence } from './grade.ts';
import { createHunt, type Hunt, type HuntOptions } from './hunt.ts';
import { listClients, type Observation, type ObserverOptions, observe } from './observer.ts';
import { askWhoPolls, createPokeNumbers, type ExperimentOptions, measure, type Outcome } from './prove.ts';

export interface ProverOptions {
  readonly api: BotApi;
  readonly apiRoot: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where older addresses of the API root are kept; null: nowhere. */
  readonly addressFile: string | null;
  readonly ownersOf: (inodes: readonly number[]) => Promise<ReadonlyMap<number, readonly number[]>>;
  /** What processes run, to compare. */
  readonly commands: () => Promise<(pid: number) => string | null>;
  /** Whose connections are ours: this process, the worker's tree. */
  readonly isOurs: (pid: number) => boolean;
}

export interface Prover {
  experiment(
    asks: Pick<
      ExperimentOptions,
      'beforeFirst' | 'isEnough' | 'isSuspect' | 'onLate' | 'holders' | 'totalMs' | 'signal'
    >,
  ): Promise<Outcome>;
  hunt(asks: Pick<HuntOptions, 'asks' | 'onReaction' | 'onNobody' | 'onError'>): Hunt;
  /** Notes who is connected now. Null: ss does not work here. */
  look(): Promise<{ readonly connected: number } | null>;
  /** Watches one poll after another that somebody else sends. */
  spy(): Promise<(sentAtMs: number) => Promise<void>>;
  /** What was seen so far, of processes that live now. */
  evidence(): Evidence;
  unseen(): readonly Unseen[];
}

/** Until something was measured: a front end far away. */
const RTT_MS = 200;
const HUNT_POLL_S = 5;
const PING_MS = 3_000;
const RESOLVE_EVERY_MS = 60_000;

export function createProver(options: ProverOptions): Prover {
  const { api } = options;
  const ledger = createLedger();
  const nextPoke = createPokeNumbers();
  let resolved: { readonly addresses: ApiAddresses; readonly atMs: number } | null = null;
  let measured = { rttMs: RTT_MS, conflictBytes: null as number | null };

  async function ping(): Promise<void> {
    const answer = await measure(api, AbortSignal.timeout(PING_MS));
    if (answer.kind === 'ok') measured = answer;
  }

  /** Resolved and remembered once in a while: a hunt looks several times a second. */
  async function observerOptions(): Promise<ObserverOptions> {
    const { apiRoot, env, addressFile: file, ...eyes } = options;
    if (!resolved || performance.now() - resolved.atMs > RESOLVE_EVERY_MS) {
      const addresses = await findApiAddresses({ apiRoot, env, file });
      resolved = { addresses, atMs: performance.now() };
    }
    return { addresses: resolved.addresses, ...eyes };
  }

  async function look(): Promise<Observation | null> {
    return await observe(await observerOptions());
  }

  return {
    async look() {
      const clients = await listClients(await observerOptions());
      if (clients) ledger.connected(clients);
      return clients && { connected: clients.length };
    },
    async spy() {
      await ping();
      const observation = await look();
      if (observation) ledger.connected(observation.clients);
      return async (sentAtMs) => {
        const number = nextPoke();
        await observation
          ?.poked(
            { sentAtMs, ...measured },
            (seen) => ledger.reacted(number, seen),
            new AbortController().signal,
          )
          .finally(() => observation.stop());
      };
    },
    experiment: (asks) =>
      askWhoPolls(
        {
          ...asks,
          api,
          ledger,
          observe: look,
          isAlive,
          onMeasured: (it) => {
            measured = it;
          },
        },
        nextPoke,
      ),
    hunt: (asks) =>
      createHunt({
        ...asks,
        async observe() {
          if (measured.conflictBytes === null) await ping();
          return await look();
        },
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
