/** What `/metrics` tells beyond the status document. */
export interface Figures {
  readonly straysStopped: number;
  readonly webhooksCleared: number;
  readonly deafReplaced: number;
  readonly nodeVersion: string;
  /** Of the supervisor itself; seconds since 1970. */
  readonly startedAtSeconds: number;
  /** Processor time, user and system. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}
