// What workers have written down (worker.cjs). Times: ms of CLOCK_MONOTONIC, the same in all machines of a yard.
import { existsSync, readFileSync } from 'node:fs';

export interface Line {
  readonly ev: 'start' | 'update' | 'asked' | 'end';
  /** Of the machine. */
  readonly name: string;
  /** As the machine numbers it. */
  readonly pid: number;
  readonly epoch: number;
  readonly at: number;
  readonly id?: number;
  /** start: it is the child of a stubborn one. */
  readonly child?: boolean;
}

export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

export function readJournal(file: string): Line[] {
  if (!existsSync(file)) return [];
  const text = readFileSync(file, 'utf8');
  // The last line may be half written.
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
}
