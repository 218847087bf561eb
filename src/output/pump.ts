/** Interim. */
import type { Readable } from 'node:stream';

export interface Pump {
  tail(): string[];
  close(withinMs: number): Promise<void>;
}

export function startPump(o: {
  source: Readable;
  destinationFd: 1 | 2;
  tokens: readonly string[];
  onText?: (text: string) => void;
}): Pump {
  const to = o.destinationFd === 1 ? process.stdout : process.stderr;
  let tail = '';
  o.source.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString()).slice(-8192);
    o.onText?.(chunk.toString());
    if (!to.write(chunk)) {
      o.source.pause();
      to.once('drain', () => o.source.resume());
    }
  });
  const ended = new Promise<void>((resolve) => o.source.once('close', resolve));
  return {
    tail: () => tail.split('\n').filter(Boolean).slice(-20),
    close: (ms) => Promise.race([ended, new Promise<void>((r) => setTimeout(r, ms))]),
  };
}
