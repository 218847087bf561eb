/** The right to poll of a run with a lease: asked for here, told to the supervisor that is about to be. */
import { lockKey } from '../lock/lock.ts';
import type { Facts } from './facts.ts';
import type { GivenGateway } from './open-gateway.ts';
import type { PollRight } from './poll-right.ts';
import type { Running } from './run.ts';
import type { Startup } from './startup.ts';

/** Null: no lease was asked for. */
export async function openRight(
  { config, report }: Startup,
  parts: () => {
    readonly running: Running | undefined;
    readonly gateway: GivenGateway | null;
    readonly facts: Facts;
  },
): Promise<PollRight | null> {
  const { lease, botId, token } = config;
  if (!lease || botId === null || token === null) return null;
  const { openPollRight } = await import('./poll-right.ts');
  return await openPollRight({
    ...{ url: lease.url, timing: lease.timing, botId, report },
    lockName: lockKey(String(botId), token).names[0]!,
    takeover: config.takeover,
    noWait: config.noWait,
    onShut: () => parts().gateway?.port.shut(),
    onTaken(from) {
      const { facts } = parts();
      facts.leasesTaken += 1;
      facts.lastHolder = from;
    },
    onLost(reason) {
      const { facts } = parts();
      facts.leasesLost += 1;
      facts.lastLeaseLoss = reason;
    },
    onUnleased: (reason) => parts().running?.loop.send({ kind: 'unleased', reason }),
    onKill: () => parts().running?.kill(),
    onBlocked: (ending) => parts().running?.loop.send({ kind: 'blocked', ending }),
  });
}
