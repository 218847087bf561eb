/** Decides whose turn it is: handles events and work one after the other, shares one answer among all that ask meanwhile, spreads pauses. PURE. */

/** Spreads a pause by ±20 %, so that many do not act at once; `random`: 0 … 1. */
export const spread = (ms: number, random: number): number => ms * (0.8 + 0.4 * random);

/** Handles events in their order: one that comes while another is handled waits for its turn. */
export function inOrder<E>(handle: (event: E) => void): (event: E) => void {
  const queue: E[] = [];
  let isBusy = false;
  return (event) => {
    queue.push(event);
    if (isBusy) return;
    isBusy = true;
    try {
      for (let next = queue.shift(); next; next = queue.shift()) handle(next);
    } finally {
      isBusy = false;
    }
  };
}

/** Runs one piece of work after the other, in the order of the calls; one that fails holds up none. */
export function oneAtATime() {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(work: () => Promise<T>): Promise<T> => {
    const answer = last.then(work);
    last = answer.catch(() => {});
    return answer;
  };
}

/** Calls that come while one is under way share its answer. */
export function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let asking: Promise<T> | null = null;
  return () => {
    asking ??= ask().finally(() => {
      asking = null;
    });
    return asking;
  };
}
