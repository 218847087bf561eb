/**
 * The sandbox's only idea of time: every rule that waits takes a Clock, so that tests can turn its hands.
 */

export interface Clock {
  /** Milliseconds on a clock that never goes back; only differences mean anything. */
  nowMs(): number;
  /** Wall clock, milliseconds since 1970. */
  unixMs(): number;
  /** Runs `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  unixMs: () => Date.now(),
  after(delayMs, run) {
    // The open port keeps the process alive; nothing that waits in the sandbox does.
    const timer = setTimeout(run, delayMs).unref();
    return () => clearTimeout(timer);
  },
};
