/**
 * Keeps one watch of an engine open. A watch that ends or is not established in time is replaced, at growing intervals if it
 * never comes up. Until then a standby only looks at the record from time to time.
 */

/** Time between the starts of two watches; doubles with each that did not come up. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 64_000;

/** A watch must be established within `upWithinMs`. Calls `hint` when the record may have changed. Returns how to end it. */
export function keepWatching(
  watch: (changed: () => void, signal: AbortSignal) => Promise<void>,
  upWithinMs: number,
  hint: () => void,
): () => void {
  let present = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let over = false;
  let pauseMs = AGAIN_MS;

  async function start(): Promise<void> {
    const startedAtMs = performance.now();
    const own = new AbortController();
    present = own;
    const limit = setTimeout(() => own.abort(), upWithinMs);
    const changed = () => {
      clearTimeout(limit);
      pauseMs = AGAIN_MS;
      hint();
    };
    await watch(changed, own.signal);
    clearTimeout(limit);
    if (over) return;
    timer = setTimeout(start, Math.max(0, startedAtMs + pauseMs - performance.now()));
    pauseMs = Math.min(pauseMs * 2, AGAIN_MAX_MS);
  }

  void start();
  return () => {
    over = true;
    clearTimeout(timer);
    present.abort();
  };
}
