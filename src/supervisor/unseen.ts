/**
 * Of a process that this user may not look into the kernel tells only whose connection reacts to a poll of ours. One reaction may be chance,
 * as another bot's user may write at that moment. So polls of ours are held until they are taken, each watched by a prover of its own.
 */
import type { Prover } from '../strays/prover.ts';
import type { Unseen } from '../strays/reactions.ts';
import type { BotApi } from '../telegram/bot-api.ts';
import { runProbe } from '../telegram/probe.ts';

/** Enough for a poller that comes back within 2 s of its 409 to take three polls. */
export const UNSEEN_MS = 12_000;
/** A poll that was not taken by then is taken by nobody who comes back as soon. */
const QUIET_MS = 6_000;
/** It has reacted at least this often, and as often as a poll was taken from us. */
const REACTIONS_LEAST = 2;

/** The first whose connection reacted to these polls; null: nobody took them, or who did is not here. */
export async function proveUnseen(
  api: BotApi,
  openProver: () => Pick<Prover, 'spy' | 'unseen'>,
  signal: AbortSignal,
): Promise<Unseen | null> {
  const provers: Pick<Prover, 'unseen'>[] = [];
  const watched: Promise<void>[] = [];
  const quiet = new AbortController();
  const timer = setTimeout(() => provers.length < 2 && quiet.abort(), QUIET_MS);
  const { conflicts } = await runProbe(UNSEEN_MS, {
    ...{ api, supervisor: async () => null, beforeFirstPoll: () => {} },
    signal: AbortSignal.any([signal, quiet.signal]),
    async beforePoll() {
      const prover = openProver();
      provers.push(prover);
      const sent = await prover.spy();
      return (atMs) => void watched.push(sent(atMs));
    },
  });
  clearTimeout(timer);
  if (conflicts === 0 || signal.aborted) return null;
  await Promise.all(watched);
  const reacted = provers.flatMap((prover) => prover.unseen());
  const times = ({ uid, cgroup }: Unseen) =>
    reacted.filter((it) => it.uid === uid && it.cgroup === cgroup).length;
  return reacted.find((it) => times(it) >= Math.max(REACTIONS_LEAST, conflicts)) ?? null;
}
