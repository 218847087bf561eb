/** What a run has opened, closed in the reverse order, whatever goes wrong with one of them. */
export interface Teardown {
  add(close: () => unknown): void;
  /** What is added from now on can be closed by itself. */
  mark(): number;
  /** Closes what was added after the mark, the last first. Rejects with the first error, after all have had their turn. */
  closeTo(mark: number): Promise<void>;
}

export function createTeardown(): Teardown {
  const open: (() => unknown)[] = [];
  return {
    add: (close) => void open.push(close),
    mark: () => open.length,
    async closeTo(mark) {
      const errors: unknown[] = [];
      while (open.length > mark) {
        try {
          await open.pop()?.();
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length > 0) throw errors[0];
    },
  };
}
