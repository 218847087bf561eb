// What workers have written down (worker.cjs). Times: ms of CLOCK_MONOTONIC, the same in all machines of a yard.
import { closeSync, openSync, readSync } from 'node:fs';

export interface Line {
  /** `start`: its first line of JavaScript. */
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

/** Gives all lines so far; reads only what is new, so that looking often costs little. */
export function openJournal(file: string): () => readonly Line[] {
  closeSync(openSync(file, 'a'));
  const fd = openSync(file, 'r');
  const lines: Line[] = [];
  const chunk = Buffer.alloc(65_536);
  let rest = '';
  return () => {
    for (let read = readSync(fd, chunk); read > 0; read = readSync(fd, chunk))
      rest += chunk.toString('latin1', 0, read);
    // The last line may be half written.
    const end = rest.lastIndexOf('\n') + 1;
    for (const line of rest.slice(0, end).split('\n')) if (line) lines.push(JSON.parse(line) as Line);
    rest = rest.slice(end);
    return lines;
  };
}
