/**
 * Keeps one watch of an engine open. A watch that ends or is not established in time is replaced; one that never comes up is tried
 * ever less often, and looking at the record has to do.
 */

/** Between the starts of two watches; doubles with each that did not come up. */
const AGAIN_MS = 1_000;
const AGAIN_MAX_MS = 64_000;

/** `watch` gets `upWithinMs` to be established. `hint`: the record may have changed. Returns what ends it. */
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
