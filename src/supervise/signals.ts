/**
 * Signals as asks: TERM and INT stop, HUP restarts the worker (or stops, when it means that the terminal has gone), QUIT,
 * USR1 and USR2 go to the worker. A hang-up that was ignored when singlepoll started (nohup) stays ignored.
 */
import { closeSync, openSync, readFileSync } from 'node:fs';

export interface Asks {
  stop(reason: string): void;
  restart(reason: string): void;
  forward(signal: NodeJS.Signals): void;
}

/** Takes the signals over for the rest of this process's life. */
export function listen(asks: Asks): void {
  const hadTerminal = hasTerminal();
  process.on('SIGTERM', () => asks.stop('SIGTERM'));
  process.on('SIGINT', () => asks.stop('SIGINT'));
  if (!ignoredAtStart(1)) {
    process.on('SIGHUP', () => {
      if (hadTerminal && !hasTerminal()) asks.stop('the terminal has gone');
      else asks.restart('SIGHUP');
    });
  }
  for (const signal of ['SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const) {
    process.on(signal, () => asks.forward(signal));
  }
}

/** After a hang-up the kernel takes the controlling terminal away, and this open fails. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r+'));
    return true;
  } catch {
    return false;
  }
}

function ignoredAtStart(signal: number): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & (1n << BigInt(signal - 1))) !== 0n;
  } catch {
    return false;
  }
}
