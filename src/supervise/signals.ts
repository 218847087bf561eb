/**
 * Signals as asks: TERM and INT stop, HUP restarts the worker (or stops, when it means that the terminal has gone), QUIT,
 * USR1 and USR2 go to the worker. A hang-up that was ignored when singlepoll started (nohup) stays ignored.
 */
import { closeSync, openSync } from 'node:fs';

/** Set by our launcher where a hang-up was ignored when singlepoll began. */
export const HUP_IGNORED = '_SINGLEPOLL_HUP_IGNORED';

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
  if (hangupIgnored()) process.on('SIGHUP', () => {});
  else {
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

/** Node sets every signal to its default when it begins; our launcher (bin/singlepoll.cjs) has looked before. */
function hangupIgnored(): boolean {
  const ignored = process.env[HUP_IGNORED] === '1';
  // Not for the worker, which may be another singlepoll.
  delete process.env[HUP_IGNORED];
  return ignored;
}
