/** What the parts of a run tell each other beside the events of the table. Nobody decides here. */
import type { Report } from '../output/report.ts';
import { createListeners, type Listeners } from './listeners.ts';

export interface Bus {
  /** Another poller caused a 409. `named`: by the worker in its output, which nobody else saw. */
  readonly conflict: Listeners<[named: boolean]>;
  /** A poll of the worker's goes out: who polls too on this machine reacts to it. */
  readonly pollSent: Listeners<[]>;
  /** Somebody of this machine has reacted to a poll of ours. */
  readonly reacted: Listeners<[]>;
  /** The gateway met a webhook. */
  readonly webhookSeen: Listeners<[]>;
  /** A webhook that somebody set while we polled is gone. */
  readonly webhookCleared: Listeners<[]>;
  /** Others than the worker have asked the Bot API: whether it answered. */
  readonly apiReached: Listeners<[yes: boolean]>;
}

export function createBus(report: Pick<Report, 'line'>): Bus {
  return {
    conflict: createListeners('the answer to a 409', report),
    pollSent: createListeners('what follows the polls', report),
    reacted: createListeners('what follows reactions to a poll', report),
    webhookSeen: createListeners('the answer to a webhook', report),
    webhookCleared: createListeners('what waits for a webhook to go', report),
    apiReached: createListeners('what follows the Bot API', report),
  };
}
