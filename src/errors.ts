/**
 * The one error that stops singlepoll, its exit codes (sysexits numbers, so that init systems know them), and the version that reports it.
 * singlepoll itself never exits 1 or 2 from `start`: those belong to the worker.
 */

/** The version in package.json; put in by the build. */
declare const SINGLEPOLL_VERSION: string | undefined;
export const VERSION = typeof SINGLEPOLL_VERSION === 'string' ? SINGLEPOLL_VERSION : '0.0.0-source';

export const EXIT = {
  ok: 0,
  /** Of `status` and `restart`: nothing runs. */
  notRunning: 3,
  usage: 64,
  unreachable: 69,
  bug: 70,
  otherPoller: 75,
  refused: 77,
  config: 78,
} as const;

/** The cure where the system allows too few open files. */
export const MORE_FILES =
  'ulimit -n 1024    # before it, in the shell or script that starts it; in a unit: LimitNOFILE=1024';

/** What happened (with the value), and the next command to type. Never holds a token. */
export class SinglepollError extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;

  constructor(exitCode: number, message: string, hint?: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'SinglepollError';
    this.exitCode = exitCode;
    this.hint = hint;
  }
}
