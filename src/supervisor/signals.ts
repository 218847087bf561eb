/**
 * Signals as asks: TERM and INT stop, HUP restarts the worker (or stops, when it means that the terminal has gone), QUIT,
 * USR1 and USR2 go to the worker. A hang-up that was ignored when singlepoll started (nohup) stays ignored.
 */
import { closeSync, constants, openSync, readFileSync, readlinkSync } from 'node:fs';

/** Set by bin/entry.sh: 1 where a hang-up was ignored when singlepoll began, else 0. */
export const HUP_IGNORED = '_SINGLEPOLL_HUP_IGNORED';

export class Stopped extends Error {}

export type Asks = ReturnType<typeof listen>;

interface Answers {
  stop(reason: string): void;
  restart(reason: string): void;
  forward(signal: NodeJS.Signals): void;
}

/** Takes the signals over for the rest of this process's life. */
export function listen() {
  const early = new AbortController();
  let answers: Answers = { stop: () => early.abort(new Stopped()), restart() {}, forward() {} };
  const hadTerminal = hasTerminal();
  process.on('SIGTERM', () => answers.stop('SIGTERM'));
  process.on('SIGINT', () => answers.stop('SIGINT'));
  if (hangupIgnored()) process.on('SIGHUP', () => {});
  else {
    process.on('SIGHUP', () => {
      if (hadTerminal && !hasTerminal()) answers.stop('the terminal has gone');
      else answers.restart('SIGHUP');
    });
  }
  for (const signal of ['SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const)
    process.on(signal, () => answers.forward(signal));
  return {
    /** Aborted by an ask to stop, until somebody else answers. */
    signal: early.signal,
    stop: (reason: string): void => answers.stop(reason),
    answeredBy(others: Answers): void {
      answers = others;
      if (early.signal.aborted) others.stop('asked to stop');
    },
  };
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

/**
 * Node sets every signal to its default when it begins: what was ignored before is known to bin/entry.sh, which has looked. Without
 * it (`nohup node …/singlepoll.js start &`) nohup itself is recognised.
 */
export function hangupIgnored(): boolean {
  const ignored = process.env[HUP_IGNORED];
  // Not for the worker, which may be another singlepoll.
  delete process.env[HUP_IGNORED];
  return ignored === undefined ? beganUnderNohup() : ignored === '1';
}

/** GNU's nohup puts a stdin that can't be read in the place of a terminal; shells name the program that they start in `_`. */
function beganUnderNohup(): boolean {
  if (/(?:^|\/)nohup$/.test(process.env._ ?? '')) return true;
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync('/proc/self/fdinfo/0', 'latin1'))?.[1] ?? '0';
    const isForWriting = (Number.parseInt(flags, 8) & 3) === constants.O_WRONLY;
    return isForWriting && readlinkSync('/proc/self/fd/0') === '/dev/null';
  } catch {
    return false;
  }
}
