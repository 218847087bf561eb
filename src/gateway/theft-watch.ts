/** Keeps the ledger of update ids (theft.ts): its clock, and its looks while a poll is open. */
import { uptime } from 'node:os';
import type { Untimed } from './door-loop.ts';
import { emptyLedger, type Ledger, type LedgerEvent, LOOK_EVERY_MS, stepLedger } from './theft.ts';

export interface TheftWatch {
  tell(event: Exclude<Untimed<LedgerEvent>, { kind: 'asked' | 'looked' }>): void;
  /** A poll goes out; each environment of a bot has a queue of its own. */
  asked(poll: { readonly offset: number; readonly limit: number; readonly environment: string }): void;
  /** No poll is open any more. */
  ended(): void;
}

export function watchThefts(onTheft: (updates: number) => void): TheftWatch {
  let ledger: Ledger = emptyLedger;
  let looks: NodeJS.Timeout | undefined;
  let environmentBefore = '';

  function tell(event: Untimed<LedgerEvent>): void {
    // Unlike performance.now(), it goes on while the machine is suspended: so does the age of updates.
    const [next, taken] = stepLedger(ledger, { ...event, atMs: uptime() * 1_000 } as LedgerEvent);
    ledger = next;
    if (taken > 0) onTheft(taken);
  }

  return {
    tell,
    asked({ environment, offset, limit }) {
      if (environment !== environmentBefore) tell({ kind: 'unsure' });
      environmentBefore = environment;
      tell({ kind: 'asked', offset, limit });
      clearInterval(looks);
      looks = setInterval(tell, LOOK_EVERY_MS, { kind: 'looked' }).unref();
    },
    ended: () => clearInterval(looks),
  };
}
